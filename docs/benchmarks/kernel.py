"""The single-evaluation update against blackjax's own, on the profile of two components.

    python docs/benchmarks/kernel.py [--pixels 100 5000] [--repeats 3]

Prints, for each number of pixels and each setting, the seconds of a whole run after compilation (medians of runs that
alternate), their ratio, the evaluations that were needed, the share of lanes they kept busy, and the seconds to trace
and compile one iteration. The live points of both are compared byte for byte.
"""

import argparse
import statistics
import time
from functools import partial

import autofit  # noqa: F401 (before jax: it switches float64 on)
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from autofit.non_linear.search.nest.nss import kernel
from blackjax.ns.base import init_state_strategy

LOW, HIGH = jnp.array([0.0, 0.0, 1.0, 50.0, 0.0, 1.0]), jnp.array([50.0, 2.0, 20.0, 100.0, 2.0, 20.0])
TERMINATION = -3.0


def two_components(pixels: int):
    """The log likelihood of a noisy profile of two Gaussians, with the same information for any number of pixels."""
    x = jnp.linspace(0.0, 100.0, pixels)
    noise = 0.2 * np.sqrt(pixels / 100.0)

    def profile(p):
        first = p[1] * jnp.exp(-0.5 * ((x - p[0]) / p[2]) ** 2)
        return first + p[4] * jnp.exp(-0.5 * ((x - p[3]) / p[5]) ** 2)

    data = profile(jnp.array([30.0, 1.0, 8.0, 65.0, 0.7, 5.0])) + noise * np.random.default_rng(1).normal(size=pixels)
    return lambda p: -0.5 * jnp.sum(((data - profile(p)) / noise) ** 2)


def log_prior(p):
    return jnp.where(jnp.all((p >= LOW) & (p <= HIGH)), 0.0, -jnp.inf)


class Run:
    """One algorithm on one problem, compiled once and run as often as asked."""

    def __init__(self, log_likelihood, n_live: int, num_delete: int, num_steps: int, **options):
        algorithm = blackjax.nss(log_prior, log_likelihood, num_steps, num_delete=num_delete, **options)

        @jax.jit
        def one_step(carry):
            state, key = carry
            key, subkey = jax.random.split(key)
            state, info = algorithm.step(subkey, state)
            return (state, key), info.update_info

        positions = LOW + (HIGH - LOW) * jax.random.uniform(jax.random.PRNGKey(0), (n_live, len(LOW)))
        self.start = jax.jit(algorithm.init)(positions), jax.random.PRNGKey(1)
        started = time.perf_counter()
        self.one_step = one_step.lower(self.start).compile()
        self.compile_seconds = time.perf_counter() - started
        self.seconds = []

    def __call__(self):
        carry, infos, started = self.start, [], time.perf_counter()
        while not carry[0].integrator.logZ_live - carry[0].integrator.logZ < TERMINATION:
            carry, info = self.one_step(carry)
            infos.append(info)
        jax.block_until_ready(carry)
        self.seconds.append(time.perf_counter() - started)
        self.state, self.infos = carry[0], jax.device_get(infos)


def compare(pixels: int, n_live: int, num_delete: int, num_steps: int, lanes: int, repeats: int) -> str:
    log_likelihood = two_components(pixels)
    new_particle = partial(init_state_strategy, logprior_fn=log_prior, loglikelihood_fn=log_likelihood)
    settings = n_live, num_delete, num_steps
    lockstep = Run(log_likelihood, *settings)
    ours = Run(log_likelihood, *settings, update_strategy=kernel.single_evaluation_update(new_particle, lanes))
    for _ in range(repeats):
        lockstep()
        ours()
    needed = sum(int(info.evaluations.sum()) for info in ours.infos)
    longest = sum(int(info.evaluations.max()) for info in ours.infos) * lanes
    busy = f"{needed / longest:.2f}" if lanes == num_delete else ""
    same = np.array_equal(lockstep.state.particles.position, ours.state.particles.position)
    theirs, mine = (statistics.median(run.seconds) for run in (lockstep, ours))
    return (
        f"| {pixels:,} | {n_live} | {num_delete} | {num_steps} | {lanes} | {theirs:.2f} s | {mine:.2f} s "
        f"| {theirs / mine:.2f} | {needed:,} | {busy} | {lockstep.compile_seconds:.1f} s "
        f"| {ours.compile_seconds:.1f} s | {'yes' if same else 'no'} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, nargs="+", default=[100, 5000])
    parser.add_argument("--n-live", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--num-delete", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--num-steps", type=int, nargs="+", default=[5, 12])
    parser.add_argument("--lanes", type=int, nargs="+", help="instead of as many as chains")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    print(
        "| pixels | n_live | num_delete | steps | lanes | lockstep | single evaluation | ratio | evaluations "
        "| busy | compile, lockstep | compile | same points |"
    )
    print("|---:" * 12 + "|---|")
    for n_pixels in given.pixels:
        for live in given.n_live:
            for delete in given.num_delete:
                for steps in given.num_steps:
                    for n_lanes in given.lanes or [delete]:
                        print(compare(n_pixels, live, delete, steps, min(n_lanes, delete), given.repeats), flush=True)
