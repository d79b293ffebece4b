"""A script's fit in child processes, to be killed and started again: each session runs the script with ``--fit``."""

import subprocess
import sys
from pathlib import Path

import numpy as np

COMPARED = ("positions", "log_likelihoods", "weights", "log_evidence")


def start(script: str, folder: Path, *options: str) -> subprocess.Popen:
    """
    Start a session of the fit in ``folder``; what it prints is added to that of those before, but for the bar that it
    shows on a terminal.
    """
    folder.mkdir(exist_ok=True)
    command = [sys.executable, script, "--fit", str(folder), *options]
    with open(folder / "sessions.log", "a") as log:
        return subprocess.Popen(command, stdout=log, stderr=None if sys.stderr.isatty() else subprocess.STDOUT)


def finish(script: str, folder: Path, *options: str) -> None:
    """Run a session to its end; the whole script ends if it fails."""
    if start(script, folder, *options).wait() != 0:
        sys.exit(f"The fit in {folder} failed:\n{log_of(folder)}")


def still_runs(session: subprocess.Popen, folder: Path) -> bool:
    """True; the whole script ends if the session did."""
    if session.poll() is not None:
        sys.exit(f"The fit in {folder} ended early:\n{log_of(folder)}")
    return True


def log_of(folder: Path) -> str:
    return (folder / "sessions.log").read_text()


def logged(folder: Path, text: str) -> list[str]:
    """The messages that hold ``text``."""
    return [line.split(" - ")[-1] for line in log_of(folder).splitlines() if text in line]


def save_result(folder: Path, samples) -> None:
    np.savez(
        folder / "result.npz",
        positions=np.array(samples.parameter_lists),
        log_likelihoods=np.array(samples.log_likelihood_list),
        weights=np.array(samples.weight_list),
        log_evidence=np.array(samples.log_evidence),
    )


def same_bytes(folder: Path, other: Path) -> dict[str, bool]:
    """For each of ``COMPARED``, whether the results in two folders agree to the last bit."""
    found, expected = np.load(folder / "result.npz"), np.load(other / "result.npz")
    return {name: found[name].tobytes() == expected[name].tobytes() for name in COMPARED}
