"""Measurements in processes of their own, so that none finds what another compiled, allocated or imported."""

import json
import os
import subprocess
import sys
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
