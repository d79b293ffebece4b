"""What a run does when a signal would end its process: SIGTERM, SIGINT, or what schedulers send ahead of the end.

========  ============================================================================================
signal    what is done
========  ============================================================================================
first     What the device will finish in ``GRACE_SECONDS`` is waited for, and saved; then the process
          ends as it would have anyway: with ``KeyboardInterrupt`` for SIGINT, status 143 for SIGTERM
          and 128 + n for another. A handler that the user installed is called after the save instead,
          and the run goes on if it returns.
second    During the wait, it ends the wait; what was finished before is saved.
third     Or one during the save: it ends the process at once, as if nothing listened.
========  ============================================================================================

A handler only sets a flag, which the main thread reads ten times a second: it must not wait for a lock that the main
thread may hold.
"""

import atexit
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax

from .device import DeviceThread

GRACE_SECONDS = 2.0
# Signals of two processes that are less than this apart are one.
SAME_SECONDS = 10.0


def _numbers(*names: str) -> set[int]:
    """The signals of these names that the platform has."""
    return {getattr(signal, f"SIG{name}") for name in names if hasattr(signal, f"SIG{name}")}


# Those that end a process which does not listen: not those that cannot be heard, that tell of the process's own
# faults, or that stop and continue it.
SIGNALS = tuple(
    sorted(
        (signal.valid_signals() & set(signal.Signals))
        - _numbers("KILL", "STOP", "SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS", "PIPE")
        - _numbers("CHLD", "CONT", "URG", "WINCH", "TSTP", "TTIN", "TTOU", "INFO")
    )
)
# Timers and profilers send them many times a second to who listens.
TIMERS = _numbers("ALRM", "VTALRM", "PROF")


def handlers_to_replace() -> dict[int, Any]:
    """The handlers of ``SIGNALS``, but for those that have to stay."""
    # None was not installed from Python and could not be put back; what is ignored stays ignored.
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    return {
        number: handler
        for number, handler in handlers.items()
        if handler not in (None, signal.SIG_IGN) and not (number in TIMERS and callable(handler))
    }


class Interruptions:
    """
    Answers signals while a run goes on, as the table above says.

    A context manager. Outside the main thread, where Python allows no handlers, it does nothing.

    Parameters
    ----------
    logger
        Is told of signals.
    device
        Where ``call`` computes.
    """

    def __init__(self, logger: logging.Logger, device: DeviceThread) -> None:
        self._logger = logger
        self._device = device
        self._handlers = {}
        self._received = None
        self._hurry = False
        self._answer_by = None
        self._last_received = -math.inf
        self._save = None
        self._compiled = {}

    def __enter__(self) -> "Interruptions":
        if threading.current_thread() is threading.main_thread():
            self._handlers = handlers_to_replace()
            self._listen()
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if exception_type is None and self._received is not None:
            self._hand_on(*self._received)

    def call(self, jitted: jax.stages.Wrapped, *arguments: Any, what: str, save: Callable[[], None]) -> Any:
        """
        Compile a jitted function if need be, call it and wait, ready to answer a signal by calling ``save``.

        ``what`` it computes is said in the log while it is compiled, which for a likelihood of many operations takes
        minutes.
        """
        on_poll = partial(self._answer_after_a_while, save)
        if jitted not in self._compiled:
            self._logger.info("Compiling %s.", what)
            started = time.perf_counter()
            # Traced in this thread: contexts such as jax.default_device do not reach another.
            with self.answered_by(save):
                lowered = jitted.lower(*arguments)
            self._compiled[jitted] = self._device.call(lowered.compile, on_poll=on_poll)
            self._logger.info("Compiled %s in %.1f s.", what, time.perf_counter() - started)
        return self._device.call(self._compiled[jitted], *arguments, on_poll=on_poll)

    @contextmanager
    def answered_by(self, save: Callable[[], None]) -> Iterator[None]:
        """Within, a signal is answered at once by calling ``save``; elsewhere it waits for the next such place."""
        self._save = save
        self._answer(save)
        try:
            yield
        finally:
            self._save = None

    def hand_over(self, number: int) -> None:
        """Receive a signal that another process got, unless this one just got one too. From any thread."""
        if number in self._handlers and time.monotonic() - self._last_received > SAME_SECONDS:
            os.kill(os.getpid(), number)

    def _listen(self) -> None:
        for number in self._handlers:
            signal.signal(number, self._receive)

    def _let_the_next_one_kill(self) -> None:
        for number in self._handlers:
            signal.signal(number, signal.SIG_DFL)

    def _receive(self, number: int, frame: Any) -> None:
        if self._received is not None:
            self._hurry = True
            self._let_the_next_one_kill()
        self._received, self._last_received = (number, frame), time.monotonic()
        if self._save is not None:
            self._answer(self._save)

    def _answer_after_a_while(self, save: Callable[[], None], future: Future) -> None:
        """Answer a signal, unless the device finishes in time: then the next place answers it, with what is new."""
        if self._received is None:
            return
        if self._answer_by is None:
            self._answer_by = time.monotonic() + (GRACE_SECONDS if self._device.busy_thread else 0.0)
        if not future.done() and (self._hurry or time.monotonic() >= self._answer_by):
            self._answer(save)

    def _answer(self, save: Callable[[], None]) -> None:
        """Save and do what the signal asks for, if there was one."""
        if self._received is None:
            return
        number, frame = self._received
        self._received, self._hurry, self._answer_by = None, False, None
        self._let_the_next_one_kill()
        self._logger.info("%s received.", signal.Signals(number).name)
        save()
        self._hand_on(number, frame)
        self._listen()

    def _hand_on(self, number: int, frame: Any) -> None:
        """Do what would have been done without us; returns only if a handler of the user's does."""
        if self._device.busy_thread:
            atexit.register(_exit_without, self._device.busy_thread, number)
        handler = self._handlers[number]
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, frame)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)


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
