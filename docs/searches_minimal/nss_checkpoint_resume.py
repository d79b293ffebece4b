"""A fit that is killed twice and ends with the same bytes as one that was not.

    python docs/searches_minimal/nss_checkpoint_resume.py

Fits a noisy 1D profile with ``af.NSS`` in child processes: once in one go, once left by ``sys.exit`` inside a quick
update and started again, once killed with SIGKILL at a random moment and started again. Prints what each session
logged, compares the results byte for byte and lists the pictures drawn while the fits ran. Exit status 1 if
anything differs.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np

COMPARED = ("positions", "log_likelihoods", "weights", "log_evidence")


def fit(folder: Path, exit_at_update: int | None) -> None:
    """What a user's script does: set up, fit, use the result."""
    import autofit as af
    from profile_1d import Analysis, Visualizer, noisy_profile, profile_model

    class LeavingVisualizer(Visualizer):
        @staticmethod
        def visualize(analysis, paths, instance, during_analysis):
            Visualizer.visualize(analysis, paths, instance, during_analysis)
            if analysis.pictures == exit_at_update:
                sys.exit("left by sys.exit inside a quick update")

    class LeavingAnalysis(Analysis):
        Visualizer = LeavingVisualizer

    af.conf.instance.output_path = folder
    search = af.NSS(
        name="profile",
        n_live=400,
        num_delete=20,
        num_mcmc_steps=8,
        checkpoint_interval=10,
        iterations_per_quick_update=50,
    )
    result = search.fit(model=profile_model(), analysis=LeavingAnalysis(noisy_profile()))

    if search.checkpoint_file.exists():
        sys.exit(f"{search.checkpoint_file} is still there after the fit")
    samples = result.samples
    np.savez(
        folder / "result.npz",
        positions=np.array(samples.parameter_lists),
        log_likelihoods=np.array(samples.log_likelihood_list),
        weights=np.array(samples.weight_list),
        log_evidence=np.array(samples.log_evidence),
    )


def start(folder: Path, *options: str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    log = open(folder / "sessions.log", "a")  # noqa: SIM115 (the child writes to it)
    command = [sys.executable, __file__, "--fit", str(folder), *options]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def finish(folder: Path) -> None:
    if start(folder).wait() != 0:
        sys.exit(f"The fit in {folder} failed:\n{(folder / 'sessions.log').read_text()}")


def wait_for_checkpoint(folder: Path, process: subprocess.Popen) -> None:
    while not list(folder.rglob("nss_checkpoint.pkl")):
        if process.poll() is not None:
            sys.exit(f"The fit in {folder} ended early:\n{(folder / 'sessions.log').read_text()}")
        time.sleep(0.01)


def exit_inside_a_quick_update(folder: Path) -> str:
    code = start(folder, "--exit-at-update", "3").wait()
    return f"exit status {code}"


def kill_at_a_random_moment(folder: Path) -> str:
    process = start(folder)
    wait_for_checkpoint(folder, process)
    delay = random.uniform(0.0, 1.0)
    time.sleep(delay)
    process.kill()
    return f"signal {-process.wait()}, {delay:.2f} s after its first checkpoint"


def logged(folder: Path, text: str) -> str:
    lines = (folder / "sessions.log").read_text().splitlines()
    return next((line.split(" - ")[-1] for line in lines if text in line), f"no line with {text!r}")


def pictures(folder: Path) -> list[str]:
    """Name and time of each picture drawn before the fit converged."""
    log = (folder / "sessions.log").read_text().splitlines()
    stamp = next(line for line in log if "NSS converged" in line)[: len("2026-01-01 00:00:00,000")]
    converged = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f")
    drawn = [(datetime.fromtimestamp(path.stat().st_mtime), path.name) for path in folder.rglob("image/*.png")]
    return [f"{name} {when:%H:%M:%S}" for when, name in sorted(drawn) if when <= converged]


def main() -> int:
    base = Path(tempfile.mkdtemp(prefix="nss_checkpoint_resume_"))
    print(f"Results in {base}\n")

    uninterrupted = base / "in_one_go"
    finish(uninterrupted)
    print(f"in one go\n  {logged(uninterrupted, 'NSS converged')}")
    expected = np.load(uninterrupted / "result.npz")

    verdicts, drawn = [], []
    for name, interrupt in (("sys.exit", exit_inside_a_quick_update), ("SIGKILL", kill_at_a_random_moment)):
        folder = base / name
        print(f"{name}\n  session 1: {interrupt(folder)}")
        finish(folder)
        print(f"  session 2: {logged(folder, 'Resuming NSS')}\n             {logged(folder, 'NSS converged')}")
        found = np.load(folder / "result.npz")
        resumed = "Resuming NSS from iteration" in logged(folder, "Resuming NSS")
        same = [found[key].tobytes() == expected[key].tobytes() for key in COMPARED]
        verdicts.append((name, resumed, same))
        drawn.append((name, pictures(folder)))

    print("\nPictures drawn before convergence")
    for name, listed in drawn:
        print(f"  {name:10}" + ", ".join(listed))

    print("\n" + "same bytes as in one go".ljust(26) + "".join(key.rjust(17) for key in COMPARED))
    for name, _, same in verdicts:
        print(name.ljust(26) + "".join(("yes" if equal else "NO").rjust(17) for equal in same))

    passed = all(resumed and all(same) for _, resumed, same in verdicts) and all(listed for _, listed in drawn)
    print("\n" + ("Identical." if passed else "DIFFERENT."))
    return 0 if passed else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--exit-at-update", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit, arguments.exit_at_update)
    else:
        sys.exit(main())
