"""A user's script in which the processes differ in ``WHAT``: ``python unlike_fit.py OUTPUT_FOLDER WHAT``."""

import sys
from pathlib import Path

import autofit as af
import jax
import jax.numpy as jnp
import numpy as np
from together import initialize


class Analysis(af.Analysis):
    def __init__(self, datum, fails):
        super().__init__(use_jax=True)
        self.datum = datum
        self.calls_left = 200 if fails else 10**9

    def count(self, x):
        self.calls_left -= 1
        if self.calls_left < 0:
            raise OSError("the table of this host cannot be read")
        return np.asarray(x)

    def log_likelihood_function(self, instance):
        x = jax.pure_callback(self.count, jax.ShapeDtypeStruct((), float), instance.x, vmap_method="sequential")
        return -0.5 * jnp.sum(((jnp.array([x, instance.y]) - self.datum) / 0.1) ** 2)


if __name__ == "__main__":
    what, process = sys.argv[2], initialize()
    other = process == 1
    af.conf.instance.output_path = Path(sys.argv[1])
    width = 2.0 if other and what == "model" else 1.0
    model = af.Collection(x=af.UniformPrior(-width, width), y=af.UniformPrior(-1.0, 1.0))
    search = af.NSS(name="fit", n_live=60 if other and what == "setting" else 50, num_delete=5)
    search.fit(model=model, analysis=Analysis(0.3 if other and what == "data" else 0.2, what == f"{process} fails"))
