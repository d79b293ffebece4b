"""What pictures and progress cost the sampler.

    python docs/benchmarks/nss/quick_update.py [--repeats 3]

A profile of two components with 5,000 pixels, and a quick update every 400 iterations (8 s). Each draws the run and
calls a visualizer that takes two seconds: asleep, as one that waits for a disk or another process, or computing.
Prints the sampler's seconds (``sampling_time``), medians of fits that alternate, and the share of the time that went
into working out and showing the progress.
"""

import argparse
import logging
import statistics
import tempfile
import time

import problems  # first: it switches float64 on

# isort: split
import autofit as af
from autofit.non_linear.search.nest.nss.showing.progress import Progress

SECONDS = 2.0


def asleep() -> None:
    time.sleep(SECONDS)


def computing() -> None:
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        sum(range(1000))


class Visualizing:
    def __init__(self, work):
        self.work, self.pictures = work, 0

    def visualize(self, paths, instance, during_analysis):
        if during_analysis:
            self.work()
            self.pictures += 1


FITS = {  # what a visualizer does, and whether in the background
    "no pictures": (None, False),
    "asleep, sampling waits": (asleep, False),
    "asleep, in the background": (asleep, True),
    "computing, in the background": (computing, True),
}


def fit(work, background: bool) -> tuple[float, int, float]:
    """The sampler's seconds, how many pictures were drawn, and the seconds that went into showing progress."""
    shown, show = [], Progress.show

    def timed_show(*arguments):
        started = time.perf_counter()
        show(*arguments)
        shown.append(time.perf_counter() - started)

    Progress.show = timed_show
    problem = problems.profile(components=2, pixels=5_000)
    visualizing = Visualizing(work)
    problem.analysis.visualize = visualizing.visualize
    af.conf.instance.output_path = tempfile.mkdtemp()
    af.conf.instance["general"]["updates"]["quick_update_background"] = background
    settings = {} if work is None else dict(iterations_per_quick_update=400)
    search = af.NSS(name="fit", n_live=1500, num_delete=20, num_mcmc_steps=12, **settings)
    info = search.fit(model=problem.model, analysis=problem.analysis).samples.samples_info
    Progress.show = show
    return info["sampling_time"], visualizing.pictures, sum(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    logging.disable(logging.WARNING)
    af.conf.instance["visualize"]["plots_search"]["nest"]["corner_anesthetic"] = False
    fit(None, False)  # compiles
    found = {name: [] for name in FITS}
    for _ in range(repeats):
        for name, how in FITS.items():
            found[name].append(fit(*how))
    print("| | sampler | without pictures | pictures | progress |\n|---|---:|---:|---:|---:|")
    without = statistics.median(seconds for seconds, *_ in found["no pictures"])
    for name, runs in found.items():
        seconds, pictures, showing = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"| {name} | {seconds:.1f} s | {seconds / without:.2f} | {pictures} | {showing / seconds:.2%} |")


if __name__ == "__main__":
    main()
