"""Measurements in processes of their own, so that none finds what another compiled, allocated or imported; and
processes that compute together."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from subprocess import Popen
from typing import Any


def measured(script: str, *arguments: Any, limit: float | None = None, **environment: str) -> Any:
    """
    What a script prints in its last line, as JSON.

    Parameters
    ----------
    script, arguments
        What Python is given.
    limit
        Seconds after which ``subprocess.TimeoutExpired`` is raised.
    environment
        Variables that differ from those of this process.
    """
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}, timeout=limit, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def together(count: int, script: str, *arguments: Any, log: Path | None = None, **environment: str) -> list[Popen]:
    """
    Start a script in ``count`` processes that ``join_the_others``.

    Parameters
    ----------
    log
        Where all that they print is appended; without it, the first process's output can be read and the others' is
        lost.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    started = []
    for process in range(count):
        place = {"COORDINATOR": coordinator, "PROCESSES": str(count), "PROCESS": str(process)}
        output = subprocess.DEVNULL if process else subprocess.PIPE
        with open(log or os.devnull, "a") as file:
            started.append(
                Popen(
                    [sys.executable, script, *map(str, arguments)],
                    stdout=file if log else output,
                    stderr=subprocess.STDOUT if log else None,
                    text=True,
                    env={**os.environ, **place, **environment},
                )
            )
    return started


def join_the_others() -> int:
    """The number of this process, one of those that ``together`` started; to be called before anything computes."""
    if "CORE" in os.environ:  # as schedulers bind processes to cores, which JAX's threads then share
        os.sched_setaffinity(0, {int(os.environ["CORE"]) + int(os.environ["PROCESS"])})
    import autofit  # noqa: F401 (switches float64 on, before JAX is imported)
    import jax

    if int(os.environ.get("PROCESSES", "1")) > 1:
        jax.distributed.initialize(
            os.environ["COORDINATOR"], int(os.environ["PROCESSES"]), int(os.environ["PROCESS"])
        )
    return jax.process_index()
