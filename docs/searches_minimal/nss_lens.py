"""A strong lens, fitted in one go, and killed twice and resumed: the same bytes, and the true Einstein radius.

    pip install '.[lens]'
    python docs/searches_minimal/nss_lens.py

Simulated imaging with a PSF; Sersic lens light, isothermal mass and shear, Sersic source: 21 parameters. Each fit
takes minutes on two cores. Prints what each session logged, the pictures that were there before the end, and the
Einstein radius. Exit status 1 if anything is not as it should be.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

COMPARED = ("positions", "log_likelihoods", "weights", "log_evidence")
KILLED_AFTER = (60, 160)  # iterations


def fit(folder: Path) -> None:
    """What a user's script does: set up, fit, use the result."""
    from lens_imaging import analysis, lens_model

    # isort: split
    import autofit as af

    af.conf.instance.output_path = folder
    plots = af.conf.instance["visualize"]["plots_search"]["nest"]
    plots["corner_anesthetic"] = plots["corner_anesthetic_components"] = False  # minutes for 21 parameters
    search = af.NSS(
        name="lens",
        n_live=210,
        num_delete=50,
        num_mcmc_steps=42,
        checkpoint_interval=20,
        iterations_per_quick_update=50,
    )
    samples = search.fit(model=lens_model(), analysis=analysis()).samples
    column = samples.model.paths.index(("galaxies", "lens", "mass", "einstein_radius"))
    np.savez(
        folder / "result.npz",
        positions=np.array(samples.parameter_lists),
        log_likelihoods=np.array(samples.log_likelihood_list),
        weights=np.array(samples.weight_list),
        log_evidence=np.array(samples.log_evidence),
        einstein_radius=np.array(samples.parameter_lists)[:, column],
    )


def start(folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    log = open(folder / "sessions.log", "a")  # noqa: SIM115 (the child writes to it)
    return subprocess.Popen([sys.executable, __file__, "--fit", str(folder)], stdout=log, stderr=subprocess.STDOUT)


def log_of(folder: Path) -> str:
    return (folder / "sessions.log").read_text()


def finish(folder: Path) -> None:
    if start(folder).wait() != 0:
        sys.exit(f"The fit in {folder} failed:\n{log_of(folder)}")


def kill_after(folder: Path, iterations: int) -> str:
    """Kill the fit, without any warning to it, when its log or its checkpoint tell of so many iterations."""
    from autofit.non_linear.search.nest.nss.search import _load_checkpoint

    process = start(folder)
    reached = 0
    while reached < iterations:
        if process.poll() is not None:
            sys.exit(f"The fit in {folder} ended early:\n{log_of(folder)}")
        time.sleep(1.0)
        for path in folder.rglob("nss_checkpoint.pkl"):
            *_, reached = _load_checkpoint(path)
    process.kill()
    return f"signal {-process.wait()} after a checkpoint of iteration {reached}"


def show(folder: Path, text: str) -> None:
    for line in log_of(folder).splitlines():
        if text in line:
            print("  " + line.split(" - ")[-1])


def main() -> int:
    from lens_imaging import EINSTEIN_RADIUS

    base = Path(tempfile.mkdtemp(prefix="nss_lens_"))
    print(f"Results in {base}\n\nin one go", flush=True)
    finish(base / "in_one_go")
    show(base / "in_one_go", "NSS converged")

    killed = base / "killed"
    print("killed twice", flush=True)
    for iterations in KILLED_AFTER:
        print("  " + kill_after(killed, iterations), flush=True)
    pictures = sorted(path.name for path in killed.rglob("image/*.png"))
    finish(killed)
    show(killed, "Resuming NSS")
    show(killed, "NSS converged")
    print(f"\nPictures there when it was killed: {', '.join(pictures)}")

    expected, found = (np.load(folder / "result.npz") for folder in (base / "in_one_go", killed))
    same = all(found[key].tobytes() == expected[key].tobytes() for key in COMPARED)
    radius, weights = found["einstein_radius"], found["weights"]
    mean = np.average(radius, weights=weights)
    error = np.sqrt(np.average((radius - mean) ** 2, weights=weights))
    recovered = abs(mean - EINSTEIN_RADIUS) < 3.0 * error
    print(f"Einstein radius {mean:.4f} ± {error:.4f}, simulated with {EINSTEIN_RADIUS}")
    print("Identical." if same else "DIFFERENT.")
    return 0 if same and recovered and "nss_run.png" in pictures and "fit.png" in pictures else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit)
    else:
        sys.exit(main())
