"""A process that computes a run together with the first: what that tells it to, until it says that the run is over.

It needs no folder, shows nothing, and returns what the first process returns.
"""

import atexit
import itertools
import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import jax
from autofit import exc

from .device import DeviceThread
from .interrupt import handlers_to_replace
from .kernel import NestedSliceSampler
from .process_store import PATIENCE_SECONDS, End, Store, exit_now, name_of_this_process

# Within this time a signal that is sent to all processes reaches the first too, which need not be told of it then.
SIGNAL_SECONDS = 2.0


class Other:
    """
    A process that is not the first. A context manager: the first learns if it fails.

    It ends when the first says so. A signal is handed on to the first, unless that gets it too; a second one ends
    this process, and with it the run.
    """

    def __init__(self, logger: logging.Logger, fingerprint: dict) -> None:
        self._store = Store()
        self._process = jax.process_index()
        self._device = DeviceThread(logger, None, lambda: "")
        self._end: End | None = None
        self._handlers = {}
        self._store.put(f"hello/{self._process}", (fingerprint, name_of_this_process()))

    def __enter__(self) -> "Other":
        if threading.current_thread() is threading.main_thread():
            self._handlers = handlers_to_replace()
            self._listen_to_signals()
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if exception_type is not None and self._end is None:
            self._tell("failure", f"{exception_type.__name__}: {error}")
            self._wait_for_the_end()
        if self._end is not None and not self._end.at_once and self._device.busy_thread:
            self._device.busy_thread.join()

    def follow(self, make_sampler: Callable[..., NestedSliceSampler]) -> Any:
        """
        Compute what the first process says until it ends, and return its result.

        Parameters
        ----------
        make_sampler
            ``make_sampler(**settings)``, with what the first process gave to ``lead``.

        Raises
        ------
        SearchException
            If the first process, or another, failed.
        SystemExit, KeyboardInterrupt
            If that is how the first process ends.
        """
        sampler, compiled = None, {}
        for number in itertools.count():
            message = self._next(number)
            if message is None:
                return self._what_the_end_asks_for()
            self._listen_to_signals()
            self._store.put(f"at/{self._process}", number)
            kind, *content = message
            if kind == "sampler":
                sampler = make_sampler(**content[0])
                continue
            name, arguments = content
            if kind == "compile":
                lowered = getattr(sampler, name).lower(*arguments)
                compiled[name] = self._compute(lowered.compile)
                self._store.put(f"compiled/{name}/{self._process}", True)
            else:
                self._compute(compiled[name], *arguments)
        return None

    def _next(self, number: int) -> tuple | None:
        """The message of this number, ``None`` if none will come."""
        while True:
            try:
                return self._store.wait_for(f"message/{number}")
            except (TimeoutError, ConnectionError):
                if self._end is not None:
                    return None

    def _compute(self, function: Callable, *arguments: Any) -> Any:
        """The result of what all compute; left at once where the first process ends without it."""
        try:
            return self._device.call(function, *arguments, on_poll=lambda _: self._leave_if_all_is_over())
        except (jax.errors.JaxRuntimeError, ValueError) as error:  # of which the latter is gloo's
            # One of the others died, or this one failed: the first process tells.
            self._tell("failure", str(error))
            self._wait_for_the_end()
            self._what_the_end_asks_for()
            raise

    def _leave_if_all_is_over(self) -> None:
        if self._end is not None and self._end.at_once:
            self._what_the_end_asks_for()

    def _wait_for_the_end(self) -> None:
        deadline = time.monotonic() + 6.0 * PATIENCE_SECONDS
        while self._end is None and time.monotonic() < deadline:
            time.sleep(0.1)

    def _what_the_end_asks_for(self) -> Any:
        if self._end is None:
            return None
        how, detail, at_once = self._end
        if how == "result":
            return detail
        status = {"exit": detail, "interrupt": 128 + signal.SIGINT}.get(how, 1)
        if at_once:
            atexit.register(exit_now, status)
        if how == "exit":
            raise SystemExit(status)
        if how == "interrupt":
            raise KeyboardInterrupt
        raise exc.SearchException(f"Process {self._process} stops: {detail}")

    def _tell(self, what: str, detail: Any) -> None:
        """Tell the first process, if it is there."""
        with suppress(ConnectionError):
            self._store.put(f"asked/{self._process}", (what, detail))

    def _live(self) -> None:
        """Show that this process is alive, until the first one ends."""
        for beat in itertools.count():
            try:
                self._store.put(f"alive/{self._process}", beat)
                self._end = self._store.wait_for("end")
                self._store.put(f"knows/{self._process}", True)
            except TimeoutError:
                continue
            except ConnectionError:
                self._end = End("error", "process 0 died. The same command goes on from its last checkpoint", True)
            return

    def _listen_to_signals(self) -> None:
        for number in self._handlers:
            signal.signal(number, self._receive)

    def _receive(self, number: int, _: Any) -> None:
        for each in self._handlers:
            signal.signal(each, signal.SIG_DFL)
        threading.Timer(SIGNAL_SECONDS, self._tell, ("signal", number)).start()
