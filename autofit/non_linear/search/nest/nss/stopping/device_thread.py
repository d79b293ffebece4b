"""The thread in which the device compiles and computes, while the caller waits in Python."""

import atexit
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import jax

from ..sampling.jax_settings import needed_settings

# How often the waiting thread looks for signals.
POLL_SECONDS = 0.1


class DeviceThread:
    """
    Calls functions in a thread of their own. In a wait inside JAX, or in a call that JAX does not dispatch
    asynchronously, no signal would be heard for as long as the device is busy.

    A warning is logged each time one call has taken ``stalled_after`` seconds more (``None`` for never). It says what
    the same script does when it is run again, which ``what_next() -> str`` tells.
    """

    def __init__(self, logger: logging.Logger, stalled_after: float | None, what_next: Callable[[], str]) -> None:
        self._logger = logger
        self._stalled_after = stalled_after
        self._what_next = what_next
        self._threads = []

    @property
    def busy_thread(self) -> threading.Thread | None:
        """A thread that is still at a call, if there is one."""
        return next((thread for thread in self._threads if thread.is_alive()), None)

    def begin(self, function: Callable, *arguments: Any, at_exit: bool = False) -> Future:
        """
        Call ``function`` in a thread of its own; its result is to come. With ``at_exit`` the process waits for it
        before Python ends: XLA crashes where Python ends amid a compilation.
        """
        future, x64 = Future(), jax.config.jax_enable_x64

        def work() -> None:
            try:
                with needed_settings(x64):
                    future.set_result(jax.block_until_ready(function(*arguments)))
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=work, daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()
        if at_exit:
            atexit.register(thread.join)
        return future

    def call(self, function: Callable, *arguments: Any, on_poll: Callable[[Future], None]) -> Any:
        """
        The result of ``function``, once it is there. ``on_poll(future)`` is called in the caller's thread before it
        begins and every ``POLL_SECONDS``, and may raise an error instead.
        """
        on_poll(Future())
        future, started = self.begin(function, *arguments), time.monotonic()
        warn_at = math.inf if self._stalled_after is None else self._stalled_after
        while wait([future], POLL_SECONDS).not_done:
            on_poll(future)
            if (seconds := time.monotonic() - started) > warn_at:
                warn_at = seconds + (self._stalled_after or 0.0)
                self._say_that_nothing_happens(seconds)
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
