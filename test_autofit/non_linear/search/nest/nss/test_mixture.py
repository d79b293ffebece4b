"""The fitted mixture: a density that is normalised, draws what it says, and keeps modes and their weights."""

import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.evidence.mixture import (
    DEFENSIVE_SHARE,
    DEGREES_OF_FREEDOM,
    Mixture,
    effective_number,
    fitted_mixture,
)
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_t, norm


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def mixture_of_two():
    factors = np.linalg.cholesky([[[1.0, 0.6], [0.6, 2.0]], [[0.3, 0.0], [0.0, 0.1]]])
    return Mixture(np.array([0.3, 0.7]), np.array([[-3.0, 0.0], [2.0, 1.0]]), factors)


def test_the_density_is_that_of_scipy(rng):
    mixture, points = mixture_of_two(), rng.normal(size=(50, 2), scale=3.0)
    parts = [
        np.log(weight) + multivariate_t.logpdf(points, mean, factor @ factor.T, df=DEGREES_OF_FREEDOM)
        for weight, mean, factor in zip(*mixture, strict=True)
    ]
    np.testing.assert_allclose(mixture.log_density(points), logsumexp(parts, axis=0))


def test_the_draws_are_from_the_density(rng):
    """Weighted by another density over this one they are draws of that other."""
    mixture = mixture_of_two()
    draws = mixture.draw(20_000, rng)
    weights = np.exp(norm.logpdf(draws, [1.0, 1.0], [1.0, 0.5]).sum(axis=1) - mixture.log_density(draws))
    assert np.mean(weights) == pytest.approx(1.0, abs=4.0 * np.std(weights) / np.sqrt(len(weights)))
    first = draws[draws[:, 0] < -0.5]
    assert len(first) / len(draws) == pytest.approx(0.3, abs=0.03)


def test_modes_keep_their_weights(rng):
    """Far apart in 10 dimensions, from points whose weights alone say how much each of them has."""
    points = np.concatenate([rng.normal(-4.0, 0.5, (2000, 10)), rng.normal(4.0, 0.5, (2000, 10))])
    weights = np.repeat([0.2, 0.8], 2000)
    mixture = fitted_mixture(points, weights, rng)
    low = mixture.means[:-1, 0] < 0.0
    assert mixture.weights[:-1][low].sum() == pytest.approx(0.2 * (1.0 - DEFENSIVE_SHARE), abs=0.02)
    assert mixture.weights.sum() == pytest.approx(1.0)


def test_a_gaussian_takes_one_component_and_a_banana_more(rng):
    points = rng.normal(size=(4000, 3))
    assert len(fitted_mixture(points, np.ones(4000), rng).weights) == 2  # the defensive one among them
    bent = points.copy()
    bent[:, 1] = points[:, 0] ** 2 + 0.1 * points[:, 1]
    assert len(fitted_mixture(bent, np.ones(4000), rng).weights) >= 5


def test_few_effective_points_take_one_component_however_many_there_are(rng):
    points, weights = rng.normal(size=(5000, 20)), np.full(5000, 1e-9)
    weights[:100] = 1.0
    assert len(fitted_mixture(points, weights, rng).weights) == 2


def test_a_gaussian_in_30_dimensions_is_met_well(rng):
    covariance = 0.95 + 0.05 * np.eye(30)
    points = rng.multivariate_normal(np.zeros(30), covariance, 4000)
    mixture = fitted_mixture(points, np.ones(4000), rng)
    draws = mixture.draw(4000, rng)
    factor = np.linalg.cholesky(covariance)
    target = norm.logpdf(np.linalg.solve(factor, draws.T)).sum(axis=0) - np.log(np.diag(factor)).sum()
    log_weights = target - mixture.log_density(draws)
    assert effective_number(np.exp(log_weights - log_weights.max())) > 0.3 * len(draws)


def test_a_parameter_that_does_not_vary_does_no_harm(rng):
    points = np.column_stack([rng.normal(size=1000), np.full(1000, 0.5)])
    draws = fitted_mixture(points, np.ones(1000), rng).draw(1000, rng)
    assert kstest(draws[:, 0], points[:, 0]).pvalue > 1e-4
    assert np.mean(draws[:, 1]) == pytest.approx(0.5, abs=0.01)
