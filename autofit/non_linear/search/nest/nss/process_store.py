"""What the processes of ``jax.distributed`` tell each other about a fit that they compute together, through the store
of keys and values that they share. Nothing here computes, or knows what the messages mean."""

import itertools
import logging
import os
import pickle
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
from jax._src import distributed

POLL_SECONDS = 1.0
# How long another process may take to take note of something.
PATIENCE_SECONDS = 5.0

_fits = itertools.count()


class Store:
    """
    What the processes tell each other about one fit. Every process counts its fits, so the counts agree.

    Every method raises ``ConnectionError`` where the first process, which keeps the store, is gone.
    """

    def __init__(self) -> None:
        self._client: Any = distributed.global_state.client
        self._fit = next(_fits)
        self._prefix = f"nss/{self._fit}/"

    def put(self, key: str, value: Any) -> None:
        with _connected():
            self._client.key_value_set_bytes(self._prefix + key, pickle.dumps(value), allow_overwrite=True)

    def wait_for(self, key: str, seconds: float = POLL_SECONDS) -> Any:
        """The value, once it is there; ``TimeoutError`` if it is not by then."""
        with _connected():
            return pickle.loads(self._client.blocking_key_value_get_bytes(self._prefix + key, int(1e3 * seconds)))

    def all_below(self, key: str) -> dict[str, Any]:
        """All values with keys ``key/...``, by what stands there instead of the dots."""
        with _connected():
            found = self._client.key_value_dir_get_bytes(f"{self._prefix}{key}/")
        return {name.rsplit("/", 1)[-1]: pickle.loads(value) for name, value in found}

    def delete(self, key: str) -> None:
        with _connected():
            self._client.key_value_delete(self._prefix + key)

    def delete_those_of_the_fit_before(self) -> None:
        """To be called when all have begun this one, and need nothing of the one before."""
        with _connected():
            self._client.key_value_delete(f"nss/{self._fit - 1}/")


@contextmanager
def _connected() -> Iterator[None]:
    """Turns what JAX says of its store into Python's errors."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        kind = TimeoutError if "DEADLINE_EXCEEDED" in str(error) else ConnectionError
        raise kind(str(error)) from error


class End(NamedTuple):
    """
    How the first process ended: with a ``"result"``, an ``"exit"`` of some status, an ``"interrupt"`` or an
    ``"error"``; and whether it left ``at_once``, amid what all compute together, which then cannot be finished.
    """

    how: str
    detail: Any
    at_once: bool


def name_of_this_process() -> str:
    """Its number, where it runs, and on what."""
    devices = jax.local_devices()
    kind = f"{len(devices)} {devices[0].platform.upper()}"
    return f"process {jax.process_index()} (host {socket.gethostname()}, process id {os.getpid()}, {kind})"


def exit_now(status: Any) -> None:
    """Leave without the minutes for which JAX would wait for a process that is gone."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)
