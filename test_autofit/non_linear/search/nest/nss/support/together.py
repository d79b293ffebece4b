"""Scripts of this folder run by several processes of ``jax.distributed`` on this machine."""

import os
import socket
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parent


def initialize():
    """In a process that ``Processes`` started: join the others."""
    import jax

    if "COORDINATOR" in os.environ:
        jax.distributed.initialize(
            os.environ["COORDINATOR"], int(os.environ["PROCESSES"]), int(os.environ["PROCESS"])
        )
    return jax.process_index()


class Processes:
    """The processes of one run, as a list; what each prints is in ``logs``."""

    def __init__(self, number, script, *arguments, folder, devices=1):
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("localhost", 0))
            coordinator = f"localhost:{free.getsockname()[1]}"
        self.logs = [folder / f"process-{process}.log" for process in range(number)]
        self.started = []
        for process, log in enumerate(self.logs):
            environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
            if number > 1:
                environment |= {"COORDINATOR": coordinator, "PROCESSES": str(number), "PROCESS": str(process)}
            with open(log, "w") as file:
                self.started.append(
                    subprocess.Popen(
                        [sys.executable, SUPPORT / script, *map(str, arguments)],
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        env=environment,
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
