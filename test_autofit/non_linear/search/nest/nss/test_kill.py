"""A real process, killed at random moments and started again, ends with the bytes of one that was left alone."""

import random

import numpy as np
import pytest
from support.together import Processes, kill_after_a_checkpoint

KILLS = 3


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    def session(name):
        return Processes(
            1, "killable_fit.py", tmp_path / name, tmp_path / f"{name}.npz", folder=tmp_path / f"{name}_log"
        )

    undisturbed = session("undisturbed")
    delays = random.Random(20261122)
    for _ in range(KILLS):
        kill_after_a_checkpoint(session("killed"), tmp_path / "killed", delays.uniform(0.0, 0.15))
    last = session("killed")
    for processes in (undisturbed, last):
        assert processes.statuses() == [0], processes.told()

    resumptions = [line for line in last.told().splitlines() if "Resuming NSS from iteration" in line]
    assert len(resumptions) == KILLS
    assert len(set(resumptions)) > 1
    expected, found = np.load(tmp_path / "undisturbed.npz"), np.load(tmp_path / "killed.npz")
    for name in expected.files:
        assert found[name].tobytes() == expected[name].tobytes(), name
