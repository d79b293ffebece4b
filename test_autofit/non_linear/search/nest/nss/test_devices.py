"""Chains divided over devices: the same bytes on any number of them, also where a run goes on with another number."""

import json

import numpy as np
import pytest
from support.killing import kill_after_a_checkpoint, start


@pytest.fixture(scope="module")
def runs():
    """By moves, chunk size and number of devices: what a run came to."""
    process = start("runs_on_devices.py", devices=4)
    found = json.loads(process.communicate()[0].splitlines()[-1])
    return {(moves, chunk_size, devices): result for moves, chunk_size, devices, result in found}


@pytest.mark.slow
@pytest.mark.parametrize(("moves", "devices"), [("shrink", 3), ("step_out", 3)])
def test_the_same_bytes_on_any_number_of_devices_with_as_many_lanes_on_each(runs, moves, devices):
    expected, found = runs[moves, 2, 1], runs[moves, 2, devices]
    assert found == expected
    assert expected["iterations"] > 20


@pytest.mark.slow
def test_with_other_lanes_it_is_the_same_but_for_rounding(runs):
    expected, found = runs["shrink", None, 1], runs["shrink", None, 4]
    assert (found["lanes"], expected["lanes"]) == (5, 20)
    assert found["evaluations"] == expected["evaluations"]
    assert found["log_evidence"] == pytest.approx(expected["log_evidence"], abs=1e-9)


@pytest.mark.slow
def test_killed_and_resumed_on_another_number_of_devices(tmp_path):
    output, log_path = tmp_path / "killed", tmp_path / "killed.log"
    with open(log_path, "w") as log:
        assert start("killable_fit.py", tmp_path / "one", tmp_path / "one.npz", 2, log=log).wait() == 0
        process = start("killable_fit.py", output, tmp_path / "killed.npz", 2, log=log, devices=4)
        kill_after_a_checkpoint(process, output, 0, log_path)
        last = start("killable_fit.py", output, tmp_path / "killed.npz", 2, log=log, devices=3)
        assert last.wait() == 0, log_path.read_text()

    told = log_path.read_text()
    assert "Resuming NSS from iteration" in told
    assert "number of devices was 4 and is 3" in told
    expected, found = np.load(tmp_path / "one.npz"), np.load(tmp_path / "killed.npz")
    for name in expected.files:
        assert found[name].tobytes() == expected[name].tobytes(), name
