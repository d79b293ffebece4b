"""How long one waits for a result after the last iteration, and for that of a finished fit that is run again.

    python docs/benchmarks/nss/waits.py [--problems ...] [--repeats 3]

Fits as they come, ``af.NSS(name="fit")`` with PyAutoFit's own config, corner plots and all; each in a process of its
own, and again in another. Prints medians of the seconds from the last iteration to the second evidence, from there to
the result, and of the call that returns it the second time; and what of the wait for the result each step takes, of
which the corner plots alone (corner.py's) are not PyAutoFit's own or the analysis's.
"""

import argparse
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from unittest import mock

import problems  # first: it switches float64 on

# isort: split
import autofit as af
from autofit.non_linear.search.nest.nss.sampling.run import Run
from autofit.non_linear.search.updater import SearchUpdater
from processes import measured

PROBLEMS = {
    "profile, 6 parameters": lambda: problems.profile(components=2, pixels=2_000),
    "Gaussian, 10 parameters": problems.correlated_gaussian,
    "MGE lens, 15 parameters": lambda: problems.small_lens("mge"),
    "Sersic lens, 21 parameters": problems.small_lens,
}


# From the second evidence to the result; a fit's first pictures are made before it.
STEPS = {
    "samples": (SearchUpdater, "_save_samples"),
    "latent variables": (SearchUpdater, "_compute_latent_samples"),
    "pictures": (SearchUpdater, "visualize"),
    "corner plots among them": (af.NSS, "plot_results"),
    "profile of the likelihood": (SearchUpdater, "_profile_and_summarize"),
}


def fit(name: str, folder: str, seed: int) -> None:
    """Fit, and print the seconds of the call, from its last iteration to the second evidence, from there, by step."""
    af.conf.instance.output_path = folder
    problem, ended = PROBLEMS[name](), {}
    taken = dict.fromkeys(STEPS, 0.0)

    def noted(step: str, function):
        """``function``, of which the end and the seconds are noted."""

        def call(*arguments, **options):
            started = time.perf_counter()
            found = function(*arguments, **options)
            ended[step] = time.perf_counter()
            taken[step] = taken.get(step, 0.0) + ended[step] - started
            return found

        return call

    of_run = {"iterated": (Run, "after"), "sampled": (af.NSS, "run")}
    with ExitStack() as patched:
        for step, (owner, method) in {**of_run, **STEPS}.items():
            patched.enter_context(mock.patch.object(owner, method, noted(step, getattr(owner, method))))
        started = time.perf_counter()
        af.NSS(name="fit", seed=seed).fit(model=problem.model, analysis=problem.analysis)
        finished = time.perf_counter()
    iterated, sampled = ended.get("iterated", started), ended.get("sampled", started)
    waits = finished - started, sampled - iterated, finished - sampled
    print(json.dumps([*waits, *(taken[step] for step in STEPS)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fit", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fit:
        name, folder, seed = given.fit
        return fit(name, folder, int(seed))

    names = "until the second evidence", "until the result", "again", *STEPS
    print(f"| | {' | '.join(names)} |\n|---|{'---:|' * len(names)}", flush=True)
    for name in given.problems:
        rows = []
        for seed in range(given.repeats):
            with tempfile.TemporaryDirectory() as folder:
                (_, *waits), (again, *_) = (measured(__file__, "--fit", name, folder, seed) for _ in range(2))
            rows.append([*waits[:2], again, *waits[2:]])
        columns = (f"{statistics.median(column):.1f} s" for column in zip(*rows, strict=True))
        print(f"| {name} | {' | '.join(columns)} |", flush=True)
    return None


if __name__ == "__main__":
    main()
