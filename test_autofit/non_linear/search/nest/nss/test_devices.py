"""Chains divided over devices: the same bytes on any number of them, also where a run goes on with another number."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SUPPORT = Path(__file__).parent / "support"


def with_devices(number, script, *arguments, log=None):
    command = [sys.executable, SUPPORT / script, *map(str, arguments)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(number)}
    return subprocess.Popen(command, stdout=log or subprocess.PIPE, stderr=log, text=True, env=environment)


@pytest.fixture(scope="module")
def runs():
    """By moves, chunk size and number of devices: what a run came to."""
    process = with_devices(4, "runs_on_devices.py")
    found = json.loads(process.communicate()[0].splitlines()[-1])
    return {(moves, chunk_size, devices): result for moves, chunk_size, devices, result in found}


@pytest.mark.parametrize("devices", [2, 3, 4])
@pytest.mark.parametrize("moves", ["shrink", "step_out"])
def test_the_same_bytes_on_any_number_of_devices_with_as_many_lanes_on_each(runs, moves, devices):
    expected, found = runs[moves, 2, 1], runs[moves, 2, devices]
    assert found == expected
    assert expected["iterations"] > 20


def test_with_other_lanes_it_is_the_same_but_for_rounding(runs):
    expected, found = runs["shrink", None, 1], runs["shrink", None, 4]
    assert (found["lanes"], expected["lanes"]) == (5, 20)
    assert found["evaluations"] == expected["evaluations"]
    assert found["log_evidence"] == pytest.approx(expected["log_evidence"], abs=1e-9)


def test_killed_and_resumed_on_other_numbers_of_devices(tmp_path):
    output, log_path = tmp_path / "killed", tmp_path / "killed.log"
    assert with_devices(1, "killable_fit.py", tmp_path / "one", tmp_path / "one.npz", 2).wait() == 0
    with open(log_path, "w") as log:
        for devices in (2, 1, 4):
            checkpoints = lambda: [path.stat().st_mtime_ns for path in output.rglob("nss_checkpoint.pkl")]  # noqa: E731
            before = checkpoints()
            process = with_devices(devices, "killable_fit.py", output, tmp_path / "killed.npz", 2, log=log)
            while checkpoints() == before and process.poll() is None:
                time.sleep(0.002)
            process.kill()
            assert process.wait() == -9, log_path.read_text()
        last = with_devices(3, "killable_fit.py", output, tmp_path / "killed.npz", 2, log=log)
        assert last.wait() == 0, log_path.read_text()

    told = log_path.read_text()
    assert told.count("Resuming NSS from iteration") == 3
    assert "number of devices was 4 and is 3" in told
    expected, found = np.load(tmp_path / "one.npz"), np.load(tmp_path / "killed.npz")
    for name in expected.files:
        assert found[name].tobytes() == expected[name].tobytes(), name
