"""What the states that chains pass through add to the posterior, as samples beside their last.

    python docs/benchmarks/nss/chain_states.py --problems gaussian-10 modes rosenbrock --seeds 40

Chains make two rounds of slices, half as many as the setting of recorded_runs.py says, and the state between them is
kept, as PolyChord's boost_posterior and jaxns's phantoms do. It is as good a draw from the prior above the contour as
the last, so it joins the run's points with the same birth. Prints as how many independent samples posterior means
scatter over the seeds, without these states and with them, and how far a chain comes (its jump).
"""

import argparse
import logging
from unittest import mock

import calibration  # first: it switches float64 on
import recorded_runs

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from autofit.non_linear.search.nest.nss.evidence.nested import posterior_from
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.sampling.slices import SHRINKING_IN_NORMAL_SPACE
from effective_samples import moments, number_by_scatter


def two_rounds(_now, _share, rounds, jump):
    return jnp.full_like(rounds, 2), jump


def recording(begun: list) -> kernel.Moves:
    """The default moves, which append to ``begun`` the positions that each round of an iteration begins at."""

    def draw(rng_key, positions, covariance_factor, num_steps):
        jax.experimental.io_callback(lambda x: begun.append(np.asarray(x)), None, positions, ordered=True)
        return SHRINKING_IN_NORMAL_SPACE.draw(rng_key, positions, covariance_factor, num_steps)

    return SHRINKING_IN_NORMAL_SPACE._replace(draw=draw)


def row_of(name: str, seeds: int) -> str:
    setting = recorded_runs.SETTINGS[name]
    problem, begun = setting.problem(), []
    log_likelihoods = calibration.log_likelihoods_of(problem)
    with mock.patch.object(kernel, "rounds_after", two_rounds):
        steps, moves = setting.num_mcmc_steps // 2, recording(begun)
        sampler = recorded_runs.sampler_of(problem, setting.num_delete, steps, moves, adapts=True)
        without, beside, jumps = [], [], []
        for seed in range(seeds):
            begun.clear()
            run = recorded_runs.whole_run(sampler, problem.draw(setting.n_live, seed), seed)
            jax.effects_barrier()
            points = run.points
            # The first iteration makes one round, all others two: what the second begins at is the state between.
            between = np.concatenate(begun[2::2])
            contours = points.log_likelihood[: -points.n_live].reshape(-1, points.num_delete).max(axis=1)[1:]
            birth = np.repeat(contours, points.num_delete)
            for found, positions, values, births in (
                (without, points.position, points.log_likelihood, points.birth),
                (
                    beside,
                    np.concatenate([points.position, between]),
                    np.concatenate([points.log_likelihood, log_likelihoods(between)]),
                    np.concatenate([points.birth, birth]),
                ),
            ):
                weights = posterior_from(values, births, np.random.default_rng(0)).log_weights
                found.append(moments(positions, weights))
            jumps.append(run.chains.jump.mean())
    one, two = (number_by_scatter(*zip(*found, strict=True)) for found in (without, beside))
    return f"| {name} | {seeds} | {np.mean(jumps):.2f} | {one:,.0f} | {two:,.0f} | {two / one:.2f} |"


def main() -> None:
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=["gaussian-10", "modes", "rosenbrock"])
    parser.add_argument("--seeds", type=int, default=40)
    arguments = parser.parse_args()
    print("| | seeds | jump | by scatter | with the states between | ratio |\n|---|" + "---:|" * 5)
    for name in arguments.problems:
        print(row_of(name, arguments.seeds), flush=True)


if __name__ == "__main__":
    main()
