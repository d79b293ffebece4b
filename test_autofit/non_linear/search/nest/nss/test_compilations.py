"""What XLA compiles: nothing that a fit before it compiled, also for other data of the same shape."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "support" / "fit_of_other_data.py"


@pytest.mark.slow
def test_a_second_fit_of_other_data_compiles_nothing_where_data_are_no_constants(tmp_path):
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_USE_SIMPLIFIED_JAXPR_CONSTANTS": "1",
    }
    found = []
    for seed in (1, 2):
        command = [sys.executable, SCRIPT, tmp_path / str(seed), str(seed)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    first, second = found
    assert first["misses"] > 10
    assert second["misses"] == 0
    assert second["hits"] > 10
    assert second["log_evidence"] != first["log_evidence"]
