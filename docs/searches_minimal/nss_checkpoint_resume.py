"""A fit that is killed twice and ends with the same bytes as one that was not.

    python docs/searches_minimal/nss_checkpoint_resume.py

Fits a noisy 1D profile with ``af.NSS`` in child processes: once in one go, once left by ``sys.exit`` inside a quick
update and started again, once killed with SIGKILL at a random moment and started again. Prints what each session
logged, compares the results byte for byte and lists the pictures drawn while the fits ran. Exit status 1 if
anything differs.
"""

import argparse
import random
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import sessions


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
    sessions.save_result(folder, result.samples)


def exit_inside_a_quick_update(folder: Path) -> str:
    code = sessions.start(__file__, folder, "--exit-at-update", "3").wait()
    return f"exit status {code}"


def kill_at_a_random_moment(folder: Path) -> str:
    session = sessions.start(__file__, folder)
    while not list(folder.rglob("nss_checkpoint.pkl")) and sessions.still_runs(session, folder):
        time.sleep(0.01)
    delay = random.uniform(0.0, 1.0)
    time.sleep(delay)
    session.kill()
    return f"signal {-session.wait()}, {delay:.2f} s after its first checkpoint"


def pictures(folder: Path) -> list[str]:
    """Name and time of each picture drawn before the fit converged."""
    log = sessions.log_of(folder).splitlines()
    stamp = next(line for line in log if "NSS converged" in line)[: len("2026-01-01 00:00:00,000")]
    converged = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f")
    drawn = [(datetime.fromtimestamp(path.stat().st_mtime), path.name) for path in folder.rglob("image/*.png")]
    return [f"{name} {when:%H:%M:%S}" for when, name in sorted(drawn) if when <= converged]


def main() -> int:
    base = Path(tempfile.mkdtemp(prefix="nss_checkpoint_resume_"))
    print(f"Results in {base}\n")

    in_one_go = base / "in_one_go"
    sessions.finish(__file__, in_one_go)
    print("in one go", *sessions.logged(in_one_go, "NSS converged"), sep="\n  ")

    verdicts, drawn = {}, {}
    for name, interrupt in (("sys.exit", exit_inside_a_quick_update), ("SIGKILL", kill_at_a_random_moment)):
        folder = base / name
        print(f"{name}\n  session 1: {interrupt(folder)}")
        sessions.finish(__file__, folder)
        resumed = sessions.logged(folder, "Resuming NSS from iteration")
        print("  session 2:", *resumed, *sessions.logged(folder, "NSS converged"), sep="\n  ")
        verdicts[name] = {"resumed": bool(resumed), **sessions.same_bytes(folder, in_one_go)}
        drawn[name] = pictures(folder)

    print("\nPictures drawn before convergence")
    for name, listed in drawn.items():
        print(f"  {name:10}" + ", ".join(listed))

    print("\n" + "same bytes as in one go".ljust(26) + "".join(key.rjust(17) for key in sessions.COMPARED))
    for name, same in verdicts.items():
        print(name.ljust(26) + "".join(("yes" if same[key] else "NO").rjust(17) for key in sessions.COMPARED))

    passed = all(all(same.values()) for same in verdicts.values()) and all(drawn.values())
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
