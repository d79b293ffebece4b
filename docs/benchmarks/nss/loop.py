"""What the loop around the iterations costs: one iteration for each dispatch, and as many as until the next event.

    python docs/benchmarks/nss/loop.py

A trivial likelihood of two parameters, ``num_delete=1``, n_live=200 and a checkpoint due every 100 iterations; the
loop of the search, with its thread for the device, but no files. Whole runs that alternate; prints medians.
"""

import logging
import statistics
from unittest import mock

import autofit as af  # first: it switches float64 on
from autofit.non_linear.search.nest.nss.saving.resume import RunCheckpoint
from autofit.non_linear.search.nest.nss.showing import schedule
from problems import VectorAnalysis


def microseconds_per_iteration(seconds_at_once: float) -> tuple[int, float]:
    model = af.Collection(x0=af.UniformPrior(-1.0, 1.0), x1=af.UniformPrior(-1.0, 1.0))
    analysis = VectorAnalysis(lambda x: -50.0 * (x @ x))
    runs = []

    def remember(_checkpoint, due, run):
        if due:
            runs.append(run)

    search = af.NSS(n_live=200, num_delete=1, num_mcmc_steps=5)
    with (
        mock.patch.object(schedule, "SECONDS_AT_ONCE", seconds_at_once),
        mock.patch.object(RunCheckpoint, "save_if", remember),
    ):
        search._fit(model, analysis)
    first, last = runs[0], runs[-1]  # compilation is over at the first
    return last.iteration, 1e6 * (last.seconds - first.seconds) / (last.iteration - first.iteration)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    settings = {"one at a time": 0.0, "until the next event": schedule.SECONDS_AT_ONCE}
    timings = {name: [] for name in settings}
    for _ in range(5):
        for name, value in settings.items():
            iterations, microseconds = microseconds_per_iteration(value)
            timings[name].append(microseconds)
    print("| iterations dispatched | microseconds per iteration |\n|---|---:|")
    for name in settings:
        print(f"| {name} | {statistics.median(timings[name]):.0f} |")
    print(f"\n{iterations:,} iterations in each run")
