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
import io
import os
import pickle
import struct
import sys
from collections.abc import Buffer, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

FORMAT = 6
_TRAILER = b"\nNSS checkpoint, sha256 "
_FRAME = struct.Struct("<Q32s")
_NO_DIGEST = bytes(32)
_KEYS = {"state", "run_key", "iteration"}


class CheckpointError(Exception):
    """A checkpoint that cannot be used. The message says why; the file is left as it is."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is truncated or altered, or that holds more than arrays."""


class Extent(NamedTuple):
    """How much of a history belongs to a checkpoint: its bytes, its blocks and the digest of its last frame."""

    length: int = 0
    blocks: int = 0
    digest: bytes = _NO_DIGEST


class History(list):
    """
    The dead points of a run, one pytree of NumPy arrays per iteration, of which those already on disk stay there.

    Parameters
    ----------
    path
        The file. What it holds beyond ``stored`` is of no checkpoint, and is cut off by the next write.
    blocks
        The dead points so far.
    stored
        The part of the file that holds the first of them.
    last_frame
        Where in the file the last frame of that part begins, in bytes.
    """

    def __init__(
        self,
        path: Path,
        blocks: Iterable = (),
        stored: Extent = Extent(),  # noqa: B008 (immutable)
        last_frame: int = 0,
    ) -> None:
        super().__init__(blocks)
        self.path = Path(path)
        self.stored = stored
        self._last_frame = last_frame

    def __add__(self, blocks: list) -> "History":
        """This history and more, of which as much is on disk as of this one; this one stays as it is."""
        return History(self.path, [*self, *blocks], self.stored, self._last_frame)

    def flush(self) -> Extent:
        """Append the blocks that are not on disk yet, and return what is there then."""
        if len(self) == self.stored.blocks and self.stored.blocks > 0:
            return self.stored
        payload = pickle.dumps(_pack(self[self.stored.blocks :]), protocol=pickle.HIGHEST_PROTOCOL)
        digest = _chained_digest(self.stored.digest, payload)
        created = not self.path.exists()
        with open(self.path, "wb" if created else "r+b") as file:
            file.seek(self.stored.length)
            file.truncate()
            file.write(_FRAME.pack(len(payload), digest))
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        if created:
            _sync_folder(self.path.parent)
        self._last_frame = self.stored.length
        self.stored = Extent(self.stored.length + _FRAME.size + len(payload), len(self), digest)
        return self.stored

    def begin_anew_if_lost(self) -> bool:
        """
        Whether the file no longer holds what was stored: it was removed, replaced or cut off. All blocks are written
        by the next ``flush`` then. The last frame's digest tells, since it covers all frames before it.
        """
        if self.stored.blocks == 0:
            return False
        try:
            with open(self.path, "rb") as file:
                file.seek(self._last_frame)
                _, digest = _FRAME.unpack(file.read(_FRAME.size))
                holds = digest == self.stored.digest and os.fstat(file.fileno()).st_size >= self.stored.length
        except (FileNotFoundError, struct.error):
            holds = False
        if not holds:
            self.stored = Extent()
        return not holds

    @classmethod
    def load(cls, path: Path, extent: Extent) -> "History":
        """Read the part of the history that belongs to a checkpoint. Raises ``DamagedCheckpointError``."""
        with open(path, "rb") as file:
            content = memoryview(file.read(extent.length))
        blocks, position, last_frame, digest = [], 0, 0, _NO_DIGEST
        while position < len(content):
            last_frame = position
            if position + _FRAME.size > len(content):
                raise DamagedCheckpointError(f"{path} is damaged: a frame is cut off.")
            size, expected = _FRAME.unpack(content[position : position + _FRAME.size])
            payload = content[position + _FRAME.size : position + _FRAME.size + size]
            digest = _chained_digest(digest, payload)
            if digest != expected:
                raise DamagedCheckpointError(f"{path} is damaged: its bytes are not those that were written.")
            blocks += _unpack(_unpickle(payload, path))
            position += _FRAME.size + size
        if digest != extent.digest or len(blocks) != extent.blocks:
            raise DamagedCheckpointError(f"{path} is damaged: it does not belong to its checkpoint.")
        return cls(path, blocks, extent, last_frame)


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
        "state": _to_numpy(state),
        "run_key": np.asarray(run_key),
        "iteration": int(iteration),
        "notes": notes or {},
    }
    if isinstance(dead, History):
        content["history"] = tuple(dead.flush())
    else:
        content["dead"] = [_to_numpy(points) for points in dead]

    payload = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    temporary = path.with_name(path.name + ".tmp")
    try:
        _write(temporary, payload + _TRAILER + hashlib.sha256(payload).digest())
        _keep_as_previous(path)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


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
    _sync_folder(path.parent)
    return damaged


def discard(path: Path) -> None:
    """Delete the checkpoint at ``path`` and all that belongs to it."""
    for file in Path(path).parent.glob(f"{Path(path).stem}.*"):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()


def discard_run(path: Path) -> None:
    """Delete the run at ``path``, so that another can begin there; the lock of the process stays."""
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
        content = _unpickle(payload, path)
        if not isinstance(content, dict) or not set(content) >= _KEYS:
            raise DamagedCheckpointError(f"{path} is not a checkpoint: it lacks parts of one.")
        if content.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} has the format {content.get('format')!r}, and this version of af.NSS reads {FORMAT}: use "
                "the version that wrote it."
            )
        return content

    content = _unpickle(data, path)
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
        _write(target, source.read_bytes())


def _pack(blocks: list) -> dict:
    """Blocks of one shape are stacked into one, whose few large arrays are read much faster than many small ones."""
    blocks = [_to_numpy(block) for block in blocks]
    shapes = {str(jax.tree_util.tree_map(lambda x: (x.shape, x.dtype), block)) for block in blocks}
    if len(shapes) != 1:
        return {"blocks": blocks}
    return {"number": len(blocks), "stacked": jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *blocks)}


def _unpack(packed: dict) -> list:
    if "blocks" in packed:
        return packed["blocks"]
    leaves, structure = jax.tree_util.tree_flatten(packed["stacked"])
    return [structure.unflatten([leaf[i] for leaf in leaves]) for i in range(packed["number"])]


def _chained_digest(before: bytes, payload: Buffer) -> bytes:
    digest = hashlib.sha256(before)
    digest.update(payload)
    return digest.digest()


_NUMPY_NAMES = {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
} | {("numpy", "ndarray"), ("numpy", "dtype")}


class _ArrayUnpickler(pickle.Unpickler):
    """Admits NumPy arrays and the NamedTuple classes of loaded modules; imports, calls and builds nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY_NAMES:
            return super().find_class(module, name)
        found = vars(sys.modules.get(module, object)).get(name)
        if isinstance(found, type) and (_is_named_tuple(found) or issubclass(found, np.generic)):
            return found
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is neither an array nor a NamedTuple")


def _is_named_tuple(cls: type) -> bool:
    return cls.__bases__ == (tuple,) and hasattr(cls, "_fields")


def _unpickle(data: Buffer, path: Path) -> Any:
    try:
        content = _ArrayUnpickler(io.BytesIO(data)).load()
        leaves = jax.tree_util.tree_leaves(content)
    except Exception as error:
        raise DamagedCheckpointError(f"{path} is damaged, or not a checkpoint: {error}.") from error
    if any(isinstance(leaf, np.ndarray) and leaf.dtype.hasobject for leaf in leaves):
        raise DamagedCheckpointError(f"{path} is not a checkpoint: it holds an array of Python objects.")
    return content


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _to_numpy(tree: Any) -> Any:
    return jax.tree_util.tree_map(np.asarray, tree)


def _sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` survive a power loss, where the platform lets a folder be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
