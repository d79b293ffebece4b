"""What a run does when it is told to stop: SIGTERM, SIGINT, and the SIGUSR1 that schedulers send ahead of time."""

import atexit
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import jax

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


class Interruptions:
    """
    Answers signals while a run goes on: what is finished is saved, then the process ends as it would have anyway,
    with ``KeyboardInterrupt`` for SIGINT, status 143 for SIGTERM and 128 + n for another. A second signal ends it at
    once. A handler that the user installed is called after the save instead, and the run goes on if it returns.

    A context manager. Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self, logger: logging.Logger):
        self._logger = logger
        self._handlers = {}
        self._received = None
        self._save = None
        self._compiled = {}
        self._thread = None

    def __enter__(self) -> "Interruptions":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                # None was not installed from Python and could not be put back; what is ignored stays ignored.
                if handler not in (None, signal.SIG_IGN):
                    self._handlers[number] = handler
                    signal.signal(number, self._receive)
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
        with self.answered_by(save):
            if jitted not in self._compiled:
                # Traced in this thread: contexts such as jax.default_device do not reach another.
                self._compiled[jitted] = self._in_thread(jitted.lower(*arguments).compile)
            return self._in_thread(self._compiled[jitted], *arguments)

    @contextmanager
    def answered_by(self, save: Callable[[], None]):
        """Within, a signal is answered at once by calling ``save``; elsewhere it waits for the next such place."""
        self._save = save
        if self._received is not None:
            self._answer()
        try:
            yield
        finally:
            self._save = None

    def _receive(self, number: int, frame: Any) -> None:
        self._received = number, frame
        for other in self._handlers:
            signal.signal(other, signal.SIG_DFL)
        if self._save is not None:
            self._answer()

    def _answer(self) -> None:
        (number, frame), save = self._received, self._save
        self._received = self._save = None
        self._logger.info("%s received.", signal.Signals(number).name)
        save()
        self._hand_on(number, frame)

        self._save = save
        for other in self._handlers:
            signal.signal(other, self._receive)

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

    def _in_thread(self, function: Callable, *arguments: Any) -> Any:
        future = Future()

        def work():
            try:
                future.set_result(jax.block_until_ready(function(*arguments)))
            except BaseException as error:
                future.set_exception(error)

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        return future.result()

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
