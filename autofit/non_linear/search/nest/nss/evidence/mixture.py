"""A normalised density fitted to weighted points: a mixture of Student's t. Arrays only; no models, no evidences."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

# Tails heavier than a Gaussian's keep importance weights small, and cost few draws.
DEGREES_OF_FREEDOM = 10.0
# A fit sees at most so many points.
FITTED_POINTS = 10_000
MAX_COMPONENTS = 64
# Expectation maximization ends after so many iterations, or when an iteration gains less than this, in nats a point.
MAX_ITERATIONS, SMALL_GAIN = 40, 1e-3
# By how many nats a point more components must describe unseen points better to be worth their time.
WORTHWHILE = 0.01
# The share of one component as wide as all points together, which bounds the weights where the others leave gaps.
DEFENSIVE_SHARE = 0.1
# Keeps covariances from vanishing, relative to the variance of all points.
LEAST_VARIANCE = 1e-8


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
        parts = np.empty((len(self.weights), len(points)))
        for part, mean, factor in zip(parts, self.means, self.factors, strict=True):
            part[:] = np.square(solve_triangular(factor, (points - mean).T, lower=True)).sum(axis=0)
        return np.asarray(logsumexp(self.log_parts(parts), axis=0))

    def log_parts(self, squared: np.ndarray) -> np.ndarray:
        """``(k, n)`` float: each component's share of the density, in logs, at these squared distances from it."""
        degrees, n_dim = DEGREES_OF_FREEDOM, self.means.shape[1]
        constant = gammaln(0.5 * (degrees + n_dim)) - gammaln(0.5 * degrees) - 0.5 * n_dim * np.log(degrees * np.pi)
        heights = constant + np.log(self.weights) - np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        return heights[:, None] - 0.5 * (degrees + n_dim) * np.log1p(squared / degrees)

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


def joined(mixtures: Sequence[Mixture], shares: Sequence[float]) -> Mixture:
    """One mixture of several; the shares sum to one."""
    weights = [share * mixture.weights for share, mixture in zip(shares, mixtures, strict=True)]
    means, factors = zip(*(mixture[1:] for mixture in mixtures), strict=True)
    return Mixture(*map(np.concatenate, (weights, means, factors)))


def effective_number(weights: np.ndarray) -> float:
    """Kish's effective number of equally weighted points."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def fitted_mixture(points: np.ndarray, weights: np.ndarray, rng: np.random.Generator, at_least: int = 1) -> Mixture:
    """
    The mixture that describes weighted points best.

    It has ``at_least`` as many components as asked for where the points can tell so many, then twice and four times
    as many, for as long as more of them describe those points better that were kept from the fit. To these is added
    a defensive component (Hesterberg 1995, Technometrics 37, 185).

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

    Raises
    ------
    numpy.linalg.LinAlgError
        If the points span no volume that floating point numbers resolve.
    """
    n_dim, fitted = points.shape[1], rng.random(len(points)) < 0.7
    numbers_of_a_component = n_dim * (n_dim + 3) / 2
    most = min(MAX_COMPONENTS, effective_number(weights[fitted]) / numbers_of_a_component)
    number = max(1, min(at_least, int(most)))
    chosen, best = number, -np.inf
    while number <= most:
        mixture = _fit(points[fitted], weights[fitted], number, rng)
        score = np.average(mixture.log_density(points[~fitted]), weights=weights[~fitted])
        if score < best + WORTHWHILE:
            break
        chosen, best, number = number, score, 2 * number
    wide = Mixture(np.ones(1), *(x[None] for x in _mean_and_factor(points, weights)))
    return joined([_fit(points, weights, chosen, rng), wide], [1.0 - DEFENSIVE_SHARE, DEFENSIVE_SHARE])


def _fit(points: np.ndarray, weights: np.ndarray, n_components: int, rng: np.random.Generator) -> Mixture:
    """
    Expectation maximization (Peel & McLachlan 2000, Statistics and Computing 10, 339) where all points together have
    unit covariance.

    Squared distances are linear in the products of coordinates, and so are the moments of a component. Two matrix
    products are therefore an iteration.
    """
    points, counts = _resampled(points, weights, rng)
    mean, factor = _mean_and_factor(points, counts)
    white = solve_triangular(factor, (points - mean).T, lower=True).T
    n_dim, (i, j) = white.shape[1], np.triu_indices(white.shape[1])
    products = np.column_stack([np.ones(len(white)), white, white[:, i] * white[:, j]])
    mixture, before = _start(white, counts, n_components, rng), -np.inf
    for _ in range(MAX_ITERATIONS):
        squared = np.maximum(_coefficients(mixture) @ products.T, 0.0)
        parts = mixture.log_parts(squared)
        log_density = np.asarray(logsumexp(parts, axis=0))
        if (score := np.average(log_density, weights=counts)) < before + SMALL_GAIN:
            break
        before = score
        mass = np.exp(parts - log_density) * counts
        heard = mass.sum(axis=1) > 1e-6 * counts.sum()
        mass = mass[heard]
        near = mass * (DEGREES_OF_FREEDOM + n_dim) / (DEGREES_OF_FREEDOM + squared[heard])
        total, first, second = np.split(near @ products, [1, 1 + n_dim], axis=1)
        means, scatter = first / total, np.empty((len(mass), n_dim, n_dim))
        scatter[:, i, j] = scatter[:, j, i] = second - total * means[:, i] * means[:, j]
        # As if each component had a few points more, scattered as those of all components are around theirs.
        held, more = mass.sum(axis=1), n_dim + 2
        scatter += more * scatter.sum(axis=0) / held.sum()
        covariance = scatter / (held + more)[:, None, None] + LEAST_VARIANCE * np.eye(n_dim)
        mixture = Mixture(held / held.sum(), means, np.linalg.cholesky(covariance))
    return Mixture(mixture.weights, mean + mixture.means @ factor.T, factor @ mixture.factors)


def _resampled(points: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points drawn systematically by their weights, and how often each was, summing to their effective number."""
    cumulative = np.cumsum(weights) / weights.sum()
    drawn = np.searchsorted(cumulative, (np.arange(FITTED_POINTS) + rng.random()) / FITTED_POINTS)
    index, counts = np.unique(np.minimum(drawn, len(points) - 1), return_counts=True)
    effective = min(effective_number(weights), effective_number(counts))
    return points[index], counts * effective / FITTED_POINTS


def _mean_and_factor(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of weighted points and the Cholesky factor of their covariance, 1 where they do not vary."""
    covariance = np.cov(points.T, aweights=weights).reshape(points.shape[1], -1)
    variance = np.diag(covariance)
    covariance += np.diag(np.where(variance > 0.0, LEAST_VARIANCE * variance, 1.0))
    return np.average(points, axis=0, weights=weights), np.linalg.cholesky(covariance)


def _start(white: np.ndarray, counts: np.ndarray, n_components: int, rng: np.random.Generator) -> Mixture:
    """Components where k-means++ finds clusters, all as wide as these are on average."""
    some = white[rng.choice(len(white), min(4_000, len(white)), p=counts / counts.sum())]
    with warnings.catch_warnings(action="ignore"):  # of empty clusters, to which no harm is done
        centres, label = kmeans2(some, n_components, iter=5, minit="++", rng=rng)
    within = np.cov((some - centres[label]).T).reshape(some.shape[1], -1) + 1e-6 * np.eye(some.shape[1])
    shares = (np.bincount(label, minlength=n_components) + 1.0) / (len(some) + n_components)
    return Mixture(shares, centres, np.repeat(np.linalg.cholesky(within)[None], n_components, axis=0))


def _coefficients(mixture: Mixture) -> np.ndarray:
    """``(k, ...)`` float: those of each component's squared distance in the products of coordinates."""
    i, j = np.triu_indices(mixture.means.shape[1])
    inverse = np.linalg.inv(mixture.factors)
    precision = np.swapaxes(inverse, 1, 2) @ inverse
    linear = np.einsum("kij,kj->ki", precision, mixture.means)
    constant = np.einsum("ki,ki->k", linear, mixture.means)
    return np.column_stack([constant, -2.0 * linear, precision[:, i, j] * np.where(i == j, 1.0, 2.0)])
