"""How long one waits for a result after the last iteration, and for that of a finished fit that is run again.

    python docs/benchmarks/nss/waits.py [--problems ...] [--repeats 3]

Fits as they come, ``af.NSS(name="fit")`` with PyAutoFit's own config, corner plots and all; each in a process of its
own, and again in another. Prints medians of the seconds from the last iteration to the second evidence, from there to
the result, and of the call that returns it the second time.
"""

import argparse
import json
import statistics
import tempfile
import time
from unittest import mock

import problems  # first: it switches float64 on

# isort: split
import autofit as af
from autofit.non_linear.search.nest.nss.sampling.run import Run
from processes import measured

PROBLEMS = {
    "profile, 6 parameters": lambda: problems.profile(components=2, pixels=2_000),
    "Gaussian, 10 parameters": problems.correlated_gaussian,
    "MGE lens, 15 parameters": lambda: problems.small_lens("mge"),
    "Sersic lens, 21 parameters": problems.small_lens,
}


def fit(name: str, folder: str, seed: int) -> None:
    """Fit, and print the seconds of the call, from its last iteration to the second evidence, and from there on."""
    af.conf.instance.output_path = folder
    problem, times = PROBLEMS[name](), {}
    real_after, real_run = Run.after, af.NSS.run

    def after(run, *arguments):
        run = real_after(run, *arguments)
        times["iterated"] = time.perf_counter()
        return run

    def sample(search, ctx):
        internal = real_run(search, ctx)
        times["sampled"] = time.perf_counter()
        return internal

    with mock.patch.object(Run, "after", after), mock.patch.object(af.NSS, "run", sample):
        started = time.perf_counter()
        af.NSS(name="fit", seed=seed).fit(model=problem.model, analysis=problem.analysis)
        finished = time.perf_counter()
    iterated, sampled = times.get("iterated", started), times.get("sampled", started)
    print(json.dumps([finished - started, sampled - iterated, finished - sampled]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fit", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fit:
        name, folder, seed = given.fit
        return fit(name, folder, int(seed))

    print("| | until the second evidence | until the result | again |\n|---|---:|---:|---:|", flush=True)
    for name in given.problems:
        rows = []
        for seed in range(given.repeats):
            with tempfile.TemporaryDirectory() as folder:
                (_, *waits), (again, *_) = (measured(__file__, "--fit", name, folder, seed) for _ in range(2))
            rows.append([*waits, again])
        columns = (f"{statistics.median(column):.1f} s" for column in zip(*rows, strict=True))
        print(f"| {name} | {' | '.join(columns)} |", flush=True)
    return None


if __name__ == "__main__":
    main()
