"""What effective samples are worth: whether posterior means scatter over seeds as those of so many independent ones.

    python docs/benchmarks/nss/effective_samples.py runs [--n-eff 5000] [--seeds 20] [--problems sersic mge]

For recorded runs (recorded_runs.py), ``n_eff`` samples are drawn with as many seeds as asked for, taking the runs in
turn. Prints the draws it took, the effective samples it claims, and how many the scatter says: the posterior's
variance over the variance of the posterior means, averaged over all parameters. Beside it Kish's number of nested
sampling's own samples, and, where there are ten runs or more, the number that the scatter of their means says.
"""

import argparse
import logging
import warnings
from pathlib import Path

import calibration  # first: it switches float64 on
import recorded_runs

# isort: split
import numpy as np
from autofit.non_linear.search.nest.nss.posterior import posterior_from


def moments(positions: np.ndarray, log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each parameter."""
    weights = np.exp(log_weights - log_weights.max())
    mean = np.average(positions, axis=0, weights=weights)
    return mean, np.average((positions - mean) ** 2, axis=0, weights=weights)


def number_by_scatter(means: list[np.ndarray], variances: list[np.ndarray]) -> float:
    return 1.0 / np.mean(np.var(means, axis=0, ddof=1) / np.mean(variances, axis=0))


def row_of(folder: Path, name: str, n_eff: int, seeds: int) -> str:
    problem = recorded_runs.SETTINGS[name].problem()
    log_likelihoods = calibration.log_likelihoods_of(problem)
    runs = [recorded_runs.load(folder, name, seed) for seed in recorded_runs.seeds_of(folder, name)]
    posteriors = [
        posterior_from(run.points.log_likelihood, run.points.birth, np.random.default_rng(0)) for run in runs
    ]
    drawn, claimed, draws = [], [], []
    for seed in range(seeds):
        run, posterior = runs[seed % len(runs)], posteriors[seed % len(runs)]
        sampler = calibration.importance_sampler(run, problem, posterior, n_eff, seed)
        while not sampler.finished:
            sampler.take(log_likelihoods(sampler.next_positions()))
        positions, _, log_weights = sampler.last_draws()
        drawn.append(moments(positions, log_weights))
        claimed.append(sampler.n_eff)
        draws.append(sampler.draws)
    nested = "-"
    if len(runs) >= 10:
        found = [moments(run.points.position, of.log_weights) for run, of in zip(runs, posteriors, strict=True)]
        nested = f"{number_by_scatter(*zip(*found, strict=True)):,.0f}"
    nested_kish = np.mean([posterior.effective_sample_size for posterior in posteriors])
    evaluations = np.mean([run.evaluations for run in runs])
    by_scatter = number_by_scatter(*zip(*drawn, strict=True))
    return (
        f"| {name} | {seeds} | {np.mean(draws):,.0f} | {np.max(draws):,} | {np.mean(claimed):,.0f} "
        f"| {by_scatter:,.0f} | {evaluations:,.0f} | {nested_kish:,.0f} | {nested} |"
    )


def main() -> None:
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of recorded_runs.py")
    parser.add_argument("--problems", nargs="+", default=["sersic", "mge", "gaussian-10", "modes"])
    parser.add_argument("--n-eff", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    print("| | seeds | draws | most | n_eff | by scatter | the run's evaluations | its Kish ", end="")
    print("| its scatter |\n|---|" + "---:|" * 8)
    for name in arguments.problems:
        print(row_of(arguments.folder, name, arguments.n_eff, arguments.seeds), flush=True)


if __name__ == "__main__":
    main()
