"""A real process, killed at random moments and started again, ends with the bytes of one that was left alone."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent / "support" / "killable_fit.py"
KILLS = 5


def start(output, result, log):
    return subprocess.Popen([sys.executable, SCRIPT, output, result], stdout=log, stderr=subprocess.STDOUT)


def checkpoint_time(output):
    found = list(output.rglob("nss_checkpoint.pkl"))
    return found[0].stat().st_mtime_ns if found else 0


@pytest.fixture
def undisturbed(tmp_path):
    with open(tmp_path / "undisturbed.log", "w") as log:
        assert start(tmp_path / "undisturbed", tmp_path / "undisturbed.npz", log).wait() == 0
    return np.load(tmp_path / "undisturbed.npz")


def test_killed_at_random_moments(tmp_path, undisturbed):
    output, result, log_path = tmp_path / "killed", tmp_path / "killed.npz", tmp_path / "killed.log"
    delays = random.Random(20261122)
    with open(log_path, "w") as log:
        for _ in range(KILLS):
            before = checkpoint_time(output)
            process = start(output, result, log)
            while checkpoint_time(output) == before and process.poll() is None:
                time.sleep(0.002)
            time.sleep(delays.uniform(0.0, 0.15))
            process.kill()
            assert process.wait() == -9, f"the fit was over before it was killed: {log_path.read_text()}"
        assert start(output, result, log).wait() == 0, log_path.read_text()

    resumptions = [line for line in log_path.read_text().splitlines() if "Resuming NSS from iteration" in line]
    assert len(resumptions) == KILLS
    assert len(set(resumptions)) > 1
    found = np.load(result)
    for name in undisturbed.files:
        assert found[name].tobytes() == undisturbed[name].tobytes(), name
