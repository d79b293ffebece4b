"""One process per folder: the lock of a fit, from before the host reads the folder until its results are stored.

The lock file lies beside the folder, not in it: the host deletes, zips and unpacks the folder, and on a network file
system a file that is open cannot be deleted.
"""

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from autofit import exc
from filelock import FileLock, Timeout

from ..checks import hint_at_processes

# How long to wait for a process that only reads a finished fit, before looking again whether it is one.
SECONDS_PER_TRY = 1.0


class FolderInUseError(exc.SearchException):
    """Another process is running the fit of this folder. The message names it."""


class FolderLock:
    """
    Keeps other processes out of a folder once it is taken, until the end of a ``with`` statement.

    The operating system frees the lock when the process ends, in whatever way.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = None
        self._folder = None
        self._file_id = None

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._lock is None or self._folder is None:
            return
        try:
            with suppress(OSError):
                if self._file_id == _file_id(lock_path(self._folder)):
                    holder_path(self._folder).unlink()
        finally:
            self._lock.release()

    def take(self, folder: Path, is_finished: Callable[[], bool] = lambda: False) -> None:
        """
        Hold ``folder``; a second call changes nothing.

        Parameters
        ----------
        folder
            It need not exist yet.
        is_finished
            Whether the fit in it is finished. Processes that read it take turns then.

        Raises
        ------
        FolderInUseError
            If another process runs the fit. Where the file system has no locks, a warning is logged instead.
        """
        if self._lock is not None:
            return
        path, waits = lock_path(folder), False
        lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        while self._lock is None:
            finished = is_finished()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=SECONDS_PER_TRY if finished else 0.0)
            except Timeout as error:
                if not (finished or is_finished()):
                    raise FolderInUseError(
                        f"{folder} is in use by {_holder(folder)}: wait until that fit is over, stop it, or give "
                        f"this fit another name.{hint_at_processes()}"
                    ) from error
                if not waits:
                    self._logger.info("Waiting for %s, which reads this finished fit.", _holder(folder))
                waits = True
            except (OSError, NotImplementedError) as error:
                log = self._logger.debug if finished else self._logger.warning
                log("%s cannot be locked (%s): make sure no other process runs this fit.", folder, error)
                return
            else:
                self._lock, self._folder, self._file_id = lock, Path(folder), _file_id(path)
                with suppress(OSError):  # it is there for messages alone
                    holder_path(folder).write_text(f"host {socket.gethostname()}, process {os.getpid()}")

    def check(self) -> None:
        """
        Make sure that the folder is still held, before something is written to it.

        Raises
        ------
        FolderInUseError
            If the lock file was removed or replaced, and another process holds the folder since.
        """
        if self._folder is None:
            return
        path = lock_path(self._folder)
        try:
            if self._lock is not None and self._file_id == _file_id(path):
                return
        except OSError:  # a file system that does not answer now says nothing about the lock
            return
        self._logger.warning("%s was removed or replaced: the folder is to be locked again.", path)
        if self._lock is not None:
            self._lock.release()
        self._lock = None
        self.take(self._folder)


def lock_path(folder: Path) -> Path:
    """The lock file of a folder."""
    return folder.with_name(f".{folder.name}.lock")


def holder_path(folder: Path) -> Path:
    """The file that names who holds a folder: on Windows nobody else can read the lock file."""
    return folder.with_name(f".{folder.name}.holder")


def _holder(folder: Path) -> str:
    with suppress(OSError):
        return holder_path(folder).read_text() or "another process"
    return "another process"


def _file_id(path: Path) -> tuple[int, int] | None:
    """What tells one file from another of the same name; ``None`` if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
