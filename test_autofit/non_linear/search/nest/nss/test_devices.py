"""Chains divided over devices: the same bytes on any number of them, also where a run goes on with another number."""

import json

import numpy as np
import pytest
from support.together import ROUNDS_ALIKE, Processes, kill_after_a_checkpoint


@pytest.mark.slow
def test_the_same_bytes_on_any_number_of_devices_with_as_many_lanes_on_each(tmp_path):
    with Processes(1, "runs_on_devices.py", folder=tmp_path, devices=3, **ROUNDS_ALIKE) as processes:
        assert processes.statuses() == [0], processes.told()
    of_one, of_three = json.loads(processes.told().splitlines()[-1])
    assert of_three == of_one
    assert of_one["iterations"] > 20


@pytest.mark.slow
def test_killed_and_resumed_on_another_number_of_devices(tmp_path):
    def session(name, devices):
        arguments, folder = (tmp_path / name, tmp_path / f"{name}.npz", 2), tmp_path / f"{name}_log"
        return Processes(1, "killable_fit.py", *arguments, folder=folder, devices=devices, **ROUNDS_ALIKE)

    kill_after_a_checkpoint(session("killed", 4), tmp_path / "killed")
    one, last = session("one", 1), session("killed", 3)
    for processes in (one, last):
        assert processes.statuses() == [0], processes.told()

    assert "Resuming NSS from iteration" in last.told()
    assert "number of devices was 4 and is 3" in last.told()
    expected, found = np.load(tmp_path / "one.npz"), np.load(tmp_path / "killed.npz")
    for name in expected.files:
        assert found[name].tobytes() == expected[name].tobytes(), name
