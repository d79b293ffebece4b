"""How long the chains of a run wait for each other, by how many points of a bracket they try at once.

    python docs/benchmarks/nss/candidates.py [--problems profile gaussian-10 mge] [--candidates 1 2 3 4 8]

An iteration waits for its longest chain: ticks are those of the longest chain of each iteration, of the whole run.
Evaluations are used by chains, or made for candidates after the first that is inside. Seconds are after compilation.
"""

import argparse
import logging

import problems  # noqa: F401 (first: it switches float64 on)

# isort: split
import jax
import numpy as np
from autofit.non_linear.search.nest.nss.evidence.trust import least_steps
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.sampling.slices import SHRINKING_IN_NORMAL_SPACE
from recorded_runs import SETTINGS, TERMINATION, whole_run


def row_of(name: str, candidates: int) -> str:
    setting = SETTINGS[name]
    problem = setting.problem()
    log_prior, log_likelihood, _ = problem.functions(SHRINKING_IN_NORMAL_SPACE)
    kernel.MAX_CANDIDATES = candidates
    sampler = kernel.nested_slice_sampler(
        log_prior,
        jax.jit(log_likelihood, inline=True),
        setting.num_delete,
        least_steps(problem.model.prior_count),
        TERMINATION,
        adapts=True,
        num_at_once=candidates * setting.num_delete,
        moves=SHRINKING_IN_NORMAL_SPACE,
    )
    state = sampler.start(problem.draw(setting.n_live, 0))
    jax.block_until_ready(sampler.advance((state, jax.random.PRNGKey(0)), 1))
    run = whole_run(sampler, problem.draw(setting.n_live, 0), 0)
    made = run.chains.made.reshape(run.iteration, -1)
    assert sampler.candidates == candidates
    ticks = (made.max(axis=1) // candidates).sum(dtype=np.int64)
    counts = f"{ticks:,} | {run.chains.evaluations.sum():,} | {made.sum():,}"
    return f"| {name} | {candidates} | {counts} | {run.seconds:.1f} s |"


def main() -> None:
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=SETTINGS, default=["profile", "gaussian-10", "mge"])
    parser.add_argument("--candidates", nargs="+", type=int, default=[1, 2, 3, 4, 8])
    arguments = parser.parse_args()
    print("| problem | candidates | ticks | evaluations used | made | run |\n|---|" + "---:|" * 5)
    for name in arguments.problems:
        for candidates in arguments.candidates:
            print(row_of(name, candidates), flush=True)


if __name__ == "__main__":
    main()
