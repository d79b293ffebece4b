"""Runs of one problem on one and on three devices: prints what they came to, as JSON in the last line."""

import hashlib
import json

import autofit  # noqa: F401 (switches float64 on)
import jax
import jax.numpy as jnp
import numpy as np
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.sampling.slices import SHRINKING


def log_prior(x):
    return jnp.where(jnp.all(jnp.abs(x) < 5.0), 0.0, -jnp.inf)


def log_likelihood(x):
    pixels = jnp.linspace(-1.0, 1.0, 200)
    return -0.5 * jnp.sum(((x[0] * jnp.cos(x[1] * pixels) + x[2] * pixels - jnp.sin(2.0 * pixels)) / 0.3) ** 2)


def result_of(devices: int) -> dict:
    """103 live points, of which 20 die at once, and neither can be divided by three."""
    sampler = kernel.nested_slice_sampler(
        log_prior, log_likelihood, 20, 4, -3.0, 2, SHRINKING, devices=jax.local_devices()[:devices]
    )
    positions = jax.random.uniform(jax.random.PRNGKey(0), (103, 3), minval=-5.0, maxval=5.0)
    carry, dead, done = sampler.advance((sampler.start(positions), jax.random.PRNGKey(1)), 40)
    arrays = jax.tree.leaves(jax.device_get((carry, jax.tree.map(lambda x: x[: int(done)], dead))))
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
    return {
        "bytes": digest,
        "iterations": int(done),
        "evaluations": int(dead.update_info.evaluations[: int(done)].sum()),
        "log_evidence": float(carry[0].integrator.logZ),
    }


if __name__ == "__main__":
    print(json.dumps([result_of(1), result_of(3)]))
