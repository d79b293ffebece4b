"""A user's script for data of its own: ``python fit_of_other_data.py OUTPUT_FOLDER SEED``. Its last line is JSON: how
many programs XLA compiled and how many were found compiled, and the log evidence."""

import json
import sys
from collections import Counter
from pathlib import Path

import autofit as af
import jax
import jax.numpy as jnp
import numpy as np

counted = Counter()
jax.monitoring.register_event_listener(lambda name, **_: counted.update([name.rsplit("/", 1)[-1]]))


class Analysis(af.Analysis):
    def __init__(self, seed):
        super().__init__(use_jax=True)
        rng = np.random.default_rng(seed)
        self.pixels = np.linspace(-1.0, 1.0, 200)
        self.data = np.exp(-0.5 * (self.pixels / 0.2) ** 2) + rng.normal(0.0, 0.1, 200)
        self.noise = jnp.asarray(rng.uniform(0.09, 0.11, 200))
        self.chi_squared = jax.jit(lambda model: jnp.sum(((model - self.data) / self.noise) ** 2))

    def log_likelihood_function(self, instance):
        return -0.5 * self.chi_squared(instance.height * jnp.exp(-0.5 * (self.pixels / instance.width) ** 2))


if __name__ == "__main__":
    af.conf.instance.output_path = Path(sys.argv[1])
    model = af.Collection(height=af.UniformPrior(0.0, 5.0), width=af.UniformPrior(0.05, 1.0))
    analysis = Analysis(int(sys.argv[2]))
    result = af.NSS(name="fit", n_live=100, num_delete=20).fit(model=model, analysis=analysis)
    found = {name: counted[f"cache_{name}"] for name in ("misses", "hits")}
    print(json.dumps({**found, "log_evidence": result.samples.log_evidence}))
