"""One process per folder: the lock a fit holds while it runs."""

import logging
import os
import socket
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


class FolderInUseError(Exception):
    """Another process is running the fit of this folder. The message names it."""


class FolderLock:
    """
    Keeps other processes out of a folder once it is taken, until the end of a ``with`` statement. The operating
    system frees it when the process ends, in whatever way. A pickled copy holds nothing.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = None

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._lock is not None:
            self._lock.release()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_lock": None}

    def take(self, path: Path) -> None:
        """
        Hold the lock file at ``path``, which names its holder; a second time changes nothing.

        Raises
        ------
        FolderInUseError
            If another process holds it. Where the file system has no locks, a warning is logged instead.
        """
        if self._lock is not None:
            return
        lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise FolderInUseError(
                f"{path.parent} is in use by {path.read_text() or 'another process'}: wait until that fit is over, "
                "stop it, or give this fit another name."
            ) from error
        except (OSError, NotImplementedError) as error:
            self._logger.warning(
                "%s cannot be locked (%s): make sure no other process runs this fit.", path.parent, error
            )
            return
        self._lock = lock
        path.write_text(f"host {socket.gethostname()}, process {os.getpid()}")
