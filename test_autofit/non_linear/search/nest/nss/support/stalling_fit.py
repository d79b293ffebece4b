"""A script for the tests to stop: ``python stalling_fit.py FOLDER [stalling or stalling_at_once] [slow_disk]``."""

import signal
import sys
import time
from pathlib import Path

import autofit as af
import jax
import jax.numpy as jnp
import numpy as np
from together import initialize

initialize()
# isort: split
from autofit.non_linear.search.nest.nss.saving import checkpoint  # noqa: E402 (all compute, and so come after)
from autofit.non_linear.search.nest.nss.stopping import signals  # noqa: E402
from problems import Problem, box  # noqa: E402

folder, options = Path(sys.argv[1]), sys.argv[2:]
evaluations = 0


def stall(x):
    """Counts evaluations on the host and, if asked to, lets one of them take two minutes."""
    global evaluations
    evaluations += 1
    if (evaluations, *options[:1]) in ((1000 // jax.process_count(), "stalling"), (20, "stalling_at_once")):
        (folder / "stalled").touch()
        time.sleep(120.0)
    return np.zeros_like(x)


def log_likelihood(x):
    host = jax.pure_callback(stall, jax.ShapeDtypeStruct((), x.dtype), x[0], vmap_method="sequential")
    return -0.5 * jnp.sum((x / 0.4) ** 2) + host


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test runner in the background ignores it
    if "slow_disk" in options:
        checkpoint._save_checkpoint = lambda *_: time.sleep(120.0)
        signals.GRACE_SECONDS = 120.0
    af.conf.instance.output_path = folder / "output"
    af.conf.instance["output"]["latent_after_fit"] = False
    af.conf.instance["visualize"]["plots_search"]["nest"]["corner_anesthetic"] = False
    problem = Problem(box(2), log_likelihood)
    search = af.NSS(name="stalling", n_live=50, num_delete=10, num_mcmc_steps=3, checkpoint_interval=100_000)
    samples = search.fit(model=problem.model, analysis=problem.analysis).samples
    np.savez(
        folder / "result.npz",
        positions=np.array(samples.parameter_lists),
        weights=np.array(samples.weight_list),
        evaluations=samples.samples_info["total_samples"],
    )
