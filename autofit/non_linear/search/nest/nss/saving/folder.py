"""The folder of a fit: one process at a time, and a zip that can be unpacked. Knows paths and locks, not runs.

The lock file lies beside the folder, not in it: the host deletes, zips and unpacks the folder, and on a network file
system a file that is open cannot be deleted.
"""

import logging
import os
import socket
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
from autofit import exc
from filelock import FileLock, Timeout

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
        Hold ``folder``, which need not exist yet; a second call changes nothing. Processes that read a finished fit
        take turns: ``is_finished()`` tells whether it is one.

        Raises ``FolderInUseError`` if another process runs the fit. Where the file system has no locks, a warning is
        logged instead.
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


def hint_at_processes() -> str:
    """What a user may have forgotten whose script a scheduler started several times; empty if that is not so."""
    tasks = max(int(os.environ.get(name, "1")) for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
    if tasks <= jax.process_count():
        return ""
    return (
        f" If the scheduler started this script {tasks} times to be one run, let it begin with import autofit, "
        "import jax and jax.distributed.initialize()."
    )


def archive_path(folder: Path) -> Path:
    """The zip that the host makes of a finished fit's folder."""
    return folder.with_name(f"{folder.name}.zip")


def check_archive(folder: Path, logger: logging.Logger) -> None:
    """
    Whether the zip of a finished fit can be unpacked, before the host deletes the folder beside it to do so. A zip
    that was cut off while it was made of a finished folder is put aside.

    Raises
    ------
    SearchException
        If it cannot, and there is no finished folder; nothing is changed then.
    """
    archive = archive_path(folder)
    if not archive.exists():
        return
    try:
        with zipfile.ZipFile(archive) as content:
            damaged = content.testzip()
        why = f"the checksum of {damaged} in it is wrong" if damaged else ""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        why = str(error)
    if not why:
        return
    if (folder / ".completed").exists():
        aside = archive.with_name(f"{archive.name}.damaged")
        os.replace(archive, aside)
        logger.warning("%s is damaged (%s) and is kept as %s; its folder is whole.", archive, why, aside.name)
        return
    raise exc.SearchException(
        f"{archive} is damaged ({why}), as a full disk or a process killed at the end leaves it. Nothing was "
        f"deleted: restore it from a copy; or move {archive.name} away, and the fit goes on from what is in "
        f"{folder}, or begins anew where that holds nothing; or give this fit another name."
    )
