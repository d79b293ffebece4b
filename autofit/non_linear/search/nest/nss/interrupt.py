"""What a run does when it is told to stop: SIGTERM, SIGINT, and the SIGUSR1 that schedulers send ahead of time."""

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import jax

# What the device is about to finish is waited for; in a longer iteration it is given up.
GRACE_SECONDS = 2.0
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


class Interruptions:
    """
    Answers signals while a run goes on: what is finished, or will be in ``GRACE_SECONDS``, is saved, then the process
    ends as it would have anyway, with ``KeyboardInterrupt`` for SIGINT, status 143 for SIGTERM and 128 + n for
    another. A second signal ends the wait, and one during the save the process. A handler that the user installed is
    called after the save instead, and the run goes on if it returns.

    While the device is busy for longer than ``stalled_after`` seconds at one call, that is said again and again.

    A context manager. Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self, logger: logging.Logger, stalled_after: float | None = None):
        self._logger = logger
        self._stalled_after = stalled_after
        self._handlers = {}
        self._received = None
        self._save = None
        self._compiled = {}
        self._thread = None
        self._wake = threading.Event()

    def __enter__(self) -> "Interruptions":
        if threading.current_thread() is threading.main_thread():
            # None was not installed from Python and could not be put back; what is ignored stays ignored.
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._handlers = {n: handler for n, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
            self._listen()
        return self

    def __exit__(self, exception_type, *_) -> None:
        self._restore()
        if exception_type is None and self._received is not None:
            self._hand_on(*self._received)

    def call(self, jitted: Callable, *arguments: Any, save: Callable[[], None]) -> Any:
        """
        Call a jitted function and wait for its result, ready to answer a signal by calling ``save``.

        It is compiled and run in a thread while this one waits in Python: in a wait inside JAX, or in a call that
        JAX does not dispatch asynchronously, no signal would be heard for as long as the device is busy.
        """
        if not self._handlers:
            return jax.block_until_ready(jitted(*arguments))
        if jitted not in self._compiled:
            # Traced in this thread: contexts such as jax.default_device do not reach another.
            with self.answered_by(save):
                lowered = jitted.lower(*arguments)
            self._compiled[jitted] = self._in_thread(lowered.compile, save=save)
        return self._in_thread(self._compiled[jitted], *arguments, save=save)

    @contextmanager
    def answered_by(self, save: Callable[[], None]):
        """Within, a signal is answered at once by calling ``save``; elsewhere it waits for the next such place."""
        self._save = save
        self._answer(save)
        try:
            yield
        finally:
            self._save = None

    def _listen(self) -> None:
        for number in self._handlers:
            signal.signal(number, self._receive)

    def _let_the_next_one_kill(self) -> None:
        for number in self._handlers:
            signal.signal(number, signal.SIG_DFL)

    def _receive(self, number: int, frame: Any) -> None:
        self._received = number, frame
        self._let_the_next_one_kill()
        self._wake.set()
        if self._save is not None:
            self._answer(self._save)

    def _answer(self, save: Callable[[], None]) -> None:
        """Save and do what the signal asks for, if there was one."""
        if self._received is None:
            return
        number, frame = self._received
        self._received = None
        self._let_the_next_one_kill()
        self._logger.info("%s received.", signal.Signals(number).name)
        save()
        self._hand_on(number, frame)
        self._listen()

    def _hand_on(self, number: int, frame: Any) -> None:
        """Do what would have been done without us; returns only if a handler of the user's does."""
        if self._thread is not None and self._thread.is_alive():
            atexit.register(_exit_without, self._thread, number)
        handler = self._handlers[number]
        if handler not in (signal.SIG_DFL, signal.default_int_handler):
            handler(number, frame)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    def _in_thread(self, function: Callable, *arguments: Any, save: Callable[[], None]) -> Any:
        future = Future()

        def work():
            try:
                future.set_result(jax.block_until_ready(function(*arguments)))
            except BaseException as error:
                future.set_exception(error)
            self._wake.set()

        self._wake.clear()
        self._answer(save)
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        started = time.monotonic()
        while not future.done():
            if not self._wake.wait(self._stalled_after):
                self._say_that_nothing_happens(time.monotonic() - started)
            self._wake.clear()
            if self._received is not None:
                self._listen()  # to another signal, which cuts this wait short
                self._wake.wait(GRACE_SECONDS)
            if not future.done():
                self._answer(save)
        return future.result()

    def _say_that_nothing_happens(self, seconds: float) -> None:
        self._logger.warning(
            "The device has been busy for %.0f s without finishing an iteration, the first evaluations of a session "
            "or a compilation. Likelihoods that use FFTs on a CPU, such as a lens model's, can run into a "
            "deadlock of XLA: end this process, set XLA_FLAGS=--xla_cpu_multi_thread_eigen=false and run the script "
            "again; it goes on from the last checkpoint. Where iterations take this long, raise stalled_after.",
            seconds,
        )

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def _exit_without(thread: threading.Thread, number: int) -> None:
    """Leave with the status that Python would, without the minutes it would wait for an iteration nobody wants."""
    if not thread.is_alive():
        return
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if number == signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(128 + number)
