"""Points of a run in a file that only grows: its format, its writer and its reader. Knows pytrees of arrays, not
samplers.

The file is made of frames: a length, a SHA-256 that chains the frame to those before it, and a pickle of arrays in
NamedTuples, dicts and lists. A frame is appended once and never rewritten.
"""

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

_FRAME = struct.Struct("<Q32s")
_NO_DIGEST = bytes(32)


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
        payload = pickle.dumps(
            [to_numpy(block) for block in self[self.stored.blocks :]], protocol=pickle.HIGHEST_PROTOCOL
        )
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
            sync_folder(self.path.parent)
        self._last_frame = self.stored.length
        self.stored = Extent(self.stored.length + _FRAME.size + len(payload), len(self), digest)
        return self.stored

    def begin_anew_if_lost(self) -> bool:
        """
        Whether the file no longer holds what was stored: it was removed, replaced or cut off. All blocks are written
        by the next ``flush`` then. The last frame's digest tells, since it covers all frames before it.
        """
        if self.stored.length == 0:
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
            blocks += unpickled(payload, path)
            position += _FRAME.size + size
        if digest != extent.digest or len(blocks) != extent.blocks:
            raise DamagedCheckpointError(f"{path} is damaged: it does not belong to its checkpoint.")
        return cls(path, blocks, extent, last_frame)


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
        raise pickle.UnpicklingError(
            f"it names {module}.{name}, which is neither an array nor a NamedTuple of this version"
        )


def _is_named_tuple(cls: type) -> bool:
    return cls.__bases__ == (tuple,) and hasattr(cls, "_fields")


def unpickled(data: Buffer, path: Path) -> Any:
    try:
        content = _ArrayUnpickler(io.BytesIO(data)).load()
        leaves = jax.tree_util.tree_leaves(content)
    except Exception as error:
        raise DamagedCheckpointError(f"{path} is damaged, or not a checkpoint: {error}.") from error
    if any(isinstance(leaf, np.ndarray) and leaf.dtype.hasobject for leaf in leaves):
        raise DamagedCheckpointError(f"{path} is not a checkpoint: it holds an array of Python objects.")
    return content


def write_durably(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def to_numpy(tree: Any) -> Any:
    return jax.tree_util.tree_map(np.asarray, tree)


def sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` survive a power loss, where the platform lets a folder be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
