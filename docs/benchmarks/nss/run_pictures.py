"""The picture of a run, ``nss_run.png``, for runs that differ in how good they are.

    python docs/benchmarks/nss/run_pictures.py FOLDER

Fits problems with af.NSS and keeps their pictures as ``run_good.png``, ``run_short.png``, ``run_modes.png``,
``run_bad.png`` (chains of 2 slices in 10 parameters) and ``run_unfinished.png`` (the good one, at half-time).
"""

import logging
import shutil
import sys
import tempfile
from pathlib import Path

import problems  # first: it switches float64 on

# isort: split
import autofit as af

GOOD = problems.correlated_gaussian(10)
RUNS = {
    "good": (GOOD, dict(n_live=400, num_mcmc_steps=20)),
    "short": (problems.correlated_gaussian(3, correlation=0.0), dict(n_live=200, num_mcmc_steps=6)),
    "modes": (problems.two_modes(), dict(n_live=500, num_mcmc_steps=10)),
    "bad": (GOOD, dict(n_live=400, num_mcmc_steps=2, moves="step_out")),
    "unfinished": (GOOD, dict(n_live=400, num_mcmc_steps=20, iterations_per_quick_update=125)),
}


class KeepsTheFirst:
    """Steps in for the pictures of an analysis: copies that of the run before the next one replaces it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def visualize(self, paths, instance, during_analysis):
        drawn, kept = Path(paths.image_path) / "nss_run.png", self.folder / "run_unfinished.png"
        if during_analysis and drawn.exists() and not kept.exists():
            shutil.copy(drawn, kept)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    af.conf.instance.output_path = Path(tempfile.mkdtemp())
    af.conf.instance["visualize"]["plots_search"]["nest"]["corner_anesthetic"] = False
    for name, (problem, settings) in RUNS.items():
        analysis = problem.analysis
        if name == "unfinished":
            (folder / "run_unfinished.png").unlink(missing_ok=True)
            analysis.visualize = KeepsTheFirst(folder).visualize
        search = af.NSS(name=name, num_delete=50, **settings)
        info = search.fit(model=problem.model, analysis=analysis).samples.samples_info
        if name != "unfinished":
            shutil.copy(search.paths.image_path / "nss_run.png", folder / f"run_{name}.png")
        print(f"{name}: jump {info['jump']:.2f}, expected excess {info['log_evidence_excess']:.2f}")


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main(Path(sys.argv[1]))
