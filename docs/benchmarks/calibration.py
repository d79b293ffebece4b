"""Whether the evidence lies from the truth as far as its error says, whether a bad run is told from a good one, and
what averaging the weights is worth.

    python docs/benchmarks/calibration.py [--seeds 200]

Prints, over many seeds and problems of known evidence, the mean and the standard deviation of the distance of the log
evidence from the truth in units of its error: 0 and 1 if it is calibrated (for as many seeds as N, within about
1/sqrt(N) and 0.7/sqrt(N)). Beside it the mean correlation of the ranks where chains end with those where they began,
and the share of the runs that are warned of: for that correlation, and for uneven insertion ranks.

Then, for perfect nested sampling of a Gaussian in a ball (no chains: the prior volumes are drawn), the posterior's
mean squared radius relative to the truth, with the weights averaged over the simulated volumes as ``posterior.py``
does, and with their logarithms averaged.
"""

import argparse
import logging
import time
from typing import NamedTuple

import problems  # first: it switches float64 on

# isort: split
import jax
import numpy as np
from autofit.non_linear.search.nest.nss import diagnostics, kernel
from autofit.non_linear.search.nest.nss.posterior import (
    effective_live_points,
    posterior_from,
    simulate_log_shells,
)
from autofit.non_linear.search.nest.nss.run import Run

TERMINATION = -3.0
N_DIM, SIGMA, DEPTH = 5, 0.05, 25  # of the perfect runs; their posterior lies e**-11 deep in the prior
SETTINGS = {  # problem: n_live, num_delete, num_mcmc_steps
    "Gaussian, 3 parameters, a point at a time": (problems.correlated_gaussian(3), 200, 1, 6),
    "Gaussian, 3 parameters": (problems.correlated_gaussian(3), 200, 50, 6),
    "Gaussian, 10 parameters": (problems.correlated_gaussian(10), 400, 50, 20),
    "Gaussian, 10 parameters, half the steps": (problems.correlated_gaussian(10), 400, 50, 10),
    "Gaussian, 10 parameters, a quarter": (problems.correlated_gaussian(10), 400, 50, 5),
    "Gaussian, 10 parameters, a tenth": (problems.correlated_gaussian(10), 400, 50, 2),
    "two modes, 5 parameters": (problems.two_modes(5), 400, 50, 10),
    "two modes, 5 parameters, twice the steps": (problems.two_modes(5), 400, 50, 20),
}


class Judged(NamedTuple):
    """What is found of a run: its distance from the truth in errors, and what tells whether to trust it."""

    distance: float
    rank_correlation: float
    remembers: bool
    uneven: bool


def judged_runs(problem, n_live: int, num_delete: int, num_steps: int, seeds: int) -> list[Judged]:
    log_prior, log_likelihood, _ = problem.functions()
    sampler = kernel.nested_slice_sampler(log_prior, log_likelihood, num_delete, num_steps, TERMINATION)
    return [judged_run(sampler, problem, n_live, num_steps, seed) for seed in range(seeds)]


def judged_run(sampler, problem, n_live: int, num_steps: int, seed: int) -> Judged:
    run = Run(sampler.init(problem.draw(n_live, seed)), [], jax.random.PRNGKey(seed), 0, 0.0, {})
    while not kernel.has_converged(run.state, TERMINATION):
        run = run.after(*sampler.advance((run.state, run.run_key), 10_000), time.perf_counter())
    points = run.points
    trust = diagnostics.trust(points, *map(run.of_chains, ("moves", "rank", "start_rank")), num_steps)
    evidences = posterior_from(points.log_likelihood, points.birth, np.random.default_rng(seed)).log_evidences
    return Judged(
        distance=(evidences.mean() - problem.log_evidence) / evidences.std(),
        rank_correlation=trust["rank_correlation"],
        remembers=trust["rank_correlation_p_value"] < diagnostics.SUSPICIOUS_P_VALUE,
        uneven=trust["insertion_rank_p_value"] < diagnostics.SUSPICIOUS_P_VALUE,
    )


def perfect_run(rng, n_live: int, log_likelihood) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prior volumes, log likelihoods and births of nested sampling without chains, a point at a time."""
    volume, birth = rng.random(n_live), np.full(n_live, -np.inf)
    dead, births = [], []
    for _ in range(DEPTH * n_live):
        worst = volume.argmax()
        dead.append(volume[worst])
        births.append(birth[worst])
        volume[worst], birth[worst] = volume[worst] * rng.random(), log_likelihood(dead[-1])
    volumes = np.concatenate([dead, volume])
    return volumes, log_likelihood(volumes), np.concatenate([births, birth])


def squared_radii(n_live: int, seeds: int) -> np.ndarray:
    """The posterior's mean squared radius relative to the truth, ``(seeds, 2)``: averaged weights, and logarithms."""
    found = np.empty((seeds, 2))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        volume, death, birth = perfect_run(rng, n_live, lambda x: -0.5 * x ** (2 / N_DIM) / SIGMA**2)
        squared = volume ** (2 / N_DIM) / (N_DIM * SIGMA**2)
        averaged = posterior_from(death, birth, rng).log_weights
        order = np.argsort(death, kind="stable")
        numbers = effective_live_points(birth, death[order])
        shells = [simulate_log_shells(numbers, rng.random(len(order))) for _ in range(100)]
        logarithms = death[order] + np.mean(shells, axis=0)
        found[seed] = [
            np.average(values, weights=np.exp(log_weights - log_weights.max()))
            for values, log_weights in ((squared, averaged), (squared[order], logarithms))
        ]
    return found


def main() -> None:
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    seeds = parser.parse_args().seeds
    print("| | n_live | num_delete | steps | mean | standard deviation | rank correlation | too short | uneven |")
    print("|---|" + "---:|" * 8)
    for name, (problem, *setting) in SETTINGS.items():
        z, correlation, remembers, uneven = np.array(judged_runs(problem, *setting, seeds)).T
        print(
            f"| {name} | {' | '.join(map(str, setting))} | {z.mean():+.2f} | {z.std(ddof=1):.2f} "
            f"| {correlation.mean():.3f} | {remembers.mean():.0%} | {uneven.mean():.0%} |",
            flush=True,
        )
    print("\n| n_live | averaged weights | averaged logarithms |\n|---:|---:|---:|")
    for n_live in (10, 25, 100):
        found = squared_radii(n_live, 10 * seeds)
        cells = [
            f"{mean:.4f} ± {error:.4f}"
            for mean, error in zip(found.mean(axis=0), found.std(axis=0) / np.sqrt(len(found)), strict=True)
        ]
        print(f"| {n_live} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
