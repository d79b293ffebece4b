"""The checkpoint of a run on disk: its format, its writer and its reader. Knows pytrees of arrays, not samplers.

Four files lie beside each other, named after the first:

``nss_checkpoint.pkl``
    The live state, the key, the counters and the caller's notes: a pickle of NumPy arrays in NamedTuples, dicts and
    lists, followed by a trailer with its SHA-256. Replaced at each checkpoint.
``nss_checkpoint.history``
    The dead points, appended once and never rewritten: frames of a length, a SHA-256 that chains the frame to those
    before it, and a pickle. ``nss_checkpoint.pkl`` says how many bytes of it belong to the checkpoint.
``nss_checkpoint.draws``
    The importance draws of a converged run, in frames like the dead points. The caller's notes say how many bytes.
``nss_checkpoint.previous.pkl``
    The ``nss_checkpoint.pkl`` before, should the newest be damaged.

Every file is on disk before the one that refers to it takes its name, so that each moment is safe for a power loss.
"""

import contextlib
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from .history import (
    CheckpointError,
    DamagedCheckpointError,
    Extent,
    History,
    sync_folder,
    to_numpy,
    unpickled,
    write_durably,
)

FORMAT = 6
_TRAILER = b"\nNSS checkpoint, sha256 "
_KEYS = {"state", "run_key", "iteration"}


def history_path(path: Path) -> Path:
    """Where the history of the checkpoint at ``path`` lies."""
    return Path(path).with_suffix(".history")


def draws_path(path: Path) -> Path:
    """Where the importance draws that belong to the checkpoint at ``path`` lie."""
    return Path(path).with_suffix(".draws")


def previous_path(path: Path) -> Path:
    """Where the checkpoint before the one at ``path`` is kept."""
    return Path(path).with_suffix(".previous.pkl")


def _save_checkpoint(
    path: Path, state: Any, dead: list, run_key: Any, iteration: int, notes: dict | None = None
) -> None:
    """
    Replace the checkpoint at ``path``, atomically: an interruption at any moment leaves the previous one whole.

    Parameters
    ----------
    path
        The file; ``path + ".tmp"`` is written on the way.
    state
        Any pytree of arrays and scalars, on the device or not.
    dead
        The dead points, a list of pytrees, one per iteration. Of a ``History`` only what is new is written; a plain
        list is written whole.
    run_key
        The key of the next iteration.
    iteration
        How many iterations are done.
    notes
        Strings, numbers, lists and dicts that the caller wants back.

    Raises
    ------
    OSError
        If a file cannot be written; the previous checkpoint is still valid then.
    """
    path = Path(path)
    content = {
        "format": FORMAT,
        "state": to_numpy(state),
        "run_key": np.asarray(run_key),
        "iteration": int(iteration),
        "notes": notes or {},
    }
    if isinstance(dead, History):
        content["history"] = tuple(dead.flush())
    else:
        content["dead"] = [to_numpy(points) for points in dead]

    payload = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    temporary = path.with_name(path.name + ".tmp")
    try:
        write_durably(temporary, payload + _TRAILER + hashlib.sha256(payload).digest())
        _keep_as_previous(path)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def _load_checkpoint(path: Path) -> tuple[Any, list, np.ndarray, int]:
    """
    The ``(state, dead, run_key, iteration)`` saved at ``path``, with NumPy arrays as leaves.

    A checkpoint written by PyAutoFit's own ``af.NSS`` is read too.

    Raises
    ------
    DamagedCheckpointError
        If the file or its history is truncated or altered, or holds anything but arrays. Nothing in it is executed.
    CheckpointError
        If the file has a format that this version does not know.
    """
    return _load(Path(path), history_path(path))


def load_notes(path: Path) -> dict:
    """The notes saved with the checkpoint at ``path``; empty for one of PyAutoFit's own ``af.NSS``."""
    return _read(Path(path)).get("notes", {})


def restore_previous(path: Path) -> Path:
    """
    Put the checkpoint before a damaged one in its place, and return where the damaged one is kept.

    Raises
    ------
    CheckpointError
        If there is no whole checkpoint before it; nothing is changed then.
    """
    path, previous = Path(path), previous_path(path)
    if not previous.exists():
        raise CheckpointError("There is no checkpoint before it.")
    _load(previous, history_path(path))
    damaged = path.with_suffix(".damaged.pkl")
    _link_or_copy(path, damaged)
    os.replace(previous, path)
    sync_folder(path.parent)
    return damaged


def discard(path: Path) -> None:
    """Delete the checkpoint at ``path`` and all that belongs to it."""
    for file in Path(path).parent.glob(f"{Path(path).stem}.*"):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()


def discard_run(path: Path) -> None:
    """Delete the run at ``path``, so that another can begin there."""
    for file in (Path(path), previous_path(path), history_path(path), draws_path(path)):
        file.unlink(missing_ok=True)


def _load(path: Path, history: Path) -> tuple[Any, list, np.ndarray, int]:
    content = _read(path)
    if "history" not in content:
        return content["state"], content["dead"], content["run_key"], content["iteration"]
    try:
        dead = History.load(history, Extent(*content["history"]))
    except OSError as error:
        raise DamagedCheckpointError(f"{path} is damaged: its history cannot be read ({error}).") from error
    return content["state"], dead, content["run_key"], content["iteration"]


def _read(path: Path) -> dict:
    """The checked content of a checkpoint file, without its history."""
    data = path.read_bytes()
    payload, trailer, digest = data[: -len(_TRAILER) - 32], data[-len(_TRAILER) - 32 : -32], data[-32:]
    if trailer == _TRAILER:
        if digest != hashlib.sha256(payload).digest():
            raise DamagedCheckpointError(f"{path} is damaged: its bytes are not those that were written.")
        content = unpickled(payload, path)
        if not isinstance(content, dict) or not set(content) >= _KEYS:
            raise DamagedCheckpointError(f"{path} is not a checkpoint: it lacks parts of one.")
        if content.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} has the format {content.get('format')!r}, and this version of af.NSS reads {FORMAT}: use "
                "the version that wrote it."
            )
        return content

    content = unpickled(data, path)
    if not isinstance(content, dict) or set(content) != _KEYS | {"dead"}:
        raise DamagedCheckpointError(f"{path} is damaged: its end is missing or altered.")
    return content


def _keep_as_previous(path: Path) -> None:
    if path.exists():
        spare = path.with_suffix(".previous.tmp")
        _link_or_copy(path, spare)
        os.replace(spare, previous_path(path))


def _link_or_copy(source: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        write_durably(target, source.read_bytes())
