"""One process per folder: the lock a fit holds while it runs."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class FolderInUseError(Exception):
    """Another process is running the fit of this folder. The message names it."""


@contextmanager
def only_process(path: Path, logger: logging.Logger) -> Iterator[None]:
    """
    Hold the lock file at ``path``, which names its holder. The operating system frees it when the process ends, in
    whatever way.

    Raises
    ------
    FolderInUseError
        If another process holds it. Where the file system has no locks, a warning is logged instead of an error.
    """
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise FolderInUseError(
            f"{path.parent} is in use by {path.read_text() or 'another process'}: wait until that fit is over, stop "
            "it, or give this fit another name."
        ) from error
    except (OSError, NotImplementedError) as error:
        logger.warning("%s cannot be locked (%s): make sure no other process runs this fit.", path.parent, error)
        yield
        return
    try:
        path.write_text(f"host {socket.gethostname()}, process {os.getpid()}")
        yield
    finally:
        lock.release()
