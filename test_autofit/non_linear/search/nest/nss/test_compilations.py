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


@pytest.mark.slow
def test_an_error_amid_a_compilation_ends_the_process_with_its_own_status():
    """The sampler is still compiled when no first point turns out valid."""
    script = """
import autofit as af, jax.numpy as jnp

class Analysis(af.Analysis):
    def log_likelihood_function(self, instance):
        x = jnp.stack([instance.x, instance.y])
        for i in range(60):
            x = jnp.sin(x @ jnp.ones((2, 2)) + i) + jnp.fft.irfft(jnp.fft.rfft(x), 2)
        return jnp.sum(x) * jnp.nan

model = af.Collection(x=af.UniformPrior(-1.0, 1.0), y=af.UniformPrior(-1.0, 1.0))
af.NSS(n_live=60, num_delete=20).fit(model, Analysis(use_jax=True))
"""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert "None of the n_live=60 points" in done.stderr
    assert done.returncode == 1
