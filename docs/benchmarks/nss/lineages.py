"""By how much the log evidence is too high, by the number of lineages whose covariance steers the chains of another.

    python docs/benchmarks/nss/lineages.py [--seeds 60]

A correlated Gaussian of ten parameters with chains of two slices, where relatives matter most. Prints for each number
of lineages, 1 for the covariance of all live points, how far the log evidence is from the truth on average over the
seeds, its standard deviation over the seeds, and the evaluations of a run.
"""

import argparse
import logging

import problems  # first: it switches float64 on
import recorded_runs

# isort: split
import jax
import numpy as np
from autofit.non_linear.search.nest.nss.evidence.nested import posterior_from
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.sampling.slices import SHRINKING_IN_NORMAL_SPACE

NUM_STEPS = 2
LINEAGES = (1, 4, 16)
SIZES = ((100, 12), (400, 50))  # live points, and how many of them die in each iteration


def row_of(problem: problems.Problem, n_live: int, num_delete: int, lineages: int, seeds: int) -> str:
    log_prior, log_likelihood, _ = problem.functions()
    log_likelihood = jax.jit(log_likelihood, inline=True)
    sampler = kernel.nested_slice_sampler(
        log_prior,
        log_likelihood,
        num_delete,
        NUM_STEPS,
        recorded_runs.TERMINATION,
        moves=SHRINKING_IN_NORMAL_SPACE._replace(lineages=lineages),
    )
    off, evaluations = [], []
    for seed in range(seeds):
        run = recorded_runs.whole_run(sampler, problem.draw(n_live, seed), seed)
        points = run.points
        posterior = posterior_from(points.log_likelihood, points.birth, np.random.default_rng(seed))
        off.append(posterior.log_evidences.mean() - problem.log_evidence)
        evaluations.append(run.evaluations)
    scatter = np.std(off, ddof=1)
    return (
        f"| {n_live} | {lineages} | {np.mean(off):+.2f} ± {scatter / np.sqrt(seeds):.2f} | {scatter:.2f} "
        f"| {np.mean(evaluations):,.0f} |"
    )


def main() -> None:
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=60)
    arguments = parser.parse_args()
    problem = problems.correlated_gaussian()
    print("| n_live | lineages | minus the truth | standard deviation | evaluations |\n|---:|---:|---:|---:|---:|")
    for n_live, num_delete in SIZES:
        for lineages in LINEAGES:
            print(row_of(problem, n_live, num_delete, lineages, arguments.seeds), flush=True)


if __name__ == "__main__":
    main()
