"""Signals, full disks and second processes: what is finished is on disk, and the process ends as it should."""

import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import autofit as af
import filelock
import jax
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.saving import checkpoint
from autofit.non_linear.search.nest.nss.stopping.device_thread import DeviceThread
from autofit.non_linear.search.nest.nss.stopping.signals import Interruptions
from support.analyses import Recording
from support.comparing import same_run
from support.problems import gaussian_in_a_box

SETTINGS = dict(n_live=60, num_delete=20, num_mcmc_steps=3)
# Half of what an evaluation of the script stands still for.
STALL_SECONDS = 60.0
SCRIPT = Path(__file__).parent / "support" / "stalling_fit.py"


@pytest.fixture
def problem():
    return gaussian_in_a_box(2)


class Child:
    """A fit in a process of its own; an iteration takes minutes if ``stalling``, or what is before it."""

    def __init__(self, folder, *options):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.result = folder / "result.npz"
        with open(folder / "log", "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, SCRIPT, folder, *options], stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def log(self):
        return (self.folder / "log").read_text()

    def wait_until_it_stalls(self):
        while not (self.folder / "stalled").exists():
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        (self.folder / "stalled").unlink()
        return self

    def finish(self, status=0):
        assert self.process.wait(timeout=60) == status, self.log
        return self

    @property
    def checkpoint(self):
        return next(self.folder.rglob("nss_checkpoint.pkl"), None)


@pytest.mark.slow
def test_a_signal_in_an_iteration_of_minutes_saves_the_one_before_and_ends_the_process(tmp_path):
    """One fit, told to stop in two ways, one session after the other."""
    expected = np.load(Child(tmp_path / "undisturbed").finish().result)
    for number, status in ((signal.SIGUSR1, 128 + signal.SIGUSR1), (signal.SIGINT, -signal.SIGINT)):
        child = Child(tmp_path / "fit", "stalling").wait_until_it_stalls()
        sent = time.time()
        child.process.send_signal(number)
        child.finish(status)
        assert sent < child.checkpoint.stat().st_mtime
        assert time.time() < sent + STALL_SECONDS
        assert f"{number.name} received" in child.log

    found = np.load(Child(tmp_path / "fit").finish().result)
    assert child.log.count("Resuming NSS from iteration") == 2
    for name in expected.files:
        assert found[name].tobytes() == expected[name].tobytes(), name


@pytest.mark.slow
def test_a_signal_during_the_first_evaluations_of_a_session_ends_the_process(tmp_path):
    child = Child(tmp_path / "fit", "stalling_at_once").wait_until_it_stalls()
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(timeout=STALL_SECONDS) == 143
    assert child.checkpoint is None
    assert "NSS stops before the first iteration of this session" in child.log

    child = Child(tmp_path / "fit", "stalling").wait_until_it_stalls()
    child.process.send_signal(signal.SIGTERM)
    before = child.finish(143).checkpoint.read_bytes()
    child = Child(tmp_path / "fit", "stalling_at_once").wait_until_it_stalls()
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(timeout=STALL_SECONDS) == 143
    assert child.checkpoint.read_bytes() == before


def test_a_second_signal_is_not_kept_waiting(tmp_path):
    """The second ends the wait for the device, and one more the save; both would take minutes."""
    child = Child(tmp_path / "fit", "stalling", "slow_disk").wait_until_it_stalls()
    child.process.send_signal(signal.SIGTERM)
    time.sleep(2.0)  # or both signals would be heard as one
    assert "SIGTERM received" not in child.log
    child.process.send_signal(signal.SIGTERM)
    sent = time.time()
    while "SIGTERM received" not in child.log:
        assert child.process.poll() is None
        assert time.time() < sent + STALL_SECONDS
        time.sleep(0.02)
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(timeout=STALL_SECONDS) == -signal.SIGTERM


def test_a_second_process_is_refused_and_touches_nothing(tmp_path, problem):
    child = Child(tmp_path / "fit", "stalling").wait_until_it_stalls()
    before = {path: path.stat().st_mtime_ns for path in child.folder.rglob("*")}
    with open(tmp_path / "second.log", "w") as log:
        code = subprocess.run(
            [sys.executable, SCRIPT, child.folder],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SLURM_NTASKS": "2"},
            check=False,
        ).returncode
    assert code == 1
    message = (tmp_path / "second.log").read_text()
    assert f"is in use by host {socket.gethostname()}, process {child.process.pid}" in message
    assert "started this script 2 times to be one run, let it begin with" in message
    assert "Traceback" in message.split("SearchException")[0]
    assert {path: path.stat().st_mtime_ns for path in child.folder.rglob("*")} == before

    child.process.kill()
    child.process.wait()
    Child(tmp_path / "fit").finish()


def raising_at_update(number, update, problem):
    """An analysis that sends the process a signal inside its n-th quick update."""
    analysis = Recording(problem.log_likelihood)
    record = analysis.Visualizer.visualize

    class Visualizer(af.Visualizer):
        @staticmethod
        def visualize(analysis, paths, instance, during_analysis):
            record(analysis, paths, instance, during_analysis)
            if len(analysis.recorded) == update:
                os.kill(os.getpid(), number)

    analysis.Visualizer = Visualizer
    return analysis


def search_with_updates(problem, **settings):
    search = af.NSS(name="n", iterations_per_quick_update=2, checkpoint_interval=1000, **SETTINGS, **settings)
    search.paths.model = problem.model
    return search


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(signal.SIGTERM, SystemExit, 143), (signal.SIGUSR1, SystemExit, 138), (signal.SIGINT, KeyboardInterrupt, None)],
)
def test_a_signal_in_a_quick_update_is_answered_and_the_handlers_are_restored(
    problem, handlers, number, error, code, caplog
):
    search = search_with_updates(problem)
    with pytest.raises(error) as raised:
        search._fit(problem.model, raising_at_update(number, 3, problem))
    assert getattr(raised.value, "code", None) == code
    assert checkpoint._load_checkpoint(search.checkpoint_file)[3] == 6
    assert {number: signal.getsignal(number) for number in handlers} == handlers


@pytest.mark.slow
def test_the_user_s_handler_is_called_after_the_save_and_decides(problem, handlers):
    expected, _ = af.NSS(**SETTINGS)._fit(problem.model, problem.analysis)
    search = search_with_updates(problem)
    saved = []
    handler = lambda number, frame: saved.append(checkpoint._load_checkpoint(search.checkpoint_file)[3])  # noqa: E731
    signal.signal(signal.SIGUSR1, handler)
    found, _ = search._fit(problem.model, raising_at_update(signal.SIGUSR1, 2, problem))
    assert saved == [4]
    assert same_run(found, expected)
    assert signal.getsignal(signal.SIGUSR1) is handler


@jax.jit
def a_second_in_which_a_signal_comes(x):
    def wait(x):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1.0)
        return x

    return jax.pure_callback(wait, x, x)


def listening():
    logger = logging.getLogger()
    return Interruptions(logger, DeviceThread(logger, None, lambda: "it goes on"))


def test_what_the_device_is_about_to_finish_is_not_lost(handlers):
    saved, result = [], 0.0

    def save():
        saved.append(float(result))

    with listening() as interruptions:
        result = interruptions.call(a_second_in_which_a_signal_comes, 1.0, what="a second", save=save)
        with pytest.raises(SystemExit):
            interruptions.call(a_second_in_which_a_signal_comes, 1.0, what="a second", save=save)
    assert saved == [1.0]


def slow(x):
    """A device that takes half a second."""
    shape = jax.ShapeDtypeStruct((), x.dtype)
    return jax.pure_callback(lambda y: (time.sleep(0.5), y)[1], shape, x)


@pytest.mark.parametrize(("stalled_after", "warnings"), [(0.15, True), (1e6, False), (None, False)])
def test_a_device_that_makes_no_progress_is_told_of(stalled_after, warnings, caplog, monkeypatch):
    """With what to look for where several processes compute together."""
    jitted, one = jax.jit(slow), jax.numpy.ones(())
    jitted(one).block_until_ready()  # so that the compilation is not counted
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    device = DeviceThread(logging.getLogger(), stalled_after, lambda: "it goes on")
    assert device.call(jitted, one, on_poll=lambda _: None) == 1.0
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert bool(told) == warnings
    for text in ("XLA_FLAGS=--xla_cpu_multi_thread_eigen=false", "wait for another process that stands still"):
        assert all(text in message for message in told)


def test_an_ignored_signal_stays_ignored(problem, handlers):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    search_with_updates(problem)._fit(problem.model, raising_at_update(signal.SIGUSR1, 2, problem))
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN


def test_outside_the_main_thread_no_handler_is_installed(problem, handlers):
    seen = []

    class Visualizer(af.Visualizer):
        @staticmethod
        def visualize(analysis, paths, instance, during_analysis):
            seen.append({number: signal.getsignal(number) for number in handlers})

    analysis = problem.analysis
    analysis.Visualizer = Visualizer
    results = []
    thread = threading.Thread(
        target=lambda: results.append(search_with_updates(problem)._fit(problem.model, analysis))
    )
    thread.start()
    thread.join()
    assert len(results) == 1
    assert seen
    assert all(found == handlers for found in seen)


# A disk that is full for a while


def test_a_write_that_fails_is_logged_once_and_the_fit_goes_on(problem, caplog):
    """A real limit on the size of files, from the 2nd quick update to the 5th."""
    expected, _ = af.NSS(**SETTINGS)._fit(problem.model, problem.analysis)
    search = af.NSS(name="n", iterations_per_quick_update=2, checkpoint_interval=1, **SETTINGS)
    search.paths.model = problem.model
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    valid = []

    class Visualizer(af.Visualizer):
        @staticmethod
        def visualize(analysis, paths, instance, during_analysis):
            valid.append(checkpoint._load_checkpoint(search.checkpoint_file)[3])
            if len(valid) == 2:
                size = checkpoint.history_path(search.checkpoint_file).stat().st_size
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
            if len(valid) == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    analysis = problem.analysis
    analysis.Visualizer = Visualizer
    with caplog.at_level(logging.INFO):
        try:
            found, _ = search._fit(problem.model, analysis)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert valid[:6] == [2, 4, 4, 4, 4, 12]
    assert caplog.text.count("could not be written") == 1
    assert caplog.text.count("checkpoints can be written again") == 1
    assert same_run(found, expected)


# Locks


def test_a_file_system_without_locks_is_a_warning(problem, monkeypatch, caplog):
    def no_locks(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", no_locks)
    search = af.NSS(name="n", **SETTINGS)
    assert search.fit(model=problem.model, analysis=problem.analysis).samples is not None
    assert "cannot be locked" in caplog.text
