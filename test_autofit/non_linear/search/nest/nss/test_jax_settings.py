"""Settings of JAX that users switch on: a fit gives the same bytes with them, or the log says what does not hold."""

import logging

import autofit as af
import jax
import numpy as np
import pytest
from support.problems import gaussian_in_a_box

UNUSUAL = {
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_numpy_rank_promotion": "raise",
    "jax_numpy_dtype_promotion": "strict",
    "jax_transfer_guard": "disallow",
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_enable_custom_prng": True,
    "jax_legacy_prng_key": "error",
    "jax_disable_jit": True,
    "jax_no_execution": True,
}


@pytest.fixture
def unusual_settings():
    before = {name: getattr(jax.config, name) for name in UNUSUAL}
    for name, value in UNUSUAL.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def problem():
    return gaussian_in_a_box(2)


def log_likelihoods(problem):
    search = af.NSS(n_live=60, num_delete=20, num_mcmc_steps=3)
    return np.array(search.fit(model=problem.model, analysis=problem.analysis).samples.log_likelihood_list)


@pytest.fixture(scope="module")
def expected(problem):
    return log_likelihoods(problem)


def test_no_setting_stops_a_fit_or_changes_a_byte(problem, expected, unusual_settings, caplog):
    with caplog.at_level(logging.INFO):
        assert np.array_equal(log_likelihoods(problem), expected)
    [said] = [record.message for record in caplog.records if "do not hold" in record.message]
    assert all(f"{name}=" in said for name in UNUSUAL)
    assert all(getattr(jax.config, name) == value for name, value in UNUSUAL.items())


def test_settings_that_hold_are_not_spoken_of(problem, expected, caplog):
    with caplog.at_level(logging.INFO), jax.debug_nans(False):
        assert np.array_equal(log_likelihoods(problem), expected)
    assert "do not hold" not in caplog.text


@pytest.mark.slow
def test_the_precision_of_a_context_is_that_of_the_fit(problem):
    with jax.enable_x64(False):
        found = log_likelihoods(problem)
    assert np.array_equal(found, found.astype(np.float32))
