"""What the processes of ``jax.distributed`` that run one fit together tell each other.

All run the same program. The first has the folder, the log and the pictures, and decides what follows from clocks,
files and signals; all else is the same everywhere. They meet before each computation that all take part in, and there
one of them may stop: all hear of it, and the first says how all end. What is told goes through JAX's own collectives.
With one process nothing is told.
"""

import atexit
import json
import logging
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import jax
import numpy as np
from autofit import exc
from jax.experimental.multihost_utils import broadcast_one_to_all, process_allgather

from ..sampling.sharding import AXIS, default_devices, everywhere
from ..saving.fingerprint import NOISE, differences, first_unlike

GOES_ON = -1


class Meeting(NamedTuple):
    """How a process meets the others: how it waits, the signal it got (0 for none), what is done about one, and how
    the run is saved where another process is lost."""

    wait: Callable = lambda function, *arguments: function(*arguments)
    signal: Callable[[], int] = lambda: 0
    answer: Callable[[int], None] = lambda signal: None
    save: Callable[[], None] = lambda: None


OUTSIDE = Meeting()


def is_first() -> bool:
    """Whether this process has the folder, the log and the pictures."""
    return jax.process_index() == 0


def are_several() -> bool:
    return jax.process_count() > 1


class Processes:
    """The processes that run one fit, as this one knows them."""

    def __init__(self) -> None:
        self._names = [f"process {process}" for process in range(jax.process_count())]
        # Whether this process is amid what all compute, or left it by an error; and whether the first process has
        # told all others that they stop.
        self._amid = self._parted = False

    @property
    def devices(self) -> list[Any]:
        return jax.devices() if are_several() else default_devices()

    @contextmanager
    def one_fit(self, fingerprint: dict, logger: logging.Logger) -> Iterator[None]:
        """
        Within, where one process stops, all do. Raises ``SearchException`` if their fingerprints, which say what
        makes a run the run it is, differ.
        """
        if not are_several():
            yield
            return
        try:
            self._compare(fingerprint)
            logger.info("NSS runs on %s.", "; ".join(self._names))
            yield
            self.agree()
        except BaseException as error:
            with suppress(exc.SearchException):
                if not (self._amid or self._parted):
                    self._gather(0, 0, 1)
                    self._tell(_status(error))
            if self._amid:
                atexit.register(_exit_now, _status(error))
            raise

    def compute(self, function: Callable, *arguments: Any, meeting: Meeting = OUTSIDE) -> Any:
        """What all processes compute together, as NumPy arrays; a ``SearchException`` if one of them fails."""
        if not are_several():
            return meeting.wait(function, *arguments)
        self._amid = True
        try:
            found = jax.device_get(meeting.wait(function, *jax.device_get(arguments)))
        except (jax.errors.JaxRuntimeError, ValueError) as error:  # of which the latter is gloo's
            meeting.save()
            raise exc.SearchException(
                f"What all processes compute together failed in process {jax.process_index()}: here, or because "
                "another process died, failed or began its fit more than 30 s apart; then see its own log. Where "
                f"memory ran out, pass a smaller chunk_size. ({error})"
            ) from error
        self._amid = False
        return found

    def agree(self, number: int = 0, meeting: Meeting = OUTSIDE) -> int:
        """``number`` as the first process has it, once all have come here. Ends this process if another stops."""
        if not are_several():
            return number
        numbers, signals, failures = self._gather(number, meeting.signal(), 0, meeting=meeting).T
        if signals.any() or failures.any():
            self._settle(int(signals.max()), failures, meeting)
        return int(numbers[0])

    def same(self, value: Any = None, meeting: Meeting = OUTSIDE) -> Any:
        """``value``, which ``pickle`` must know, as the first process has it."""
        if not are_several():
            return value
        told = pickle.dumps(value) if is_first() else b""
        content = np.frombuffer(told.ljust(self.agree(len(told), meeting)), np.uint8)
        return pickle.loads(self.compute(broadcast_one_to_all, content, meeting=meeting).tobytes())

    def check_values(self, evaluate: Callable[[np.ndarray], np.ndarray], positions: np.ndarray, rows: int) -> None:
        """
        Let every device evaluate the same of ``(n_live, n_dim)`` positions, of which all evaluate ``rows`` at once.
        Raises ``SearchException``, with both values, if one finds another value than the first does, but for noise:
        its data or its likelihood is another.
        """
        if not are_several():
            return
        share = rows // len(self.devices)
        same = np.asarray(positions)[np.arange(share) % len(positions)]
        first, *others = evaluate(np.tile(same, (len(self.devices), 1))).reshape(-1, share)
        for device, found in zip(self.devices[1:], others, strict=True):
            if (index := first_unlike(found, first, **NOISE)) is not None:
                raise exc.SearchException(
                    f"The log likelihood of a point is {first[index]:.10g} for process 0 and "
                    f"{found[index]:.10g} for {self._names[device.process_index]}: it has other data, another "
                    "analysis or another model. Let all processes read the same files. Nothing was changed."
                )

    def _compare(self, fingerprint: dict) -> None:
        kind = f"{jax.local_device_count()} {jax.local_devices()[0].platform.upper()}"
        name = f"process {jax.process_index()} (host {socket.gethostname()}, process id {os.getpid()}, {kind})"
        text = json.dumps([name, fingerprint], default=lambda number: number.item()).encode()
        size = self._gather(len(text)).max()
        texts = self.compute(process_allgather, np.frombuffer(text.ljust(size), np.uint8))
        # The other collectives for the first time too: for that alone JAX waits no longer than 30 s.
        self._tell(GOES_ON)
        self.compute(everywhere(lambda x: jax.lax.all_gather(x, AXIS), self.devices), np.zeros(1))
        self._names, fingerprints = zip(*(json.loads(each.tobytes()) for each in texts), strict=True)
        for name, other in zip(self._names, fingerprints, strict=True):
            if unlike := sum(differences(fingerprints[0], other), []):
                raise exc.SearchException(
                    f"{name} has another fit than process 0, whose values are named first: {'; '.join(unlike)}. All "
                    "processes of jax.distributed have to run the same script with the same packages and data. Where "
                    "each is to run a fit of its own, leave jax.distributed.initialize() out. Nothing was changed."
                )

    def _gather(self, *numbers: int, meeting: Meeting = OUTSIDE) -> np.ndarray:
        return self.compute(process_allgather, np.array(numbers), meeting=meeting)

    def _settle(self, signal: int, failures: np.ndarray, meeting: Meeting) -> None:
        """What follows from a signal to a process, or from the end of one."""
        if is_first():
            try:
                if failures.any():
                    meeting.save()
                    raise exc.SearchException(f"{self._names[failures.argmax()]} failed: see its own log.")
                meeting.answer(signal)
            except BaseException as error:
                self._tell(_status(error))
                raise
        status = self._tell(GOES_ON)
        if status == 1:
            raise exc.SearchException(f"{self._names[0]} stops: see its own log.")
        if status != GOES_ON:
            raise SystemExit(status)
        if not is_first():
            meeting.answer(0)

    def _tell(self, status: int) -> int:
        """What the first process says of all: with which status they end, or that they go on."""
        found = int(self.compute(broadcast_one_to_all, np.array(status)))
        self._parted = found != GOES_ON
        return found


def _status(error: BaseException) -> int:
    """With which status a process ends that leaves with this error."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _exit_now(status: int) -> None:
    """Leave without the minutes for which JAX would wait for a process that is gone."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
