"""A normalised density fitted to weighted points: a mixture of Student's t. Knows arrays, not models or evidences."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

# Tails heavier than a Gaussian's keep importance weights small, and cost few draws.
DEGREES_OF_FREEDOM = 10.0
# How many points a fit sees.
FITTED_POINTS = 10_000
MAX_COMPONENTS = 32
# Of expectation maximization, after which a mixture of many changes little.
MAX_ITERATIONS = 30
# By how many nats a point more components must describe unseen points better to be worth their time.
WORTHWHILE = 0.01
# The share of one component as wide as all points together, which bounds the weights where the others leave gaps.
DEFENSIVE_SHARE = 0.1
# Keeps each component's covariance from vanishing, relative to the variance of all points.
LEAST_VARIANCE = 1e-4


class Mixture(NamedTuple):
    """
    A mixture of k multivariate Student's t distributions of ``DEGREES_OF_FREEDOM``.

    Attributes
    ----------
    weights
        ``(k,)`` float, summing to one.
    means
        ``(k, n_dim)`` float.
    factors
        ``(k, n_dim, n_dim)`` float: the lower Cholesky factor of each component's scale matrix.
    """

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """``(n,)`` float: the log density at each of ``(n, n_dim)`` points."""
        degrees, n_dim = DEGREES_OF_FREEDOM, points.shape[1]
        constant = gammaln(0.5 * (degrees + n_dim)) - gammaln(0.5 * degrees) - 0.5 * n_dim * np.log(degrees * np.pi)
        parts = np.empty((len(self.weights), len(points)))
        for part, weight, mean, factor in zip(parts, self.weights, self.means, self.factors, strict=True):
            whitened = solve_triangular(factor, (points - mean).T, lower=True)
            squared = np.einsum("ij,ij->j", whitened, whitened)
            part[:] = np.log(weight) - np.log(np.diag(factor)).sum()
            part -= 0.5 * (degrees + n_dim) * np.log1p(squared / degrees)
        return constant + logsumexp(parts, axis=0)

    @property
    def mean_and_deviation(self) -> tuple[np.ndarray, np.ndarray]:
        """``(n_dim,)`` float each: the mean and the standard deviation of each coordinate."""
        mean = self.weights @ self.means
        scale = np.einsum("kij,kij->ki", self.factors, self.factors) * DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2.0)
        return mean, np.sqrt(self.weights @ (scale + (self.means - mean) ** 2))

    def draw(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """``(number, n_dim)`` float: independent draws."""
        chosen = rng.choice(len(self.weights), number, p=self.weights)
        scale = np.sqrt(DEGREES_OF_FREEDOM / rng.chisquare(DEGREES_OF_FREEDOM, number))
        normal = rng.standard_normal((number, self.means.shape[1]))
        return self.means[chosen] + scale[:, None] * np.einsum("nij,nj->ni", self.factors[chosen], normal)


def joined(mixtures: Sequence[Mixture]) -> Mixture:
    """One mixture of several, with equal shares."""
    if len(mixtures) == 1:
        return mixtures[0]
    weights = np.concatenate([mixture.weights for mixture in mixtures]) / len(mixtures)
    means, factors = (
        np.concatenate([getattr(mixture, name) for mixture in mixtures]) for name in Mixture._fields[1:]
    )
    return Mixture(weights, means, factors)


def effective_number(weights: np.ndarray) -> float:
    """Kish's effective number of equally weighted points."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def numbers_of_a_component(n_dim: int) -> int:
    """How many numbers describe a mean and a covariance: so many effective points one component needs at least."""
    return n_dim * (n_dim + 3) // 2


def fitted_mixture(points: np.ndarray, weights: np.ndarray, rng: np.random.Generator, at_least: int = 1) -> Mixture:
    """
    The mixture that describes weighted points best.

    It has ``at_least`` as many components as asked for where the points can tell so many, then twice and four times
    as many, for as long as more of them describe those points better that were kept from the fit.

    Parameters
    ----------
    points
        ``(n, n_dim)`` float.
    weights
        ``(n,)`` float, not negative, of any sum.
    rng
        Divides and draws the points, and starts each fit.
    at_least
        How many components to begin with.
    """
    fitted = rng.random(len(points)) < 0.7
    most = min(MAX_COMPONENTS, effective_number(weights[fitted]) / numbers_of_a_component(points.shape[1]))
    number = max(1, min(at_least, int(most)))
    chosen, best = number, -np.inf
    while number <= most:
        mixture = _fit(points[fitted], weights[fitted], number, rng)
        score = np.average(mixture.log_density(points[~fitted]), weights=weights[~fitted])
        if score < best + WORTHWHILE:
            break
        chosen, best, number = number, score, 2 * number
    return _with_defence(_fit(points, weights, chosen, rng), points, weights)


def _with_defence(mixture: Mixture, points: np.ndarray, weights: np.ndarray) -> Mixture:
    """A defensive mixture (Hesterberg 1995, Technometrics 37, 185)."""
    mean = np.average(points, axis=0, weights=weights)
    covariance = np.cov(points.T, aweights=weights).reshape(len(mean), len(mean))
    factor = np.linalg.cholesky(covariance + LEAST_VARIANCE * np.diag(_scale(np.sqrt(np.diag(covariance))) ** 2))
    return Mixture(
        np.append((1.0 - DEFENSIVE_SHARE) * mixture.weights, DEFENSIVE_SHARE),
        np.concatenate([mixture.means, mean[None]]),
        np.concatenate([mixture.factors, factor[None]]),
    )


def _fit(points: np.ndarray, weights: np.ndarray, n_components: int, rng: np.random.Generator) -> Mixture:
    """Expectation maximization on points drawn by their weights, which scikit-learn does not take."""
    drawn = points[rng.choice(len(points), FITTED_POINTS, p=weights / weights.sum())]
    spread = _scale(drawn.std(axis=0))
    gaussians = GaussianMixture(
        n_components,
        reg_covar=LEAST_VARIANCE,
        init_params="k-means++",
        max_iter=MAX_ITERATIONS,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture is judged by what it is worth
        gaussians.fit(drawn / spread)
    factors = np.linalg.cholesky(np.asarray(gaussians.covariances_)) * spread[:, None]
    weights = np.asarray(gaussians.weights_)
    return Mixture(weights / weights.sum(), np.asarray(gaussians.means_) * spread, factors)


def _scale(deviations: np.ndarray) -> np.ndarray:
    """Standard deviations to measure lengths in: 1, that of the prior, where the points do not vary."""
    return np.where(deviations > 0.0, deviations, 1.0)
