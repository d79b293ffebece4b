"""How few live points are enough where importance draws give the posterior and the evidence.

    python docs/benchmarks/nss/few_live_points.py [--problems ...] [--n-live 2.5 5 10] [--n-eff 5000] [--seeds 5]

``--n-live`` for each parameter. Prints of each: how many fits had a usable second evidence, and of these the mean,
scatter and the mean stated error; the medians of evaluations, of those before the draws, of effective samples, and of
the seconds of sampling, compilation included.
"""

import argparse
import logging
import sys
import tempfile

import problems  # first: it switches float64 on

# isort: split
import autofit as af
import numpy as np

PROBLEMS = {
    "MGE lens, 15 parameters": lambda: problems.small_lens("mge"),
    "Sersic lens, 21 parameters": problems.small_lens,
    "Rosenbrock, 4 parameters": problems.rosenbrock,
    "funnel, 5 parameters": problems.funnel,
    "two modes, 5 parameters": problems.two_modes,
    "Gaussian, 10 parameters": problems.correlated_gaussian,
}


def row(n_live: int, found: list[dict]) -> str:
    usable = [info for info in found if not info["importance_unusable"]]
    evidences = np.array([info["log_evidence"] for info in usable] or [np.nan])
    stated = np.mean([info["log_evidence_error"] for info in usable] or [np.nan])
    spent, drawn, effective, seconds = (
        np.median([info[name] for info in found])
        for name in ("total_samples", "importance_draws", "ess", "sampling_time")
    )
    mean, scatter = evidences.mean(), evidences.std(ddof=1) if len(evidences) > 1 else np.nan
    error = scatter / len(evidences) ** 0.5
    return (
        f"| {n_live} | {len(usable)} of {len(found)} | {mean:.3f} ± {error:.3f} | {scatter:.3f} "
        f"| {stated:.3f} | {spent:,.0f} | {spent - drawn:,.0f} | {effective:,.0f} | {seconds:.0f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--n-live", nargs="+", type=float, default=(2.5, 5.0, 10.0))
    parser.add_argument("--n-eff", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    af.conf.instance.output_path = tempfile.mkdtemp()
    for name in given.problems:
        problem, rows = PROBLEMS[name](), []
        for per_parameter in given.n_live:
            n_live, found = round(per_parameter * problem.model.prior_count), []
            for seed in range(given.seeds):
                search = af.NSS(n_live=n_live, num_delete=n_live // 4, n_eff=given.n_eff, seed=seed, silence=True)
                found.append(search.fit(model=problem.model, analysis=problem.analysis).samples.samples_info)
                print(name, n_live, seed, found[-1], file=sys.stderr, flush=True)
            rows.append(row(n_live, found))
        truth = "" if problem.log_evidence is None else f", log evidence {problem.log_evidence:.3f}"
        print(f"### {name}{truth}\n\nSeeds 0 to {given.seeds - 1}, n_eff={given.n_eff}\n")
        print(
            "| n_live | usable | log evidence | scatter | stated | evaluations | before the draws | ESS | sampling |"
        )
        print("|---:|" + "---:|" * 8, *rows, "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
