"""Scripts of this folder in processes of their own: one, or several of ``jax.distributed``; and how to kill one."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

SUPPORT = Path(__file__).parent
# For a process whose bytes are compared: XLA's newer code rounds alike for one device and for several.
ROUNDS_ALIKE = {"XLA_FLAGS": ""}


def initialize():
    """In a process that ``Processes`` started: join the others."""
    import jax

    if "COORDINATOR" in os.environ:
        jax.distributed.initialize(
            os.environ["COORDINATOR"], int(os.environ["PROCESSES"]), int(os.environ["PROCESS"])
        )
    return jax.process_index()


class Processes:
    """The processes of one run, as a list; what each prints is appended to ``logs``."""

    def __init__(self, number, script, *arguments, folder, devices=1, **environment):
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("localhost", 0))
            coordinator = f"localhost:{free.getsockname()[1]}"
        self.logs = [folder / f"process-{process}.log" for process in range(number)]
        self.started = []
        for process, log in enumerate(self.logs):
            variables = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), **environment}
            if number > 1:
                variables |= {"COORDINATOR": coordinator, "PROCESSES": str(number), "PROCESS": str(process)}
            with open(log, "a") as file:
                self.started.append(
                    subprocess.Popen(
                        [sys.executable, SUPPORT / script, *map(str, arguments)],
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        env=variables,
                    )
                )

    def __getitem__(self, process):
        return self.started[process]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            process.kill()
            process.wait()

    def statuses(self, timeout=240.0):
        """The exit status of each, once all have ended."""
        return [process.wait(timeout) for process in self.started]

    def told(self, process=0):
        return self.logs[process].read_text()


def checkpoint_time(output):
    found = list(output.rglob("nss_checkpoint.pkl"))
    return found[0].stat().st_mtime_ns if found else 0


def wait_for_a_checkpoint(processes, output, before=0):
    """Until the first of the processes wrote one of its own."""
    while checkpoint_time(output) == before:
        assert processes[0].poll() is None, processes.told()
        time.sleep(0.002)


def kill_after_a_checkpoint(processes, output, delay=0.0):
    """Kill a session, without any warning to it, ``delay`` seconds after it wrote a checkpoint of its own."""
    wait_for_a_checkpoint(processes, output, checkpoint_time(output))
    time.sleep(delay)
    processes[0].kill()
    assert processes[0].wait() == -9, f"the fit was over before it was killed: {processes.told()}"
