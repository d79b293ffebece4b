"""The thread in which the device compiles and computes, while the caller waits in Python."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import jax
from autofit import exc

from .jax_settings import needed_settings


class LostProcessError(exc.SearchException):
    """Another process has died or failed, so what all compute together is not finished. The message names it."""


class DeviceThread:
    """
    Calls functions in a thread of their own. In a wait inside JAX, or in a call that JAX does not dispatch
    asynchronously, no signal would be heard for as long as the device is busy.

    Parameters
    ----------
    logger
        Is told, again and again, while the device is busy with one call for longer than ``stalled_after`` seconds.
    stalled_after
        ``None`` for never.
    what_next
        ``what_next() -> str``: what the same script does when it is run again.

    Attributes
    ----------
    wake
        Set by whoever wants the wait for the device to be interrupted.
    who_is_late
        ``who_is_late() -> str``: what is known of other processes that this one's device waits for.
    """

    def __init__(self, logger: logging.Logger, stalled_after: float | None, what_next: Callable[[], str]) -> None:
        self.wake = threading.Event()
        self._logger = logger
        self._stalled_after = stalled_after
        self._what_next = what_next
        self._thread = None
        self._error = None
        self.who_is_late: Callable[[], str] = lambda: ""

    @property
    def busy_thread(self) -> threading.Thread | None:
        """The thread, if it is still at a call."""
        return self._thread if self._thread is not None and self._thread.is_alive() else None

    def call(self, function: Callable, *arguments: Any, on_wake: Callable[[Future], None]) -> Any:
        """The result of ``function``, once it is there; ``on_wake(future)`` is called each time ``wake`` is set."""
        future, x64 = Future(), jax.config.jax_enable_x64

        def work() -> None:
            try:
                with needed_settings(x64):
                    future.set_result(jax.block_until_ready(function(*arguments)))
            except BaseException as error:
                future.set_exception(error)
            self.wake.set()

        self.wake.clear()
        on_wake(future)
        if self._error is not None:
            raise self._error
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        started = time.monotonic()
        while not future.done():
            if not self.wake.wait(self._stalled_after):
                self._say_that_nothing_happens(time.monotonic() - started)
            self.wake.clear()
            if self._error is not None:
                raise self._error
            if not future.done():
                on_wake(future)
        return future.result()

    def give_up(self, error: Exception) -> None:
        """Let the call that waits, or the next one, raise this error: its result will not come."""
        self._error = error
        self.wake.set()

    def _say_that_nothing_happens(self, seconds: float) -> None:
        self._logger.warning(
            "The device has been busy for %.0f s without finishing an iteration, the first evaluations of a session "
            "or a compilation. %sLikelihoods that use FFTs on a CPU, such as a lens model's, can run into a "
            "deadlock of XLA: end this process, set XLA_FLAGS=--xla_cpu_multi_thread_eigen=false and run the script "
            "again: %s. Where iterations take this long, raise stalled_after.",
            seconds,
            self.who_is_late(),
            self._what_next(),
        )
