"""The checkpoint file of a run. Knows pytrees of arrays, and neither samplers nor models."""

import os
import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np


class History(list):
    """
    The dead points of a run, one pytree per iteration, and the wall-clock ``seconds`` it took over all sessions.
    """

    def __init__(self, dead=(), seconds: float = 0.0):
        super().__init__(dead)
        self.seconds = seconds


def _save_checkpoint(path: Path, state: Any, dead: list, run_key: Any, iteration: int) -> None:
    """
    Replace the checkpoint at ``path``, atomically: an interruption at any moment leaves the previous one whole.

    Parameters
    ----------
    path
        The file; ``path + ".tmp"`` is written on the way.
    state
        Any pytree of arrays and scalars, on the device or not.
    dead
        A list of pytrees, one per iteration; a ``History`` keeps its ``seconds``.
    run_key
        The key of the next iteration.
    iteration
        How many iterations are done.
    """
    content = {
        "state": _to_numpy(state),
        "dead": [_to_numpy(points) for points in dead],
        "run_key": np.asarray(run_key),
        "iteration": int(iteration),
        "seconds": float(getattr(dead, "seconds", 0.0)),
    }
    temporary = Path(f"{path}.tmp")
    with open(temporary, "wb") as file:
        pickle.dump(content, file, protocol=pickle.HIGHEST_PROTOCOL)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(temporary.parent)


def _load_checkpoint(path: Path) -> tuple[Any, History, np.ndarray, int]:
    """The ``(state, dead, run_key, iteration)`` saved at ``path``, with NumPy arrays as leaves."""
    with open(path, "rb") as file:
        content = pickle.load(file)
    dead = History(content["dead"], content["seconds"])
    return content["state"], dead, content["run_key"], content["iteration"]


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
