"""A campaign against checkpoints: processes killed at random and inside the write, files truncated and altered.

    python docs/benchmarks/nss/kill_campaign.py [--seed 0] [--kills 100] [--steps 40] [--terms 20] [--flips 500]

Fits are killed again and again, up to five times at random moments, or at each step of the write in turn. After each
kill the dead points on disk must be the first of those of a fit that was left alone, and when the fit is let through
it must end with the same bytes. Each damaged checkpoint is resumed: it must end in those bytes, directly or from the
checkpoint before, or be refused with a message. Prints a table, and ends with status 1 if anything else happened.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import autofit as af
import numpy as np
from autofit import exc
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.saving import checkpoint, history
from autofit.non_linear.search.nest.nss.saving.resume import RunCheckpoint

SETTINGS = {
    "often": dict(n_live=60, num_delete=3, num_mcmc_steps=3, checkpoint_interval=1),
    "seldom": dict(n_live=60, num_delete=3, num_mcmc_steps=3, checkpoint_interval=25),
    "large batches": dict(n_live=900, num_delete=50, num_mcmc_steps=6, checkpoint_interval=2),
    "in chunks": dict(n_live=100, num_delete=5, num_mcmc_steps=3, checkpoint_interval=3, chunk_size=4),
}
SMALL = dict(n_live=12, num_delete=4, num_mcmc_steps=2, checkpoint_interval=2)
COMPARED = ("positions", "loglikelihoods", "log_weights", "logZs", "evals")


class Analysis(af.Analysis):
    def log_likelihood_function(self, instance):
        return -5000.0 * ((instance.x - 0.3) ** 2 + (instance.y + 0.2) ** 2)


def fit(folder: Path, settings: dict) -> dict:
    af.conf.instance.output_path = folder / "output"
    model = af.Collection(x=af.UniformPrior(-1.0, 1.0), y=af.UniformPrior(-1.0, 1.0))
    search = af.NSS(name="campaign", **settings)
    search.paths.model = model
    internal, _ = search._fit(model, Analysis(use_jax=True))
    return {name: np.asarray(getattr(internal, name)) for name in COMPARED}


def same(a: dict, b: dict) -> bool:
    return all(a[name].tobytes() == b[name].tobytes() for name in COMPARED)


def checkpoint_in(folder: Path) -> Path | None:
    return next(folder.rglob("nss_checkpoint.pkl"), None)


# Sessions: processes that fit, the next ones importing while one is at work


class KilledAtStep:
    """Stands for ``os`` and ``open`` in the writer, and ends the process at its n-th step: before each call of the
    system, or in the middle of a write."""

    def __init__(self, step: int):
        self.left = step
        for name in ("fsync", "replace", "link", "close"):
            setattr(self, name, self.counting(getattr(os, name)))
        for writer in (checkpoint, history):
            writer.os, writer.open = self, self.opened

    def __getattr__(self, name):
        return getattr(os, name)

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(self, function):
        def call(*arguments, **options):
            self.step()
            return function(*arguments, **options)

        return call

    @contextlib.contextmanager
    def opened(self, path, mode):
        self.step()
        with open(path, mode, buffering=0) as file:
            yield StepwiseFile(file, self) if mode != "rb" else file


class StepwiseFile:
    def __init__(self, file, steps: KilledAtStep):
        self._file, self._steps = file, steps
        self.truncate = steps.counting(file.truncate)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data) -> None:
        for half in (data[: len(data) // 2], data[len(data) // 2 :]):
            self._steps.step()
            self._file.write(half)


def session() -> None:
    """A process of the campaign: told on standard input what to fit, and where it is to die."""
    task = json.loads(sys.stdin.readline())
    folder = Path(task["folder"])
    if task["step"]:
        KilledAtStep(task["step"])
    np.savez(folder / "result.npz", **fit(folder, SETTINGS[task["settings"]]))


class Sessions:
    def __init__(self, ready: int = 2):
        self._ready = deque(self._spawn() for _ in range(ready))

    def _spawn(self) -> subprocess.Popen:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [sys.executable, __file__, "--session"], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet
        )

    def start(self, folder: Path, settings: str, step: int = 0) -> subprocess.Popen:
        folder.mkdir(parents=True, exist_ok=True)
        process = self._ready.popleft()
        self._ready.append(self._spawn())
        process.stdin.write(json.dumps({"folder": str(folder), "settings": settings, "step": step}).encode())
        process.stdin.close()
        return process

    def close(self) -> None:
        for process in self._ready:
            process.kill()
            process.wait()


def kill_at_random(process: subprocess.Popen, folder: Path, number: int, delay: float) -> bool:
    """Send a signal some time after a new checkpoint appears; whether the fit was still running."""

    def written():
        path = checkpoint_in(folder)
        return path and path.stat().st_mtime_ns

    before = written()
    while written() == before and process.poll() is None:
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(number)
    return process.wait() == (-number if number == signal.SIGKILL else 128 + number)


class Campaign:
    def __init__(self, base: Path, sessions: Sessions, names: list[str]):
        self.base, self.sessions, self.names = base, sessions, names
        self.expected = {name: self.finished(base / "whole" / name, name) for name in names}

    def finished(self, folder: Path, name: str) -> dict | None:
        """The result of a fit that is let through, ``None`` if it fails."""
        if self.sessions.start(folder, name).wait() != 0:
            return None
        return dict(np.load(folder / "result.npz"))

    def on_disk_is_right(self, folder: Path, name: str) -> bool:
        """Whether what a kill left behind is no checkpoint yet, or one with the first of the right dead points."""
        path = checkpoint_in(folder)
        if path is None:
            return True
        dead = checkpoint._load_checkpoint(path)[1]
        found = np.concatenate([block.particles.loglikelihood for block in dead])
        return found.tobytes() == self.expected[name]["loglikelihoods"][: len(found)].tobytes()

    def count_kill(self, counted: Counter, folder: Path, name: str) -> None:
        counted["signals"] += 1
        counted["DIFFERENT"] += not self.on_disk_is_right(folder, name)

    def count_ending(self, counted: Counter, folder: Path, name: str) -> None:
        """Let a fit through to its end, and count how that was."""
        found = self.finished(folder, name)
        same_bytes = found is not None and same(found, self.expected[name])
        counted["FAILED" if found is None else "identical" if same_bytes else "DIFFERENT"] += 1
        counted["fits"] += 1

    def at_random(self, kind: str, signals: int, number: int, rng: random.Random) -> Counter:
        counted = Counter()
        while counted["signals"] < signals:
            name = self.names[counted["fits"] % len(self.names)]
            folder = self.base / kind / str(counted["fits"])
            for _ in range(min(5, signals - counted["signals"])):
                if not kill_at_random(self.sessions.start(folder, name), folder, number, rng.uniform(0.0, 0.05)):
                    break
                self.count_kill(counted, folder, name)
            self.count_ending(counted, folder, name)
        return counted

    def inside_the_write(self, steps: int) -> Counter:
        """Session after session of one fit dies one step later in its writing."""
        counted = Counter()
        for name in self.names:
            folder = self.base / "write" / name
            for step in range(1, steps + 1):
                if self.sessions.start(folder, name, step).wait() != -signal.SIGKILL:
                    break
                self.count_kill(counted, folder, name)
            self.count_ending(counted, folder, name)
        return counted


# Damage: many resumes of a small fit, with its functions compiled once


def compile_once() -> None:
    build, built = kernel.nested_slice_sampler, []

    def first_or_built(**arguments):
        if not built:
            built.append(build(**arguments))
        return built[0]

    kernel.nested_slice_sampler = first_or_built


def stopped_fit(folder: Path) -> Path:
    """The checkpoint of a small fit that was stopped after its 6th iteration."""
    save_if = RunCheckpoint.save_if

    def save_and_stop(run_checkpoint, due, run):
        save_if(run_checkpoint, due, run)
        if run.iteration == 6:
            raise KeyboardInterrupt

    RunCheckpoint.save_if = save_and_stop
    with contextlib.suppress(KeyboardInterrupt):
        fit(folder, SMALL)
    RunCheckpoint.save_if = save_if
    return checkpoint_in(folder)


def truncations(content: bytes, stride: int):
    for length in range(0, len(content), stride):
        yield content[:length]


def flips(content: bytes, number: int, rng: np.random.Generator):
    for position in rng.integers(0, len(content), number):
        altered = bytearray(content)
        altered[position] ^= 1 << rng.integers(8)
        yield bytes(altered)


def damaged_and_resumed(base: Path, damages: dict) -> dict[str, Counter]:
    """Resume from each damaged version of the checkpoint and of its history, and count how that ended."""
    compile_once()
    expected = fit(base / "whole", SMALL)
    path = stopped_fit(base / "stopped")
    files = {file: file.read_bytes() for file in path.parent.glob("nss_checkpoint.*")}
    counted = {kind: Counter() for kind in damages}
    for kind, damage in damages.items():
        for damaged in (path, checkpoint.history_path(path)):
            for content in damage(files[damaged]):
                for file in path.parent.iterdir():
                    file.unlink()
                for file, whole in files.items():
                    file.write_bytes(whole)
                damaged.write_bytes(content)
                counted[kind][ending_of_damaged(base / "stopped", path, expected)] += 1
    return counted


def ending_of_damaged(folder: Path, path: Path, expected: dict) -> str:
    try:
        found = fit(folder, SMALL)
    except exc.SearchException as refusal:
        return "refused" if "give this fit another name" in str(refusal) else "FAILED"
    except Exception:  # what a user would see as a crash
        return "FAILED"
    if not same(found, expected):
        return "DIFFERENT"
    return "from the one before" if path.with_suffix(".damaged.pkl").exists() else "identical"


def main(arguments) -> int:
    base, rng = Path(tempfile.mkdtemp(prefix="nss_kill_campaign_")), random.Random(arguments.seed)
    sessions = Sessions()
    campaign = Campaign(base, sessions, list(SETTINGS)[: arguments.settings])
    rows = {
        "SIGKILL at random": campaign.at_random("kill", arguments.kills, signal.SIGKILL, rng),
        "SIGKILL inside the write": campaign.inside_the_write(arguments.steps),
        "SIGTERM at random": campaign.at_random("term", arguments.terms, signal.SIGTERM, rng),
    }
    sessions.close()

    flipped = np.random.default_rng(arguments.seed)
    damages = {
        "truncation": lambda content: truncations(content, arguments.stride),
        "flipped bit": lambda content: flips(content, arguments.flips // 2, flipped),
    }
    # Away from the main thread, fits take no notice of signals and keep their compiled functions.
    with ThreadPoolExecutor(1) as elsewhere:
        rows |= elsewhere.submit(damaged_and_resumed, base / "damage", damages).result()

    columns = ("identical", "from the one before", "refused", "DIFFERENT", "FAILED")
    print(f"\nseed {arguments.seed}\n\n| | signals sent | " + " | ".join(columns).lower() + " |")
    print("|---|" + "---:|" * (1 + len(columns)))
    for name, counted in rows.items():
        print(f"| {name} | {counted['signals'] or ''} | " + " | ".join(str(counted[c]) for c in columns) + " |")

    good = all(counted["DIFFERENT"] == counted["FAILED"] == 0 for counted in rows.values())
    print("\n" + ("Nothing was lost." if good else f"Something was LOST: see {base}"))
    if good:
        shutil.rmtree(base)
    return 0 if good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--session", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", type=int, default=len(SETTINGS), help="how many of the settings to use")
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs at random moments")
    parser.add_argument("--steps", type=int, default=40, help="steps of the write to die at, of each setting")
    parser.add_argument("--terms", type=int, default=20, help="SIGTERMs at random moments")
    parser.add_argument("--flips", type=int, default=500, help="bits to flip, one at a time")
    parser.add_argument("--stride", type=int, default=1, help="bytes between truncations")
    given = parser.parse_args()
    sys.exit(session() if given.session else main(given))
