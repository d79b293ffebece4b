"""The scripts of ``docs/searches/nss/clusters.md``, run as far as a machine without a scheduler allows: what one does
to a job (its signals, its copying of files, its starting it again) is done here, to processes that are real."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "searches" / "nss" / "clusters.md").read_text()
FIT = """
import autofit as af
import jax.numpy as jnp
import numpy as np

class Analysis(af.Analysis):
    def log_likelihood_function(self, instance):
        return -0.5 * jnp.sum(((jnp.array([instance.x, instance.y]) - data) / 0.01) ** 2)

af.conf.instance["output"]["latent_after_fit"] = False
af.conf.instance["visualize"]["plots_search"]["nest"]["corner_anesthetic"] = False
data = np.loadtxt("data/truth.txt")
model = af.Collection(x=af.UniformPrior(-1.0, 1.0), y=af.UniformPrior(-1.0, 1.0))
search = af.NSS(name="fit", n_live=500, num_delete=50, num_mcmc_steps=8, checkpoint_interval=10, chunk_size=5)
samples = search.fit(model=model, analysis=Analysis(use_jax=True)).samples
np.save("output/positions.npy", samples.parameter_lists)
"""
# A step of SLURM: so many tasks, each with what SLURM tells it; signals go to the tasks, whose numbers are in "step".
SRUN = """#!{python}
import os, subprocess, sys
tasks = int(os.environ.get("SLURM_NTASKS", "1"))
command = [each for each in sys.argv[1:] if not each.startswith("--")]
place = {{**os.environ, "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(tasks)}}
logs = [None, *(open(f"task-{{task}}.log", "a") for task in range(1, tasks))]
started = [
    subprocess.Popen(
        command, env={{**place, "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)}}, stdout=log, stderr=log
    )
    for task, log in enumerate(logs)
]
with open("step.new", "w") as step:
    step.write(" ".join(str(process.pid) for process in started))
os.rename("step.new", "step")
statuses = [process.wait() for process in started]
sys.exit(max(128 - status if status < 0 else status for status in statuses))
"""
SCONTROL = """#!/bin/sh
echo "$@" >> requeued
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def submission(folder: Path, begins_with: str = "") -> Path:
    """A user's folder: script and data."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "truth.txt").write_text("0.1 -0.2")
    (folder / "fit.py").write_text(begins_with + FIT)
    return folder


def tasks_of(folder: Path) -> list[int]:
    return [int(number) for number in (folder / "step").read_text().split()]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    commands = tmp_path_factory.mktemp("bin")
    for name, content in (("srun", SRUN.format(python=sys.executable)), ("scontrol", SCONTROL)):
        (commands / name).write_text(content)
        (commands / name).chmod(0o755)
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "SLURM_JOB_ID": "7", "XLA_FLAGS": ""}


@pytest.fixture(scope="module")
def expected(environment, tmp_path_factory) -> np.ndarray:
    """The positions of the fit that nobody stops."""
    folder = submission(tmp_path_factory.mktemp("expected") / "job")
    subprocess.run([sys.executable, "fit.py"], cwd=folder, env=environment, check=True, capture_output=True)
    return np.load(folder / "output" / "positions.npy")


class Job:
    """A job that has been started; what it prints is appended, as the scheduler's log is."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]):
        self.folder = folder
        with open(folder / "log", "a") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def wait_for_a_checkpoint(self) -> "Job":
        while not list(self.folder.rglob("nss_checkpoint.pkl")):
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        return self

    def ends_with(self, status: int, timeout: float = 120.0) -> bool:
        assert self.process.wait(timeout) == status, self.log
        return True


@pytest.mark.slow
def test_a_slurm_job_goes_on_where_it_was_told_to_stop(environment, expected, tmp_path):
    folder = submission(tmp_path / "job")
    (folder / "job.sh").write_text(blocks("sh")[0])

    job = Job(["bash", "job.sh"], folder, environment).wait_for_a_checkpoint()
    os.kill(tasks_of(folder)[0], signal.SIGUSR1)
    assert job.ends_with(138)
    told = folder / "requeued"
    assert told.read_text() == "requeue 7\n"
    told.unlink()

    again = Job(["bash", "job.sh"], folder, environment)
    assert again.ends_with(0)
    assert not told.exists()
    assert "Resuming NSS" in again.log
    assert np.array_equal(np.load(folder / "output" / "positions.npy"), expected)


@pytest.mark.slow
def test_a_slurm_job_of_two_tasks_is_one_run(environment, expected, tmp_path):
    folder = submission(tmp_path / "job", begins_with=blocks("python")[0])
    (folder / "job.sh").write_text(blocks("sh")[1])
    environment = {**environment, "SLURM_NTASKS": "2", "SLURM_JOB_ID": str(os.getpid())}

    job = Job(["bash", "job.sh"], folder, environment).wait_for_a_checkpoint()
    for task in tasks_of(folder):
        os.kill(task, signal.SIGUSR1)
    assert job.ends_with(138)
    assert (folder / "requeued").read_text() == f"requeue {os.getpid()}\n"

    again = Job(["bash", "job.sh"], folder, environment)
    assert again.ends_with(0)
    assert "Resuming NSS" in again.log
    assert "NSS runs on process 0" in again.log
    assert "NSS" not in (folder / "task-1.log").read_text()
    assert np.array_equal(np.load(folder / "output" / "positions.npy"), expected)


@pytest.mark.slow
def test_an_htcondor_job_that_is_evicted_goes_on_at_another_place(environment, expected, tmp_path):
    wanted = dict(line.split("=", 1) for line in blocks("text")[0].splitlines() if "=" in line)
    wanted = {name.strip(): value.strip() for name, value in wanted.items()}
    assert wanted["when_to_transfer_output"] == "ON_EXIT_OR_EVICT"
    command = [wanted["executable"], *wanted["arguments"].split()]
    home = submission(tmp_path / "home")

    def start_at(place: Path, brought: list[Path]) -> Job:
        place.mkdir()
        for path in [home / name.strip() for name in wanted["transfer_input_files"].split(",")] + brought:
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, place / path.name)
        return Job(command, place, environment)

    evicted = start_at(tmp_path / "first", []).wait_for_a_checkpoint()
    evicted.process.send_signal(signal.Signals[wanted["kill_sig"]])
    assert evicted.ends_with(143, timeout=float(wanted["job_max_vacate_time"]))
    carried = shutil.move(evicted.folder / wanted["transfer_output_files"], tmp_path / "output")

    again = start_at(tmp_path / "second", [Path(carried)])
    assert again.ends_with(0)
    assert "Resuming NSS" in again.log
    assert np.array_equal(np.load(again.folder / "output" / "positions.npy"), expected)
