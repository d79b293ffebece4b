"""The NumPy estimators against those of blackjax, and against what is known of nested sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.evidence import nested
from blackjax.ns import utils as blackjax_utils
from blackjax.ns.base import NSInfo, StateWithLogLikelihood


def run_of_points(rng, n_live=60, num_delete=7, iterations=40, plateau=False):
    """Deaths and births of a made-up run, with ties on request."""

    def above(contour, size):
        return contour + (rng.integers(1, 4, size) if plateau else rng.exponential(size=size))

    live, birth = above(0.0, n_live), np.full(n_live, np.nan)
    deaths, births = [], []
    for _ in range(iterations):
        dead = np.argsort(live)[:num_delete]
        deaths.append(live[dead])
        births.append(birth[dead])
        contour = live[dead].max()
        live[dead], birth[dead] = above(contour, num_delete), contour
    return np.concatenate([*deaths, live]), np.concatenate([*births, birth])


def as_blackjax(death, birth):
    return NSInfo(StateWithLogLikelihood(jnp.zeros(len(death)), jnp.zeros(len(death)), death, birth), None)


@pytest.fixture(params=[False, True], ids=["distinct", "plateaus"])
def run(request):
    return run_of_points(np.random.default_rng(3), plateau=request.param)


def test_effective_live_points_are_blackjax_s(run):
    death, birth = run
    order = np.argsort(death, kind="stable")
    expected = blackjax_utils.compute_num_live(as_blackjax(death[order], birth[order]))
    assert np.array_equal(nested.effective_live_points(birth, death[order]), expected)


def test_weights_are_blackjax_s_for_the_same_random_volumes(run):
    death, birth = run
    key = jax.random.PRNGKey(5)
    expected = np.asarray(blackjax_utils.log_weights(key, as_blackjax(death, birth), shape=20))
    uniform = np.asarray(jax.random.uniform(jax.random.split(key)[1], (len(death), 20)))

    order = np.argsort(death, kind="stable")
    n_live = nested.effective_live_points(birth, death[order])
    for simulation in range(20):
        shells = nested.simulate_log_shells(n_live, uniform[:, simulation])
        np.testing.assert_allclose(shells + death[order], expected[order, simulation], rtol=1e-10, atol=1e-12)


def test_weights_sum_to_the_evidence_and_keep_the_order_of_the_points(run):
    death, birth = run
    found = nested.posterior_from(death, birth, np.random.default_rng(0))
    assert np.logaddexp.reduce(found.log_weights) == pytest.approx(found.log_evidences.mean())

    shuffle = np.random.default_rng(1).permutation(len(death))
    if len(np.unique(death)) == len(death):
        again = nested.posterior_from(death[shuffle], birth[shuffle], np.random.default_rng(0))
        np.testing.assert_allclose(again.log_weights, found.log_weights[shuffle])


def test_a_constant_likelihood_has_its_own_value_as_evidence():
    rng = np.random.default_rng(0)
    death, birth = run_of_points(rng)
    found = nested.posterior_from(np.full_like(death, -3.0), np.where(np.isnan(birth), np.nan, -4.0), rng)
    assert found.log_evidences.mean() == pytest.approx(-3.0, abs=0.01)


def perfect_run(rng, n_live, num_delete, log_likelihood):
    """Nested sampling without chains: prior volumes, which are uniform below that of the contour."""
    volume, birth = rng.random(n_live), np.full(n_live, np.nan)
    deaths, births = [], []
    while volume.max() > 1e-6:
        dead = np.argsort(volume)[-num_delete:]
        deaths.append(volume[dead])
        births.append(birth[dead])
        volume[dead], birth[dead] = volume[dead[0]] * rng.random(num_delete), log_likelihood(volume[dead[0]])
    return log_likelihood(np.concatenate([*deaths, volume])), np.concatenate([*births, birth])


@pytest.mark.parametrize("num_delete", [1, 20])
def test_the_evidence_lies_from_the_truth_as_far_as_its_error_says(num_delete):
    rate = 1000.0
    log_evidence, distances = np.log((1.0 - np.exp(-rate)) / rate), []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        points = perfect_run(rng, 50, num_delete, lambda volume: -rate * volume)
        simulated = nested.posterior_from(*points, rng).log_evidences
        distances.append((simulated.mean() - log_evidence) / simulated.std())
    assert abs(np.mean(distances)) < 0.2
    assert 0.85 < np.std(distances) < 1.15


def test_points_without_weight_do_no_harm():
    death, birth = run_of_points(np.random.default_rng(3))
    death = np.concatenate([np.full(20, -1e30), death])
    birth = np.concatenate([np.full(20, np.nan), np.where(np.isnan(birth), -1e30, birth)])
    found = nested.posterior_from(death, birth, np.random.default_rng(0))
    assert np.all(np.isfinite(found.log_evidences))
    assert np.all(found.log_weights[:20] == -np.inf)
    assert 1.0 < found.effective_sample_size < len(death)
