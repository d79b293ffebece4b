"""The picture of a run, ``nss_run.png``, for runs that differ in how good they are.

    python docs/benchmarks/nss/run_pictures.py FOLDER [good short modes bad unfinished lens]

Fits problems with af.NSS and keeps their pictures as ``run_good.png``, ``run_short.png``, ``run_modes.png``,
``run_bad.png`` (chains of 2 slices in 10 parameters) and ``run_unfinished.png`` (the good one, at half-time).
``run_lens.png`` is a strong lens at half-time, which needs autolens: the best fit so far, and the run.
"""

import contextlib
import logging
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import problems  # first: it switches float64 on

# isort: split
import autofit as af
from autofit.non_linear.search.nest.nss.showing.pictures import QuickUpdates
from PIL import Image

GAUSSIAN, WIDTH = problems.correlated_gaussian, 1000
RUNS = {
    "good": (lambda: GAUSSIAN(10), dict(n_live=400, num_mcmc_steps=20)),
    "short": (lambda: GAUSSIAN(3, correlation=0.0), dict(n_live=200, num_mcmc_steps=6)),
    "modes": (problems.two_modes, dict(n_live=500, num_mcmc_steps=10)),
    "bad": (lambda: GAUSSIAN(10), dict(n_live=400, num_mcmc_steps=2, moves="step_out")),
    "unfinished": (lambda: GAUSSIAN(10), dict(n_live=400, num_mcmc_steps=20, iterations_per_quick_update=125)),
    "lens": (problems.small_lens, dict(n_live=210, iterations_per_quick_update=150)),
}


def ending_with_the_first_picture():
    """Within, a fit ends once it has drawn a quick update."""
    fire = QuickUpdates.fire

    def fire_and_end(*arguments):
        fire(*arguments)
        raise KeyboardInterrupt

    return mock.patch.object(QuickUpdates, "fire", fire_and_end)


def stacked(pictures: list[Path], path: Path) -> None:
    """The pictures one below the other, in few colours."""
    found = [Image.open(picture).convert("RGB") for picture in pictures]
    found = [picture.resize((WIDTH, WIDTH * picture.height // picture.width)) for picture in found]
    whole = Image.new("RGB", (WIDTH, sum(picture.height for picture in found)))
    for index, picture in enumerate(found):
        whole.paste(picture, (0, sum(above.height for above in found[:index])))
    whole.quantize(128).save(path, optimize=True)


def main(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    af.conf.instance.output_path = Path(tempfile.mkdtemp())
    for name in names:
        make, settings = RUNS[name]
        problem = make()
        af.conf.instance["visualize"]["plots_search"]["nest"]["corner_anesthetic"] = False
        search = af.NSS(name=name, num_delete=50, **settings)
        with ending_with_the_first_picture(), contextlib.suppress(KeyboardInterrupt):
            info = search.fit(model=problem.model, analysis=problem.analysis).samples.samples_info
            print(f"{name}: jump {info['jump']:.2f}, expected excess {info['log_evidence_excess']:.2f}")
        drawn = search.paths.image_path
        if name == "lens":
            stacked([drawn / "fit.png", drawn / "nss_run.png"], folder / "run_lens.png")
        else:
            shutil.copy(drawn / "nss_run.png", folder / f"run_{name}.png")


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main(Path(sys.argv[1]), sys.argv[2:] or list(RUNS))
