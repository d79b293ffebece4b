"""What is held around a fit, from before the host reads its folder until its results are stored: the folder and the
processes. A search holds no state of a fit, and the host calls ``run`` with nothing of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from autofit.non_linear.paths.null import NullPaths

from .saving.folder import FolderLock, archive_path, check_archive
from .stopping.processes import Processes


class Around(NamedTuple):
    """The search of a fit, the lock of its folder, and the processes that run it."""

    search: Any
    lock: FolderLock
    processes: Processes


_around: ContextVar[Around | None] = ContextVar("what is held around the fit that goes on", default=None)


@contextmanager
def around(search: Any) -> Iterator[Around]:
    """Within, the folder stays this process's once it is taken, also in what the host calls."""
    held = _around.get()
    if held is not None and held.search is search:
        yield held
        return
    with FolderLock(search.logger) as lock:
        held = Around(search, lock, Processes())
        token = _around.set(held)
        try:
            yield held
        finally:
            _around.reset(token)


def take_folder(paths: Any, lock: FolderLock, logger: logging.Logger) -> None:
    """Hold the fit's folder, and make sure that its zip can be unpacked."""
    if isinstance(paths, NullPaths):
        return
    folder = Path(paths.output_path)
    lock.take(folder, lambda: paths.is_complete or archive_path(folder).exists())
    check_archive(folder, logger)
