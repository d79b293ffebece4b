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
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import jax

from .device_thread import DeviceThread
from .processes import Meeting, Processes, are_several, is_first

GRACE_SECONDS = 2.0


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
# Timers and profilers send these many times a second to a process that handles them.
TIMERS = _numbers("ALRM", "VTALRM", "PROF")


def handlers_to_replace() -> dict[int, Any]:
    """The handlers of ``SIGNALS``, but for those that have to stay."""
    # What was not installed from Python could not be put back; what is ignored stays ignored.
    handlers, in_c = {number: signal.getsignal(number) for number in SIGNALS}, _caught()
    return {
        number: handler
        for number, handler in handlers.items()
        if handler not in (None, signal.SIG_IGN)
        and not (handler == signal.SIG_DFL and number in in_c)
        and not (number in TIMERS and callable(handler))
    }


def _caught() -> set[int]:
    """The signals that this process hears, in Python or, as ``faulthandler`` does, in C; none if nothing tells."""
    with suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("SigCgt:"):
                # JAX hears SIGTERM in C on several nodes, and does not mind.
                own = set(SIGNALS) - _numbers("TERM", "INT")
                return {number for number in own if int(line.split()[1], 16) >> (number - 1) & 1}
    return set()


class Interruptions:
    """
    Answers signals while a run goes on, as the table above says.

    Of several processes the first answers those of all, where they meet. Amid what they compute it answers its own,
    and leaves without them.

    A context manager. Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self, logger: logging.Logger, device: DeviceThread, processes: Processes | None = None) -> None:
        self._logger = logger
        self._device = device
        self._processes = processes or Processes()
        self._handlers = {}
        self._received = None
        self._hurry = False
        self._answer_by = None
        self._save = None
        self._compiled, self._to_come = {}, {}

    def __enter__(self) -> "Interruptions":
        if threading.current_thread() is threading.main_thread():
            self._handlers = handlers_to_replace()
            self._listen()
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if exception_type is None and self._received is not None and is_first():
            self._hand_on(*self._received)

    def call(
        self,
        jitted: jax.stages.Wrapped,
        *arguments: Any,
        what: str,
        save: Callable[[], None],
        number: int | None = None,
    ) -> Any:
        """
        Compile a jitted function if need be, call it and wait, ready to answer a signal by calling ``save``.

        ``what`` it computes is said in the log while it is compiled, which for a likelihood of many operations takes
        minutes. A ``number`` is its last argument, as the first of all processes has it.
        """
        meeting, given = self.meeting(save), () if number is None else (number,)
        arguments = jax.device_get(arguments) if are_several() else arguments
        function = self._compiled_for(jitted, *arguments, *given, what=what, save=save)
        agreed = self._processes.agree(*given, meeting=meeting)
        return self._processes.compute(function, *arguments, *(agreed for _ in given), meeting=meeting)

    def compile_ahead(self, jitted: jax.stages.Wrapped, *arguments: Any, save: Callable[[], None]) -> None:
        """Compile a jitted function for arguments of such shapes, while others are compiled and called."""
        # Traced in this thread: contexts such as jax.default_device do not reach another.
        with self.answered_by(save):
            lowered = jitted.lower(*arguments)
        self._to_come[jitted] = self._device.begin(_compiled_in, lowered, at_exit=True)

    def forget_compiled(self) -> None:
        """Let go of what was compiled, and of the memory that it holds on the device."""
        self._compiled, self._to_come = {}, {}

    def meeting(self, save: Callable[[], None]) -> Meeting:
        """How this process meets the others, where a signal to any is answered by calling ``save``."""
        wait, answer = partial(self._wait_for, save), partial(self._answer_for_all, save)
        return Meeting(wait, lambda: self._received[0] if self._received else 0, answer, save)

    def _wait_for(self, save: Callable[[], None], function: Callable, *arguments: Any) -> Any:
        return self._device.call(function, *arguments, on_poll=partial(self._answer_after_a_while, save))

    def _compiled_for(
        self, jitted: jax.stages.Wrapped, *arguments: Any, what: str, save: Callable[[], None]
    ) -> Callable:
        if jitted not in self._compiled:
            self._logger.info("Compiling %s.", what)
            if jitted not in self._to_come:
                self.compile_ahead(jitted, *arguments, save=save)
            self._compiled[jitted], seconds = self._wait_for(save, self._to_come.pop(jitted).result)
            self._logger.info("Compiled %s in %.1f s.", what, seconds)
        return self._compiled[jitted]

    @contextmanager
    def answered_by(self, save: Callable[[], None]) -> Iterator[None]:
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
        if self._received is not None:
            self._hurry = True
            self._let_the_next_one_kill()
        self._received = number, frame
        if self._save is not None:
            self._answer(self._save)

    def _answer_after_a_while(self, save: Callable[[], None], future: Future) -> None:
        """Answer a signal, unless the device finishes in time: then the next place answers it, with what is new."""
        if self._received is None or not is_first():
            return
        if are_several() and not self._device.busy_thread:
            return  # the meeting before the call answers it
        if self._answer_by is None:
            self._answer_by = time.monotonic() + (GRACE_SECONDS if self._device.busy_thread else 0.0)
        if not future.done() and (self._hurry or time.monotonic() >= self._answer_by):
            self._answer(save)

    def _answer(self, save: Callable[[], None]) -> None:
        """Save and do what the signal asks for, if there was one."""
        if self._received is None or not is_first():
            return
        number, frame = self._received
        self._received, self._hurry, self._answer_by = None, False, None
        self._let_the_next_one_kill()
        self._logger.info("%s received.", signal.Signals(number).name)
        save()
        self._hand_on(number, frame)
        self._listen()

    def _answer_for_all(self, save: Callable[[], None], number: int) -> None:
        """Answer a signal that this process or another got; the others only listen to the next one."""
        self._received = (self._received or (number, None)) if is_first() else None
        self._answer(save)
        self._listen()

    def _hand_on(self, number: int, frame: Any) -> None:
        """Do what would have been done without us; returns only if a handler of the user's does."""
        if self._device.busy_thread:
            atexit.register(_exit_without, self._device, number)
        handler = self._handlers.get(number)
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, frame)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)


def _compiled_in(lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled, float]:
    """What is compiled, and the seconds that took."""
    started = time.perf_counter()
    return lowered.compile(), time.perf_counter() - started


def _exit_without(device: DeviceThread, number: int) -> None:
    """Leave with the status that Python would, without the minutes it would wait for an iteration nobody wants."""
    if not device.busy_thread:
        return
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if number == signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(128 + number)
