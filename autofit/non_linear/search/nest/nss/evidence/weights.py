"""Weights of points of a posterior and of draws of a density, and what is estimated from them. NumPy; no models.

All points are in the space where the prior is a standard normal.
"""

import numpy as np
from scipy.special import logsumexp, softmax

from .mixture import Mixture, effective_number

# A density knows a point of the posterior if it is at least this share of the posterior's density there.
KNOWN_SHARE = 0.05


def log_ratios(density: Mixture, positions: np.ndarray, log_likelihood: np.ndarray) -> np.ndarray:
    """``(n,)`` float: log of likelihood times prior over the density at ``(n, n_dim)`` positions."""
    return log_likelihood + log_standard_normal(positions) - density.log_density(positions)


def log_standard_normal(positions: np.ndarray) -> np.ndarray:
    """``(n,)`` float: the log density of the prior at ``(n, n_dim)`` positions."""
    return -0.5 * (positions**2).sum(axis=1) - 0.5 * positions.shape[1] * np.log(2.0 * np.pi)


def bounded(log_weights: np.ndarray) -> np.ndarray:
    """Log weights, none of them above the square root of their number times their mean (Ionides 2008)."""
    return np.minimum(log_weights, logsumexp(log_weights) - 0.5 * np.log(len(log_weights)))


def independent_samples(positions: np.ndarray, log_weights: np.ndarray, worth: np.ndarray | float = 1.0) -> float:
    """
    How many independent samples of the posterior weighted draws are worth: Kish's number, or what the scatter of the
    posterior means says if that is less.

    Kish's takes no notice of where the heavy weights are, and they are in the tails. The scatter is the variance of
    each parameter's weighted mean over that of the parameter (Owen 2013, Monte Carlo theory, methods and examples,
    section 9.2), averaged over the parameters.

    Parameters
    ----------
    positions
        ``(n, n_dim)`` float.
    log_weights
        ``(n,)`` float, of any sum.
    worth
        ``(n,)`` float: how many independent ones each is worth.
    """
    weights = softmax(log_weights)
    squared = (positions - weights @ positions) ** 2
    variance = weights @ squared
    varies = variance > 0.0
    scatter = (weights**2 / worth @ squared)[varies] / variance[varies]
    return float(1.0 / max(np.sum(weights**2 / worth), scatter.mean() if varies.any() else 1.0))


def log_mean(log_weights: np.ndarray) -> tuple[float, float]:
    """The log of the mean of ``(n,)`` weights, and its standard error."""
    number = len(log_weights)
    effective = effective_number(np.exp(log_weights - log_weights.max()))
    return float(logsumexp(log_weights) - np.log(number)), float(np.sqrt(max(0.0, 1.0 / effective - 1.0 / number)))


def bridge_sampling(
    of_run: np.ndarray, run_weights: np.ndarray, run_effective: float, of_draws: np.ndarray
) -> tuple[float, float]:
    """
    The log evidence from the log of likelihood times prior over density at points of the posterior and at draws of
    the density, and its error (Meng & Wong 1996; Frühwirth-Schnatter 2004, Econometrics J. 7, 143).

    Parameters
    ----------
    of_run
        ``(m,)`` float, at points of the posterior.
    run_weights
        ``(m,)`` float: the posterior weights of these, which sum to one.
    run_effective
        How many independent samples they are worth.
    of_draws
        ``(n,)`` float, at draws of the density.
    """
    share_of_run = run_effective / (run_effective + len(of_draws))
    log_share, log_rest = np.log(share_of_run), np.log1p(-share_of_run)
    log_evidence = logsumexp(of_draws) - np.log(len(of_draws))
    at_draws, at_run = of_draws, of_run
    for _ in range(1000):
        at_draws = of_draws - np.logaddexp(log_share + of_draws, log_rest + log_evidence)
        at_run = -np.logaddexp(log_share + of_run, log_rest + log_evidence)
        before = log_evidence
        log_evidence = logsumexp(at_draws) - np.log(len(at_draws)) - logsumexp(at_run, b=run_weights)
        if abs(log_evidence - before) < 1e-10:
            break
    at_draws, at_run = np.exp(at_draws - at_draws.max()), np.exp(at_run - at_run.max())
    at_draws, at_run = at_draws / at_draws.mean(), at_run / (run_weights @ at_run)
    variance = at_draws.var() / len(at_draws) + run_weights @ (at_run - 1.0) ** 2 / run_effective
    return float(log_evidence), float(np.sqrt(variance))
