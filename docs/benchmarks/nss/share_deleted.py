"""What it costs to replace a large share of the live points at once.

    python docs/benchmarks/nss/share_deleted.py [--problems gaussian-10 rosenbrock funnel] [--seeds 30]

Runs each problem of recorded_runs.py, as af.NSS fits it by default, with a tenth to nine tenths of its live points
replaced in each iteration. Prints over the seeds the mean and standard error of the log evidence minus the truth, or
minus the mean of the first share where the truth is not known; the standard deviation over the seeds and the error
that the runs state; evaluations; and iterations, each of which waits for all of its chains.
"""

import argparse
import logging

import recorded_runs  # first: it switches float64 on

# isort: split
import numpy as np
from autofit.non_linear.search.nest.nss.evidence.nested import posterior_from
from autofit.non_linear.search.nest.nss.evidence.trust import least_steps

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


def runs_of(name: str, share: float, seeds: int) -> list[tuple[float, float, int, int]]:
    """Log evidence, its error, evaluations and iterations of a run with each seed."""
    setting = recorded_runs.SETTINGS[name]
    problem, found = setting.problem(), []
    num_delete, steps = int(share * setting.n_live), least_steps(problem.model.prior_count)
    sampler = recorded_runs.sampler_of(problem, num_delete, steps, adapts=True)
    for seed in range(seeds):
        run = recorded_runs.whole_run(sampler, problem.draw(setting.n_live, seed), seed)
        points = run.points
        evidences = posterior_from(points.log_likelihood, points.birth, np.random.default_rng(seed)).log_evidences
        found.append((evidences.mean(), evidences.std(), run.evaluations, run.iteration))
    return found


def main() -> None:
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cheap = ["gaussian-10", "rosenbrock", "funnel"]
    parser.add_argument("--problems", choices=recorded_runs.SETTINGS, nargs="+", default=cheap)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    given = parser.parse_args()
    print("| problem | share | num_delete | log evidence, off by | over seeds | stated | evaluations | iterations |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in given.problems:
        truth = recorded_runs.SETTINGS[name].problem().log_evidence
        for share in given.shares:
            found = np.array(runs_of(name, share, given.seeds))
            evidences, errors, evaluations, iterations = found.T
            truth = evidences.mean() if truth is None else truth
            num_delete = int(share * recorded_runs.SETTINGS[name].n_live)
            error = evidences.std(ddof=1) / np.sqrt(len(found))
            print(
                f"| {name} | {share} | {num_delete} | {evidences.mean() - truth:+.2f} ± {error:.2f} "
                f"| {evidences.std(ddof=1):.2f} | {errors.mean():.2f} | {evaluations.mean():,.0f} "
                f"| {iterations.mean():.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
