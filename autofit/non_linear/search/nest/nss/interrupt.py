"""What a run does when it is told to stop: SIGTERM, SIGINT, and the SIGUSR1 that schedulers send ahead of time.

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
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax

from .device import DeviceThread
from .processes import Meeting, Processes, are_several, is_first

GRACE_SECONDS = 2.0
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


def handlers_to_replace() -> dict[int, Any]:
    """The handlers of ``SIGNALS``, but for those that have to stay."""
    # None was not installed from Python and could not be put back; what is ignored stays ignored.
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}


class Interruptions:
    """
    Answers signals while a run goes on, as the table above says.

    Of several processes the first answers those of all, where they meet. Amid what they compute it answers its own,
    and leaves without them.

    A context manager. Outside the main thread, where Python allows no handlers, it does nothing.

    Parameters
    ----------
    logger
        Is told of signals.
    device
        Where ``call`` computes.
    processes
        Those that compute with this one.
    """

    def __init__(self, logger: logging.Logger, device: DeviceThread, processes: Processes | None = None) -> None:
        self._logger = logger
        self._device = device
        self._processes = processes or Processes()
        self._handlers = {}
        self._received = None
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

    def meeting(self, save: Callable[[], None]) -> Meeting:
        """How this process meets the others, where a signal to any is answered by calling ``save``."""
        wait, answer = partial(self._wait_for, save), partial(self._answer_for_all, save)
        return Meeting(wait, lambda: self._received[0] if self._received else 0, answer, save)

    def _wait_for(self, save: Callable[[], None], function: Callable, *arguments: Any) -> Any:
        if not self._handlers:
            return jax.block_until_ready(function(*arguments))
        return self._device.call(function, *arguments, on_wake=partial(self._answer_after_a_while, save))

    def _compiled_for(
        self, jitted: jax.stages.Wrapped, *arguments: Any, what: str, save: Callable[[], None]
    ) -> Callable:
        if not self._handlers:
            return jitted
        if jitted not in self._compiled:
            self._logger.info("Compiling %s.", what)
            started = time.perf_counter()
            # Traced in this thread: contexts such as jax.default_device do not reach another.
            with self.answered_by(save):
                lowered = jitted.lower(*arguments)
            self._compiled[jitted] = self._wait_for(save, lowered.compile)
            self._logger.info("Compiled %s in %.1f s.", what, time.perf_counter() - started)
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
        self._received = number, frame
        self._let_the_next_one_kill()
        self._device.wake.set()
        if self._save is not None:
            self._answer(self._save)

    def _answer_after_a_while(self, save: Callable[[], None], future: Future) -> None:
        """Answer a signal, unless the device finishes in time: then the next place answers it, with what is new."""
        if self._received is None or not is_first():
            return
        if are_several() and not self._device.busy_thread:
            return  # the meeting before the call answers it
        if self._device.busy_thread:
            self._listen()  # to another signal, which cuts this wait short
            self._device.wake.wait(GRACE_SECONDS)
        if not future.done():
            self._answer(save)

    def _answer(self, save: Callable[[], None]) -> None:
        """Save and do what the signal asks for, if there was one."""
        if self._received is None or not is_first():
            return
        number, frame = self._received
        self._received = None
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
            atexit.register(_exit_without, self._device.busy_thread, number)
        handler = self._handlers.get(number)
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
