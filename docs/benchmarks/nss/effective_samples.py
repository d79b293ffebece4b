"""What effective samples are worth: how far posterior means and deviations are from a long reference.

    python docs/benchmarks/nss/effective_samples.py runs [--n-eff 5000] [--seeds 20] [--problems sersic mge] [--own]

For recorded runs (recorded_runs.py), ``n_eff`` samples are drawn with as many seeds as asked for, taking the runs in
turn. The reference has four times as many from each of the runs, pooled. Prints the draws it took, the effective
samples it claims, and the root mean square, over parameters and seeds, of the error of posterior means, in posterior
deviations, and of the relative error of deviations; beside it that of so many independent samples. The last columns
are the number that nested sampling's own samples claim, which is Kish's for as many as the jump of their chains makes
them worth, and the errors of these. ``--own`` looks at nested sampling's own samples alone: Kish's number, what they
claim, and of how many independent ones the means of the runs scatter like.
"""

import argparse
import logging
import warnings
from pathlib import Path

import calibration  # first: it switches float64 on
import recorded_runs

# isort: split
import numpy as np
from autofit.non_linear.search.nest.nss.evidence.nested import Posterior, posterior_from
from autofit.non_linear.search.nest.nss.evidence.trust import worth_of_a_point
from autofit.non_linear.search.nest.nss.sampling.run import Run


def moments(positions: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    """``(2, n_dim)``: mean and standard deviation of each parameter."""
    weights = np.exp(log_weights - log_weights.max())
    mean = np.average(positions, axis=0, weights=weights)
    return np.array([mean, np.sqrt(np.average((positions - mean) ** 2, axis=0, weights=weights))])


def errors(found: list[np.ndarray], reference: np.ndarray) -> str:
    """Root mean square errors of means and of deviations, two cells of a table."""
    off = (np.array(found) - reference) / reference[1]
    return " | ".join(f"{error:.3f}" for error in np.sqrt((off**2).mean(axis=(0, 2))))


def claimed_by(run: Run, posterior: Posterior) -> float:
    """The ``ess`` of nested sampling's own samples."""
    return posterior.effective_sample_size * worth_of_a_point(float(run.chains.jump.mean()))


def row_of_own(folder: Path, name: str) -> str:
    kish, claims, found = [], [], []
    for seed in recorded_runs.seeds_of(folder, name):
        run = recorded_runs.load(folder, name, seed)
        posterior = posterior_from(run.points.log_likelihood, run.points.birth, np.random.default_rng(0))
        kish.append(posterior.effective_sample_size)
        claims.append(claimed_by(run, posterior))
        found.append(moments(run.points.position, posterior.log_weights))
    means, deviations = np.swapaxes(found, 0, 1)
    scatter = 1.0 / np.mean((means.std(axis=0, ddof=1) / deviations.mean(axis=0)) ** 2)
    return f"| {name} | {len(kish)} | {np.mean(kish):,.0f} | {np.mean(claims):,.0f} | {scatter:,.0f} |"


def row_of(folder: Path, name: str, n_eff: int, seeds: int) -> str:
    log_likelihoods = calibration.log_likelihoods_of(recorded_runs.SETTINGS[name].problem())
    runs = [recorded_runs.load(folder, name, seed) for seed in recorded_runs.seeds_of(folder, name)]
    posteriors = [
        posterior_from(run.points.log_likelihood, run.points.birth, np.random.default_rng(0)) for run in runs
    ]

    def drawn(index: int, n_eff: int, seed: int) -> tuple:
        which = index % len(runs)
        second, samples, _ = calibration.second_evidence_of(
            runs[which], posteriors[which], log_likelihoods, n_eff, seed
        )
        positions, _, log_weights = samples
        return second, positions, log_weights - second.log_evidence

    pooled = [drawn(index, 4 * n_eff, 1000 + index)[1:] for index in range(len(runs))]
    reference = moments(*map(np.concatenate, zip(*pooled, strict=True)))
    found = [drawn(seed, n_eff, seed) for seed in range(seeds)]
    claimed = np.mean([second.n_eff for second, *_ in found])
    claims = list(map(claimed_by, runs, posteriors))
    own = [moments(run.points.position, of.log_weights) for run, of in zip(runs, posteriors, strict=True)]
    return (
        f"| {name} | {seeds} | {np.mean([second.draws for second, *_ in found]):,.0f} "
        f"| {max(second.draws for second, *_ in found):,} | {claimed:,.0f} "
        f"| {errors([moments(*samples) for _, *samples in found], reference)} "
        f"| {claimed**-0.5:.3f} | {(2 * claimed) ** -0.5:.3f} "
        f"| {np.mean(claims):,.0f} | {errors(own, reference)} |"
    )


def main() -> None:
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of recorded_runs.py")
    parser.add_argument("--problems", nargs="+", default=["sersic", "mge", "gaussian-10", "modes"])
    parser.add_argument("--n-eff", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--own", action="store_true")
    arguments = parser.parse_args()
    if arguments.own:
        print("| | runs | Kish's number | ess | means scatter like |\n|---|---:|---:|---:|---:|")
        for name in arguments.problems:
            print(row_of_own(arguments.folder, name), flush=True)
        return
    print(
        "| | seeds | draws | most | n_eff | error of means | of deviations | if independent | of deviations ", end=""
    )
    print("| nested sampling's own | error of means | of deviations |\n|---|" + "---:|" * 11)
    for name in arguments.problems:
        print(row_of(arguments.folder, name, arguments.n_eff, arguments.seeds), flush=True)


if __name__ == "__main__":
    main()
