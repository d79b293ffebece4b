"""What a start is worth: fits that begin with an earlier one's result, which is right, off, or lacks a mode.

    python docs/benchmarks/nss/start_from.py [--problems ...] [--seeds 30]

For each problem, seed by seed:

- full: a fit, with whose result others start, which have another seed,
- few: one with as few live points as a start leaves, and importance draws as with a start, but none given,
- right: one that starts from the full one,
- off: one that starts from it moved by three standard deviations in every parameter,
- lacks a mode: of two modes, one that starts from what of it lies in the second.

Prints how many had a usable second evidence without a whole run after them, and of these the mean minus the truth
(without one: minus the mean of "full") with its standard error, the scatter and the mean stated error, the median of
evaluations, all draws included, and by which factor those of "full" are more; and of how many of all one was told
that the start does not know the posterior.
"""

import argparse
import logging
import sys
import tempfile
from collections import defaultdict
from types import SimpleNamespace

import problems  # first: it switches float64 on

# isort: split
import autofit as af
import numpy as np
from autofit.non_linear.search.nest.nss.evidence.start import scouts
from autofit.non_linear.search.nest.nss.evidence.trust import MUCH_UNKNOWN

PROBLEMS = {
    "Gaussian, 10 parameters": (problems.correlated_gaussian, dict(n_live=200, num_delete=50)),
    "two modes, 5 parameters": (problems.two_modes, dict(n_live=200, num_delete=50)),
    "Rosenbrock, 4 parameters": (problems.rosenbrock, dict(n_live=200, num_delete=50)),
    "funnel, 5 parameters": (problems.funnel, dict(n_live=200, num_delete=50)),
    "MGE lens, 15 parameters": (lambda: problems.small_lens("mge"), dict(n_live=150, num_delete=50)),
    "Sersic lens, 21 parameters": (problems.small_lens, dict(n_live=210, num_delete=50)),
}


def fit(problem: problems.Problem, seed: int, **settings) -> af.Samples:
    search = af.NSS(seed=seed, silence=True, checkpoint_interval=None, **settings)
    return search.fit(model=problem.model, analysis=problem.analysis).samples


def changed(samples: af.Samples, deviations: float = 0.0, keep=None) -> SimpleNamespace:
    """Samples that are moved by so many standard deviations, or of which some are kept."""
    x, weights = np.array(samples.parameter_lists), np.array(samples.weight_list)
    mean = weights @ x / weights.sum()
    deviation = np.sqrt(weights @ (x - mean) ** 2 / weights.sum())
    kept = slice(None) if keep is None else keep(x)
    moved = x[kept] + deviations * deviation
    return SimpleNamespace(model=samples.model, parameter_lists=moved.tolist(), weight_list=weights[kept].tolist())


def fits_of_seed(name: str, problem: problems.Problem, seed: int, settings: dict) -> dict[str, af.Samples]:
    settings = {**settings, "n_eff": 5 * settings["n_live"]}
    full = fit(problem, 1000 + seed, **settings)
    n_live, num_delete = scouts(settings["n_live"], settings["num_delete"], problem.model.prior_count)
    few = dict(n_live=n_live, num_delete=num_delete, num_mcmc_steps=max(10, problem.model.prior_count))
    starts = {"right": full, "off": changed(full, 3.0)}
    if name.startswith("two modes"):
        starts["lacks a mode"] = changed(full, keep=lambda x: x[:, 0] > 0.0)
    return {
        "full": full,
        "few": fit(problem, seed, **{**settings, **few, "num_importance_draws": 2_000}),
        **{case: fit(problem, seed, **settings, start_from=start) for case, start in starts.items()},
    }


def is_whole_run(case: str, info: dict, full: list[dict]) -> bool:
    """Whether a fit that was given a start went on without it."""
    return case not in ("full", "few") and info["number_live_points"] == full[0]["number_live_points"]


def row(case: str, found: list[dict], full: list[dict], truth: float) -> str:
    usable = [info for info in found if not info["importance_unusable"] and not is_whole_run(case, info, full)]
    told = sum(max(info.get("start_unknown", [0.0])) > MUCH_UNKNOWN for info in found)
    first = f"| {case} | {len(usable)} of {len(found)} |"
    if not usable:
        return f"{first} | | | | | {told} |"
    evidences = np.array([info["log_evidence"] for info in usable])
    mean, scatter = evidences.mean(), evidences.std(ddof=1) if len(usable) > 1 else np.nan
    stated = np.mean([info["log_evidence_error"] for info in usable])
    spent, of_full = (np.median([info["total_samples"] for info in infos]) for infos in (usable, full))
    return (
        f"{first} {mean - truth:+.3f} ± {scatter / np.sqrt(len(usable)):.3f} "
        f"| {scatter:.3f} | {stated:.3f} | {spent:,.0f} | {of_full / spent:.1f} | {told} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=30)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    af.conf.instance.output_path = tempfile.mkdtemp()
    for name in given.problems:
        make, settings = PROBLEMS[name]
        problem, infos = make(), defaultdict(list)
        for seed in range(given.seeds):
            for case, samples in fits_of_seed(name, problem, seed, settings).items():
                infos[case].append(samples.samples_info)
                print(name, case, seed, infos[case][-1], file=sys.stderr, flush=True)
        truth = problem.log_evidence
        if truth is None:
            truth = np.mean([info["log_evidence"] for info in infos["full"]])
        print(f"### {name}\n\nSeeds 0 to {given.seeds - 1}, {settings}\n")
        print("| | usable | off by | scatter | stated | evaluations | times fewer | told |\n|---|" + "---:|" * 7)
        for case, found in infos.items():
            print(row(case, found, infos["full"], truth))
        print(flush=True)


if __name__ == "__main__":
    main()
