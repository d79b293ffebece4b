"""From dead points to weights, evidence and their errors. NumPy only: what happens once sampling is done.

The estimators are those of ``blackjax.ns.utils``: the effective number of live points of Fowlie, Handley & Su
(2021, MNRAS 503, 1199) and the simulated prior volumes of Skilling (2006, Bayesian Analysis 1, 833).
"""

from typing import NamedTuple

import numpy as np


class Posterior(NamedTuple):
    """
    Attributes
    ----------
    log_weights
        ``(n,)`` float: log of each point's posterior weight, averaged over the simulated prior volumes and
        scaled so that the weights sum to the evidence.
    log_evidences
        ``(n_simulations,)`` float: the log evidence under each simulation of the prior volumes.
    effective_sample_size
        Kish's effective number of equally weighted samples.
    """

    log_weights: np.ndarray
    log_evidences: np.ndarray
    effective_sample_size: float


def effective_live_points(log_likelihood_birth: np.ndarray, sorted_log_likelihood: np.ndarray) -> np.ndarray:
    """
    The number of live points just before each death, ``(n,)`` int (Fowlie, Handley & Su 2021).

    A batch of deaths counts as that many single deaths. A NaN birth is a draw from the whole prior.

    Parameters
    ----------
    log_likelihood_birth
        ``(n,)`` the contour above which each point was born, in any order.
    sorted_log_likelihood
        ``(n,)`` the log likelihood of each point, ascending.
    """
    births = np.sort(np.where(np.isnan(log_likelihood_birth), -np.inf, log_likelihood_birth))
    born_below = np.searchsorted(births, sorted_log_likelihood, side="left")
    return np.maximum(born_below - np.arange(len(births)), 1)


def simulate_log_shells(n_live: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """
    One simulation of the log prior volume of each point's shell, ``(n,)`` (Skilling 2006).

    The volume shrinks by a factor distributed as the largest of ``n_live`` uniforms at each death, and a shell
    is half the volume between a point's neighbours.

    Parameters
    ----------
    n_live
        ``(n,)`` the number of live points at each death.
    uniform
        ``(n,)`` uniform random numbers in [0, 1).
    """
    log_volume = np.cumsum(np.log1p(-uniform) / n_live)
    outer = np.concatenate([[0.0], log_volume[:-1]])
    inner = np.concatenate([log_volume[1:], [-np.inf]])
    shrinkage = np.minimum(inner - outer, -np.finfo(float).eps)
    return outer + np.log(-0.5 * np.expm1(shrinkage))


def posterior_from(
    log_likelihood: np.ndarray,
    log_likelihood_birth: np.ndarray,
    rng: np.random.Generator,
    n_simulations: int = 100,
) -> Posterior:
    """
    The weights and the evidence of a finished run: its dead points followed by its last live points.

    The posterior is averaged over simulations of the prior volumes, each of them normalised: a mean of weights,
    not of their logarithms, which would favour neither the typical nor the mean volume.

    Parameters
    ----------
    log_likelihood, log_likelihood_birth
        ``(n,)`` float: the log likelihood of each point, and the contour above which it was born.
    rng
        Draws the prior volumes.
    n_simulations
        How many simulations of the prior volumes to average over.
    """
    order = np.argsort(log_likelihood, kind="stable")
    log_likelihood = log_likelihood[order].astype(np.float64)
    n_live = effective_live_points(log_likelihood_birth, log_likelihood)

    log_evidences = np.empty(n_simulations)
    mean_weights = np.zeros(len(order))
    for simulation in range(n_simulations):
        log_weights = log_likelihood + simulate_log_shells(n_live, rng.random(len(order)))
        largest = log_weights.max()
        weights = np.exp(log_weights - largest)
        log_evidences[simulation] = largest + np.log(weights.sum())
        mean_weights += weights / (weights.sum() * n_simulations)

    log_weights = np.empty(len(order))
    with np.errstate(divide="ignore"):
        log_weights[order] = np.log(mean_weights) + log_evidences.mean()
    return Posterior(log_weights, log_evidences, float(mean_weights.sum() ** 2 / (mean_weights**2).sum()))
