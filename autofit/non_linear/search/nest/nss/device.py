"""The thread in which the device compiles and computes, while the caller waits in Python."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import jax


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
    """

    def __init__(self, logger: logging.Logger, stalled_after: float | None, what_next: Callable[[], str]) -> None:
        self.wake = threading.Event()
        self._logger = logger
        self._stalled_after = stalled_after
        self._what_next = what_next
        self._thread = None

    @property
    def busy_thread(self) -> threading.Thread | None:
        """The thread, if it is still at a call."""
        return self._thread if self._thread is not None and self._thread.is_alive() else None

    def call(self, function: Callable, *arguments: Any, on_wake: Callable[[Future], None]) -> Any:
        """The result of ``function``, once it is there; ``on_wake(future)`` is called each time ``wake`` is set."""
        future = Future()

        def work() -> None:
            try:
                future.set_result(jax.block_until_ready(function(*arguments)))
            except BaseException as error:
                future.set_exception(error)
            self.wake.set()

        self.wake.clear()
        on_wake(future)
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        started = time.monotonic()
        while not future.done():
            if not self.wake.wait(self._stalled_after):
                self._say_that_nothing_happens(time.monotonic() - started)
            self.wake.clear()
            if not future.done():
                on_wake(future)
        return future.result()

    def _say_that_nothing_happens(self, seconds: float) -> None:
        self._logger.warning(
            "The device has been busy for %.0f s without finishing an iteration, the first evaluations of a session "
            "or a compilation. %sLikelihoods that use FFTs on a CPU, such as a lens model's, can run into a "
            "deadlock of XLA: end this process, set XLA_FLAGS=--xla_cpu_multi_thread_eigen=false and run the script "
            "again: %s. Where iterations take this long, raise stalled_after.",
            seconds,
            "It may wait for another process that stands still. " if jax.process_count() > 1 else "",
            self._what_next(),
        )
