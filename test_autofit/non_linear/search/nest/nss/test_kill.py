"""A real process, killed at random moments and started again, ends with the bytes of one that was left alone."""

import random

import numpy as np
import pytest
from support.killing import checkpoint_time, kill_after_a_checkpoint, start

SCRIPT = "killable_fit.py"
KILLS = 5


@pytest.fixture
def undisturbed(tmp_path):
    with open(tmp_path / "undisturbed.log", "w") as log:
        assert start(SCRIPT, tmp_path / "undisturbed", tmp_path / "undisturbed.npz", log=log).wait() == 0
    return np.load(tmp_path / "undisturbed.npz")


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path, undisturbed):
    output, result, log_path = tmp_path / "killed", tmp_path / "killed.npz", tmp_path / "killed.log"
    delays = random.Random(20261122)
    with open(log_path, "w") as log:
        for _ in range(KILLS):
            before = checkpoint_time(output)
            process = start(SCRIPT, output, result, log=log)
            kill_after_a_checkpoint(process, output, before, log_path, delays.uniform(0.0, 0.15))
        assert start(SCRIPT, output, result, log=log).wait() == 0, log_path.read_text()

    resumptions = [line for line in log_path.read_text().splitlines() if "Resuming NSS from iteration" in line]
    assert len(resumptions) == KILLS
    assert len(set(resumptions)) > 1
    found = np.load(result)
    for name in undisturbed.files:
        assert found[name].tobytes() == undisturbed[name].tobytes(), name
