"""A strong lens, fitted in one go, and killed twice and resumed: the same bytes, and the true Einstein radius.

    pip install '.[lens]'
    python docs/searches_minimal/nss_lens.py [--light sersic|mge|pixelised]

Simulated imaging with a PSF; isothermal mass and shear. Lens light and source are Sersic profiles (21 parameters), or
multi-Gaussian expansions whose intensities are solved for (15), or the source is a grid of pixels (8). Prints what
each session logged, both evidences, their distance and which to believe, the pictures that were there before the end,
and the Einstein radius. Exit status 1 if anything is not as it should be.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sessions

SETTINGS = {
    "sersic": dict(n_live=210, checkpoint_interval=20, iterations_per_quick_update=50),
    "mge": dict(n_live=150, checkpoint_interval=20, iterations_per_quick_update=20),
    "pixelised": dict(n_live=80, checkpoint_interval=5, iterations_per_quick_update=10),
}
KILLED_AFTER = {"sersic": (60, 160), "mge": (20, 60), "pixelised": (5, 15)}  # iterations


def fit(folder: Path, light: str) -> None:
    """What a user's script does: set up, fit, use the result."""
    from lens_imaging import analysis, lens_model

    # isort: split
    import autofit as af

    af.conf.instance.output_path = folder
    search = af.NSS(name="lens", num_delete=50, **SETTINGS[light])
    samples = search.fit(model=lens_model(light), analysis=analysis(light)).samples
    sessions.save_result(folder, samples)


def kill_after(folder: Path, iterations: int, light: str) -> str:
    """Kill the fit, without any warning to it, when its checkpoint tells of so many iterations."""
    from autofit.non_linear.search.nest.nss.search import _load_checkpoint

    session = sessions.start(__file__, folder, "--light", light)
    reached = 0
    while reached < iterations and sessions.still_runs(session, folder):
        time.sleep(1.0)
        for path in folder.rglob("nss_checkpoint.pkl"):
            *_, reached = _load_checkpoint(path)
    session.kill()
    return f"signal {-session.wait()} after a checkpoint of iteration {reached}"


def einstein_radius(folder: Path, light: str) -> tuple[float, float]:
    """Its posterior mean and standard deviation."""
    from lens_imaging import lens_model

    model = lens_model(light)
    priors = [named.prior for named in model.prior_tuples_ordered_by_id]
    column = priors.index(model.galaxies.lens.mass.einstein_radius)
    result = np.load(folder / "result.npz")
    radius, weights = result["positions"][:, column], result["weights"]
    mean = np.average(radius, weights=weights)
    return mean, np.sqrt(np.average((radius - mean) ** 2, weights=weights))


def main(light: str) -> int:
    from lens_imaging import EINSTEIN_RADIUS

    base = Path(tempfile.mkdtemp(prefix="nss_lens_"))
    in_one_go, killed = base / "in_one_go", base / "killed"
    print(f"Results in {base}\n\nin one go", flush=True)
    sessions.finish(__file__, in_one_go, "--light", light)
    print(
        *sessions.logged(in_one_go, "NSS converged"),
        *sessions.logged(in_one_go, "Log evidence by"),
        sep="\n",
        flush=True,
    )

    print("killed twice")
    for iterations in KILLED_AFTER[light]:
        print(kill_after(killed, iterations, light), flush=True)
    pictures = sorted(path.name for path in killed.rglob("image/*.png"))
    sessions.finish(__file__, killed, "--light", light)
    print(*sessions.logged(killed, "Resuming NSS"), *sessions.logged(killed, "NSS converged"), sep="\n")
    print(f"\nPictures there when it was killed: {', '.join(pictures)}")

    mean, error = einstein_radius(killed, light)
    print(f"Einstein radius {mean:.4f} ± {error:.4f}, simulated with {EINSTEIN_RADIUS}")
    same = all(sessions.same_bytes(killed, in_one_go).values())
    print("Identical." if same else "DIFFERENT.")
    # So few pixels of the source shift the radius by more than its error.
    recovered = light == "pixelised" or abs(mean - EINSTEIN_RADIUS) < 3.0 * error
    return 0 if same and recovered and {"nss_run.png", "fit.png"} <= set(pictures) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--light", choices=SETTINGS, default="sersic")
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit, arguments.light)
    else:
        sys.exit(main(arguments.light))
