"""The checkpoint file of a run. Knows pytrees of arrays, and neither samplers nor models."""

import os
import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np


def _save_checkpoint(path: Path, state: Any, dead: list, run_key: Any, iteration: int, seconds: float = 0.0) -> None:
    """
    Replace the checkpoint at ``path``, atomically: an interruption at any moment leaves the previous one whole.

    Parameters
    ----------
    path
        The file; ``path + ".tmp"`` is written on the way.
    state
        Any pytree of arrays and scalars, on the device or not.
    dead
        The dead points: a list of pytrees, one per iteration.
    run_key
        The key of the next iteration.
    iteration
        How many iterations are done.
    seconds
        The wall-clock time they took, over all sessions of the run.
    """
    content = {
        "state": _to_numpy(state),
        "dead": [_to_numpy(points) for points in dead],
        "run_key": np.asarray(run_key),
        "iteration": int(iteration),
        "seconds": float(seconds),
    }
    temporary = Path(f"{path}.tmp")
    with open(temporary, "wb") as file:
        pickle.dump(content, file, protocol=pickle.HIGHEST_PROTOCOL)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(temporary.parent)


def _load_checkpoint(path: Path) -> tuple[Any, list, np.ndarray, int]:
    """The ``(state, dead, run_key, iteration)`` saved at ``path``, with NumPy arrays as leaves."""
    content = _read(path)
    return content["state"], content["dead"], content["run_key"], content["iteration"]


def _load_seconds(path: Path) -> float:
    """The wall-clock time that the run checkpointed at ``path`` has taken so far."""
    return _read(path).get("seconds", 0.0)


def _read(path: Path) -> dict:
    with open(path, "rb") as file:
        return pickle.load(file)


def _to_numpy(tree: Any) -> Any:
    return jax.tree_util.tree_map(np.asarray, tree)


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power loss, where the platform lets a folder be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
