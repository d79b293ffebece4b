"""Sessions of ``killable_fit.py``, as processes to be killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

SUPPORT = Path(__file__).parent


def start(script, *arguments, log=subprocess.PIPE, devices=1):
    """Start a script of this folder, with so many devices for JAX; what it prints goes to ``log``."""
    command = [sys.executable, SUPPORT / script, *map(str, arguments)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True, env=environment)


def checkpoint_time(output):
    found = list(output.rglob("nss_checkpoint.pkl"))
    return found[0].stat().st_mtime_ns if found else 0


def kill_after_a_checkpoint(process, output, before, log_path, delay=0.0):
    """Kill a session, without any warning to it, ``delay`` seconds after it wrote a checkpoint of its own."""
    while checkpoint_time(output) == before and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    assert process.wait() == -9, f"the fit was over before it was killed: {log_path.read_text()}"
