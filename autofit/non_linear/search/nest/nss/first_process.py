"""The first of the processes that compute one run together: it does all that a run does, and tells the others what to
compute.

On devices of several processes, every process has to call the same compiled functions in the same order. What is
called next follows from clocks, signals and files, so the first process alone decides it, and sends the others the
name of the function and its arguments. They hold nothing that the next message does not bring: they cannot be at odds
with it, and a run can go on with any number of them. What they compute comes through the functions themselves.
"""

import atexit
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any

import jax
import numpy as np
from autofit import exc

from .device import DeviceThread, LostProcessError
from .devices import default_devices, share_of
from .fingerprint import differences, first_difference
from .interrupt import Interruptions
from .kernel import NestedSliceSampler
from .process_store import PATIENCE_SECONDS, POLL_SECONDS, End, Store, exit_now, name_of_this_process


def is_first() -> bool:
    """Whether this process has the folder, the log and the pictures."""
    return jax.process_index() == 0


class Alone:
    """The first process where there is no other. A context manager, as ``First`` is."""

    def __enter__(self) -> "Alone":
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    @property
    def devices(self) -> list[Any]:
        return default_devices()

    def share(self, result: Callable[[], Any]) -> None:
        pass

    @contextmanager
    def listening(self, device: DeviceThread, interruptions: Interruptions) -> Iterator[None]:
        yield

    def lead(self, sampler: NestedSliceSampler, **settings: Any) -> NestedSliceSampler:
        return sampler

    def compare(self, evaluate: Callable[[np.ndarray], Any], positions: np.ndarray) -> None:
        pass


class First(Alone):
    """
    The first process of several. A context manager: the others learn how it ends.

    Parameters
    ----------
    logger
        Of the fit.
    fingerprint
        What makes a run of this fit the run it is; that of the others has to be the same.
    """

    def __init__(self, logger: logging.Logger, fingerprint: dict) -> None:
        self._logger = logger
        self._fingerprint = fingerprint
        self._store = Store()
        self._others = range(1, jax.process_count())
        self._names = {}
        self._device = self._result = None
        self._told = self._forgotten = 0
        # Whether a function was left that others may still wait in, for whom JAX would wait at the end.
        self._broken = False

    def __reduce__(self) -> tuple:
        return Alone, ()  # a pickled copy leads nobody

    @property
    def devices(self) -> list[Any]:
        return jax.devices()

    def __enter__(self) -> "First":
        try:
            for process in self._others:
                fingerprint, self._names[process] = self._wait_patiently(f"hello/{process}", process)
                unlike = sum(differences(self._fingerprint, fingerprint), [])
                if unlike:
                    raise exc.SearchException(
                        f"{self._names[process]} has another fit than process 0, whose values are named first: "
                        f"{'; '.join(unlike)}. All processes of jax.distributed have to run the same script with the "
                        "same packages and data. Where each is to run a fit of its own, leave "
                        "jax.distributed.initialize() out. Nothing was changed."
                    )
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        self._store.delete_those_of_the_fit_before()
        self._logger.info("NSS runs on %s; %s.", name_of_this_process(), "; ".join(self._names.values()))
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exception_type is None:
            how, detail = "result", self._result
        elif isinstance(error, SystemExit):
            how, detail = "exit", error.code
        elif isinstance(error, KeyboardInterrupt):
            how, detail = "interrupt", None
        else:
            how, detail = "error", f"process 0 ended with {exception_type.__name__}: {error}"
        at_once = self._broken or (self._device is not None and self._device.busy_thread is not None)
        self._store.put("end", End(how, detail, at_once))
        self._result = None
        if exception_type is not None:
            self._wait_until_all_know()
        if self._broken:
            atexit.register(exit_now, 1)

    def share(self, result: Callable[[], Any]) -> None:
        """Let the others return this result."""
        self._result = result()

    @contextmanager
    def listening(self, device: DeviceThread, interruptions: Interruptions) -> Iterator[None]:
        """Within, what happens to the others is heard: signals are handed on, and a failure ends the wait."""
        ends = threading.Event()

        def listen() -> None:
            while not ends.wait(POLL_SECONDS):
                for process, (what, detail) in self._store.all_below("asked").items():
                    self._store.delete(f"asked/{process}")
                    if what == "signal":
                        self._logger.info("%s got %s.", self._names[int(process)], signal.Signals(detail).name)
                        interruptions.hand_over(detail)
                    else:
                        device.give_up(self.loss(f"{self._names[int(process)]} failed: {detail}"))

        device.who_is_late, self._device = self._who_is_late, device
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()

    def lead(self, sampler: NestedSliceSampler, **settings: Any) -> NestedSliceSampler:
        """``sampler`` of all processes, each of which makes its own with these ``settings``."""
        for name in ("init", "advance"):
            for process in self._others:
                self._store.delete(f"compiled/{name}/{process}")  # those of a sampler before
        self.tell("sampler", settings)
        return sampler._replace(
            init=_Led(self, "init", sampler.init),  # pyright: ignore[reportArgumentType]
            advance=_Led(self, "advance", sampler.advance),  # pyright: ignore[reportArgumentType]
        )

    def compare(self, evaluate: Callable[[np.ndarray], Any], positions: np.ndarray) -> None:
        """
        Let every device evaluate the same points: another value tells of other data, or of another likelihood.

        Parameters
        ----------
        evaluate
            ``evaluate(positions) -> state``, of as many positions as these ``(n_live, n_dim)``.

        Raises
        ------
        SearchException
            If a value differs by more than rounding; the message names the process and both values.
        """
        share = share_of(len(positions), len(self.devices))
        row = np.arange(len(positions))
        found = evaluate(np.asarray(positions)[row % share]).particles
        of_first = _rows(found, row % share)
        for index, device in enumerate(self.devices):
            unlike = first_difference(*(_rows(particles, row // share == index) for particles in (of_first, found)))
            if unlike:
                raise exc.SearchException(
                    f"The {unlike.meaning} of a point is {unlike.before:.10g} for process 0 and {unlike.now:.10g} "
                    f"for {self._names.get(device.process_index, 'process 0')}: it has other data, another analysis "
                    "or another model. Let all processes read the same files. Nothing was changed."
                )

    def tell(self, *message: Any) -> None:
        """Send the others a message, which they take in their turn."""
        self._store.put(f"message/{self._told}", message)
        self._told += 1

    def forget_what_all_have_read(self) -> None:
        """To be called when all have done what the last message says."""
        for number in range(self._forgotten, self._told):
            self._store.delete(f"message/{number}")
        self._forgotten = self._told

    def wait_for_all(self, key: str) -> None:
        """Wait until all others have put ``key``."""
        for process in self._others:
            self._wait_patiently(f"{key}/{process}", process)

    def loss(self, failure: str) -> LostProcessError:
        """Why a function that all were to compute together was not: which process is gone, else this ``failure``."""
        self._broken = True
        silent = self._silent()
        what = f"{' and '.join(silent)} died or cannot be reached" if silent else failure
        return LostProcessError(f"{what}, so the iteration in flight cannot be finished.")

    def _silent(self) -> list[str]:
        """The names of the processes that have given no sign of life for some seconds."""
        before = self._store.all_below("alive")
        time.sleep(3.0 * POLL_SECONDS)
        now = self._store.all_below("alive")
        return [name for process, name in self._names.items() if now.get(str(process)) == before.get(str(process))]

    def _who_is_late(self) -> str:
        """What the others do while this process waits for its devices; empty if all are at it too."""
        silent, at = self._silent(), self._store.all_below("at")
        behind = [name for process, name in self._names.items() if at.get(str(process)) != self._told - 1]
        late = [name for name in behind if name not in silent]
        return "".join(
            f"{' and '.join(names)} {what}. "
            for names, what in ((silent, "gave no sign of life for some seconds"), (late, "did not even begin"))
            if names
        )

    def _wait_patiently(self, key: str, process: int) -> Any:
        started, said = time.monotonic(), 0.0
        while True:
            try:
                return self._store.wait_for(key)
            except TimeoutError:
                waited = time.monotonic() - started
                if waited > 30.0 + 2.0 * said:
                    said = waited
                    name = self._names.get(process, f"process {process}")
                    self._logger.warning("Waiting for %s for %.0f s, which has to run the same fit.", name, waited)

    def _wait_until_all_know(self) -> None:
        """So that they leave by themselves, before this process is gone and JAX aborts them for it."""
        started = time.monotonic()
        while len(self._store.all_below("knows")) < len(self._others):
            if time.monotonic() - started > PATIENCE_SECONDS:
                return
            time.sleep(0.1)
        time.sleep(0.5)


def first_process(logger: logging.Logger, fingerprint: Callable[[], dict]) -> Alone:
    """What the first process is to the others, if there are any."""
    return Alone() if jax.process_count() == 1 else First(logger, fingerprint())


class _Led:
    """A jitted function that all processes compile and call when the first does; its results are NumPy's."""

    def __init__(self, first: First, name: str, jitted: jax.stages.Wrapped) -> None:
        self._first = first
        self._name = name
        self._jitted = jitted
        self._compiled = None

    def __call__(self, *arguments: Any) -> Any:
        self._compiled = self._compiled or self.lower(*arguments).compile()
        return self._compiled(*arguments)

    def lower(self, *arguments: Any) -> "_Led":
        arguments = jax.device_get(arguments)
        self._first.tell("compile", self._name, arguments)
        self._lowered = self._jitted.lower(*arguments)
        return self

    def compile(self) -> Callable:
        compiled = self._lowered.compile()
        self._first.wait_for_all(f"compiled/{self._name}")
        return partial(self._call, compiled)

    def _call(self, compiled: Callable, *arguments: Any) -> Any:
        arguments = jax.device_get(arguments)
        self._first.tell("call", self._name, arguments)
        try:
            found = jax.device_get(compiled(*arguments))
        except Exception as error:
            raise self._first.loss(f"process 0 failed: {error}") from error
        self._first.forget_what_all_have_read()
        return found


def _rows(particles: Any, index: np.ndarray) -> Any:
    return jax.tree.map(lambda x: np.asarray(x)[index], particles)
