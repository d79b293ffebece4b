"""The evidence a second time, by bridge sampling between a finished run and draws of a density. NumPy; no models.

All points are in the space where the prior is a standard normal. A density is *adapted*: fitted to the run's points,
drawn from, fitted again to the draws with their importance weights (Cappé et al. 2004, J. Comput. Graph. Stat. 13,
907). Then it is *frozen*, and all that is reported comes from draws of it that served no fit, and from that half of
the run's points that served none either.

Importance weights alone do not tell of what no draw reached: where a posterior bends, the density lacks a part of its
tails, and the mean of the weights is too low by more than their scatter says. Bridge sampling (Meng & Wong 1996,
Statistica Sinica 6, 831) compares the draws with points of the posterior, and all that it averages is bounded.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from .draws import Drawing, Draws, RunPoints
from .mixture import Mixture, effective_number, fitted_mixture, joined
from .weights import KNOWN_SHARE, bounded, bridge_sampling, independent_samples, log_mean, log_ratios

# The shares of an attempt's draws: of each round that adapts the density, of the pilot, and of the draws that count.
ADAPTING, PILOT, COUNTING = (1 / 16, 1 / 8, 1 / 4), 1 / 16, 1 / 2
FEWEST_DRAWS = 10
# How many draws a density is adapted with, for each effective sample asked for.
ADAPTED_PER_EFFECTIVE = 8
# A density is not adapted further if its draws are worth as many independent ones as this share of them.
GOOD_EFFICIENCY = 0.5
# Where the second evidence cannot be used, another attempt is made with so many times the draws.
ATTEMPTS, GROWTH = 3, 3
# Draws for the evidence end where the standard error of its logarithm would be this small.
SMALL_ERROR = 0.01
# How many draws are made at most for each effective sample asked for, and how many more than a pilot says.
MAX_DRAWS_PER_EFFECTIVE, MARGIN = 100, 1.2
# The second evidence is used up to this error, where the density knows at least this share of the posterior, and
# the draws are worth at least so many independent ones.
MAX_ERROR, LEAST_KNOWN, MIN_EFFECTIVE = 0.3, 0.5, 100.0


class SecondEvidence(NamedTuple):
    """
    The second evidence, or why there is none.

    Attributes
    ----------
    log_evidence, error
        By bridge sampling between the draws that count and the run's points. The error adds in quadrature that of
        bridge sampling and the difference from ``by_importance``, since relatives of these points served the fits.
    by_importance, by_importance_error
        From the same draws alone: the mean of their bounded weights, and its standard error.
    draws
        Likelihood evaluations spent, those of the other densities among them.
    attempts
        How often a density was adapted and frozen.
    n_eff
        How many independent samples of the posterior the draws and the run's points are worth together.
    unusable
        Why it must not be used, a sentence; empty if it may.
    """

    log_evidence: float
    error: float
    by_importance: float
    by_importance_error: float
    draws: int
    attempts: int
    n_eff: float
    unusable: str


def second_evidence(
    run: RunPoints, drawing: Drawing, n_draws: int, n_eff: int, seed: int, known: Sequence[Mixture] = ()
) -> SecondEvidence:
    """
    Adapt a density, freeze it, and judge what its draws say; again with more draws where that cannot be used.

    Parameters
    ----------
    run
        The points of the run.
    drawing
        Makes the draws.
    n_draws
        How many draws to make for the evidence at the first attempt, at most.
    n_eff
        The effective number of samples to go on to; 0 for none.
    seed
        Of the fits.
    known
        Densities that were known before the run; they are a part of the first.
    """
    fitted, kept = run.halves(seed)
    earlier: list[Draws] = []
    for attempt in range(ATTEMPTS):
        budget = GROWTH**attempt * max(n_draws, ADAPTED_PER_EFFECTIVE * n_eff)

        def adapted(share: float) -> Draws:
            fit = partial(fitted_density, fitted, earlier, known, seed)
            earlier.append(drawing.draws(len(earlier), fit, max(FEWEST_DRAWS, int(share * budget))))  # noqa: B023
            return earlier[-1]

        for share in ADAPTING:
            if adapted(share).efficiency > GOOD_EFFICIENCY:
                break
        pilot = adapted(PILOT)
        density, stage = pilot.density, len(earlier)
        for_evidence = min(COUNTING * GROWTH**attempt * n_draws, (1.0 / pilot.efficiency - 1.0) / SMALL_ERROR**2)
        number = max(int(for_evidence), FEWEST_DRAWS, _number_for(n_eff, n_eff, pilot.efficiency))
        counting = drawing.draws(stage, lambda: density, number)  # noqa: B023
        found = judged(kept, counting)
        # If it is less than half, the run's points limit it, and more draws would not help.
        if n_eff / 2 <= found.n_eff < n_eff and not found.unusable:
            number += min(number, _number_for(n_eff, n_eff - found.n_eff, found.n_eff / number))
            found = judged(kept, counting := drawing.draws(stage, lambda: density, number))  # noqa: B023
        earlier.append(counting)
        found = found._replace(draws=sum(len(batch.positions) for batch in drawing.batches), attempts=attempt + 1)
        if not found.unusable:
            break
    return found


def _number_for(n_eff: int, missing: float, efficiency: float) -> int:
    """How many draws give so many effective samples; none if they are out of reach."""
    number = MARGIN * missing / efficiency
    return int(number) if number <= MAX_DRAWS_PER_EFFECTIVE * n_eff else 0


def fitted_density(run: RunPoints, earlier: Sequence[Draws], known: Sequence[Mixture], seed: int) -> Mixture:
    """
    A density fitted to all earlier draws, or, before there are any, to points of the run and joined with what is
    known.

    Draws are weighted as if all were from the mixture of all their densities (Owen & Zhou 2000, JASA 95, 135), the
    largest weights cut (Ionides 2008, J. Comput. Graph. Stat. 17, 295): steadier, and what that biases is no
    evidence. Points of the run serve later fits only where the draws are too few to tell a covariance: a density
    that follows them would pass for a better one in the comparison with their relatives that were kept.
    """
    rng = np.random.default_rng((seed, len(earlier)))
    if not earlier:
        fitted = fitted_mixture(run.positions, run.weights, rng)
        return joined([fitted, *known], [1.0 / (1 + len(known))] * (1 + len(known)))
    positions, log_likelihood = (
        np.concatenate([getattr(draws, name) for draws in earlier]) for name in ("positions", "log_likelihood")
    )
    shares = [len(draws.positions) / len(positions) for draws in earlier]
    densities = joined([draws.density for draws in earlier], shares)
    weights = softmax(bounded(log_ratios(densities, positions, log_likelihood)))
    effective = effective_number(weights)
    if effective < 2 * (run.positions.shape[1] + 2):
        positions = np.concatenate([run.positions, positions])
        weights = np.concatenate([run.effective * run.weights, effective * weights])
    return fitted_mixture(positions, weights, rng, at_least=(len(earlier[-1].density.weights) - 1) // 2)


def judged(kept: RunPoints, draws: Draws) -> SecondEvidence:
    """The evidence from draws of one density and the run's points, none of which served a fit."""
    log_weights = draws.log_weights
    by_importance, importance_error = log_mean(bounded(log_weights))
    of_run = log_ratios(draws.density, kept.positions, kept.log_likelihood)
    log_evidence, error = bridge_sampling(of_run, kept.weights, kept.effective, log_weights)
    positions, _, pooled = posterior_samples(kept, draws, log_evidence)
    of_a_point = min(1.0, kept.effective / effective_number(kept.weights))
    worth = np.repeat([of_a_point, 1.0], [len(kept.positions), len(draws.positions)])
    found = SecondEvidence(
        log_evidence,
        float(np.hypot(error, log_evidence - by_importance)),
        by_importance,
        importance_error,
        len(log_weights),
        1,
        independent_samples(positions, pooled, worth),
        "",
    )
    known = float(kept.weights @ (of_run - log_evidence < -np.log(KNOWN_SHARE)))
    of_draws = independent_samples(draws.positions, bounded(log_weights))
    return found._replace(unusable=_why_unusable(found, known, of_draws))


def _why_unusable(found: SecondEvidence, known: float, worth: float) -> str:
    if worth < MIN_EFFECTIVE:
        return f"its draws are worth {worth:.0f} independent ones, and {MIN_EFFECTIVE:.0f} are needed"
    if known < LEAST_KNOWN:
        return f"the density knows {known:.0%} of the run's posterior, and {LEAST_KNOWN:.0%} are needed"
    if not found.error < MAX_ERROR:
        return (
            f"its error is {found.error:.2f}, and {MAX_ERROR} is the most: by bridge sampling it is "
            f"{found.log_evidence:.2f}, by importance sampling {found.by_importance:.2f}"
        )
    return ""


def posterior_samples(
    kept: RunPoints, draws: Draws, log_evidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    The run's points and the draws together: positions, log likelihoods, and log weights that sum to the evidence.

    A point's weight is the posterior's density over that of the mixture of both, as many of each as they are worth
    (Shirts & Chodera 2008, J. Chem. Phys. 129, 124105), so that no draw weighs much more than a point of the run.
    """
    positions = np.concatenate([kept.positions, draws.positions])
    log_likelihood = np.concatenate([kept.log_likelihood, draws.log_likelihood])
    ratios = log_ratios(draws.density, positions, log_likelihood) - log_evidence
    with np.errstate(divide="ignore"):
        numbers = np.log(np.concatenate([kept.effective * kept.weights, np.ones(len(draws.positions))]))
    weights = numbers + ratios - np.logaddexp(np.log(kept.effective) + ratios, np.log(len(draws.positions)))
    return positions, log_likelihood, weights - logsumexp(weights) + log_evidence


def unknown_shares(
    known: Sequence[Mixture], positions: np.ndarray, log_likelihood: np.ndarray, log_weights: np.ndarray
) -> list[float]:
    """Which share of the posterior, told by ``posterior_samples``, each density does not know."""
    log_evidence = logsumexp(log_weights)
    weights = softmax(log_weights)
    return [
        float(weights @ (log_ratios(density, positions, log_likelihood) - log_evidence > -np.log(KNOWN_SHARE)))
        for density in known
    ]
