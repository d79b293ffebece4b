"""The evidence a second time, from draws of a density fitted to a finished run. NumPy and SciPy; no models or files.

All points are in the space where the prior is a standard normal. The density is fitted to the run's points, draws
from it are evaluated, and it is fitted again to the draws with their importance weights, a few times (adaptive
importance sampling: Cappé et al. 2004, J. Comput. Graph. Stat. 13, 907). The estimate takes the draws of the last
density alone: it was fitted to none of them, so the mean of their weights is the evidence without bias.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp
from scipy.stats import genpareto

from .density import Mixture, effective_number, fitted_mixture, numbers_of_a_component

# Of the draws, the share after which the density is not fitted again, and in how many rounds they come until then.
ADAPTING_SHARE, ADAPTING_ROUNDS = 0.75, 6
# A density is not fitted again if its draws are worth as many independent ones as this share of them.
GOOD_EFFICIENCY = 0.5
# The draws end before their number is spent once the log evidence is known as well as anybody asks.
SMALL_ERROR = 0.01
# How many draws are made for each effective sample asked for, before it is given up.
MAX_DRAWS_PER_EFFECTIVE = 100
# Above this the weights may have no variance (Vehtari et al. 2024, JMLR 25, 72).
MAX_PARETO_K = 0.7
MIN_EFFECTIVE = 100.0
# In standard errors, by how much two estimates of one number may differ.
MAX_DIFFERENCE = 4.0
# What an evidence by bridge sampling owes to the run's own posterior may be off by as much, in nats.
BRIDGE_TOLERANCE = 0.3


class RunPoints(NamedTuple):
    """
    The points of a finished run, the density's first: ``(n, n_dim)`` positions, ``(n,)`` log likelihoods and
    ``(n,)`` log posterior weights of any sum.
    """

    positions: np.ndarray
    log_likelihood: np.ndarray
    log_weights: np.ndarray


class Batch(NamedTuple):
    """
    Draws that were evaluated together.

    Attributes
    ----------
    round
        ``()`` int: which density they are from.
    density
        That density.
    positions
        ``(n, n_dim)`` float.
    log_likelihood
        ``(n,)`` float.
    """

    round: np.ndarray
    density: Mixture
    positions: np.ndarray
    log_likelihood: np.ndarray

    @property
    def log_weights(self) -> np.ndarray:
        """``(n,)`` float: log of likelihood times prior over the density they were drawn from."""
        log_prior = log_standard_normal(self.positions)
        return self.log_likelihood + log_prior - self.density.log_density(self.positions)


class SecondEvidence(NamedTuple):
    """
    The second evidence, or why there is none.

    Attributes
    ----------
    log_evidence, error
        By importance sampling; the error is the standard error and the distance to ``bridge``, in quadrature, since
        weights do not tell of what no draw reached.
    bridge, bridge_error
        By bridge sampling between the draws and the run's points (Meng & Wong 1996, Statistica Sinica 6, 831).
    draws
        Likelihood evaluations spent, those of the densities before the last among them.
    n_eff
        Kish's effective number of the last density's draws.
    pareto_k
        The shape of the weights' tail (Vehtari et al. 2024).
    unusable
        Why it must not be used, a sentence; empty if it may.
    """

    log_evidence: float
    error: float
    bridge: float
    bridge_error: float
    draws: int
    n_eff: float
    pareto_k: float
    unusable: str


class ImportanceSampler:
    """
    Draws, round after round, until the evidence is known and the posterior has the samples asked for.

    What it does next follows from its settings and the batches so far alone, so that an interrupted one that is given
    them again goes on alike.

    Parameters
    ----------
    run
        What the first density is fitted to, one half of it; the other is what it is compared with in the end.
    n_draws
        How many draws to make for the evidence, about.
    n_eff
        The effective number of samples to go on to; 0 for none.
    batch_size
        How many draws are evaluated together.
    seed
        Of the fits and draws.
    batches
        The batches so far; those to come are appended.
    """

    def __init__(self, run: RunPoints, n_draws: int, n_eff: int, batch_size: int, seed: int, batches: list[Batch]):
        fitted = np.random.default_rng(seed).random(len(run.log_likelihood)) < 0.5
        self._run = RunPoints(*(values[fitted] for values in run))
        self._kept_from_fits = RunPoints(*(values[~fitted] for values in run))
        self.n_draws = n_draws
        self._n_eff = n_eff
        self._batch_size = batch_size
        self._seed = seed
        self.batches = batches
        self._density = batches[-1].density if batches else None
        self._log_weights = [batch.log_weights for batch in batches]

    @property
    def draws(self) -> int:
        """How many draws were evaluated."""
        return sum(map(len, self._log_weights))

    @property
    def round(self) -> int:
        """Which density the newest draws are from, from 0."""
        return int(self.batches[-1].round) if self.batches else 0

    @property
    def log_weights(self) -> np.ndarray:
        """``(n,)`` float: those of the newest density's draws."""
        return np.concatenate([np.empty(0), *self._log_weights[self._first_of_round :]])

    @property
    def n_eff(self) -> float:
        """The effective number of the newest density's draws."""
        log_weights = self.log_weights
        return effective_number(_scaled(log_weights)) if len(log_weights) else 0.0

    @property
    def finished(self) -> bool:
        """Whether the draws suffice, or no more may be made."""
        if self.draws >= self.n_draws + MAX_DRAWS_PER_EFFECTIVE * self._n_eff:
            return True
        known = self.draws >= self.n_draws or (not self._fits_again and self._is_exact)
        return self.draws > 0 and known and self.n_eff >= self._n_eff

    def next_positions(self) -> np.ndarray:
        """``(batch_size, n_dim)`` float: the draws to evaluate next; fits a new density first if that is due."""
        rng = np.random.default_rng((self._seed, len(self.batches)))
        self._begins = self._density is None or self._fits_again
        if self._begins:
            before = 1 if self._density is None else len(self._density.weights)
            self._density = fitted_mixture(*self.weighted_points(), rng, at_least=before // 2)
        self._next = self._density.draw(self._batch_size, rng)
        return self._next

    def take(self, log_likelihood: np.ndarray) -> None:
        """Add the ``(batch_size,)`` log likelihoods of the positions given out last."""
        index = self.round + bool(self._begins and self.batches)
        batch = Batch(np.asarray(index), self._density, self._next, np.asarray(log_likelihood))
        self.batches.append(batch)
        self._log_weights.append(batch.log_weights)

    def last_draws(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions, log likelihoods and log weights of the last density's draws."""
        batches = self.batches[self._first_of_round :]
        positions, log_likelihood = (
            np.concatenate([getattr(batch, name) for batch in batches]) for name in ("positions", "log_likelihood")
        )
        return positions, log_likelihood, self.log_weights

    def evidence(self, run_effective: float) -> SecondEvidence:
        """
        What the draws say of the evidence.

        Parameters
        ----------
        run_effective
            The effective number of the run's points, for the error of the bridge.
        """
        positions, _, log_weights = self.last_draws()
        log_evidence, error = log_mean(log_weights)
        # At the run's own points a density that misses a part of the posterior is found out.
        rng = np.random.default_rng((self._seed, len(self.batches), 1))
        kept, weights = self._kept_from_fits, _scaled(self._kept_from_fits.log_weights)
        some = rng.choice(len(weights), min(5_000, len(weights)), p=weights / weights.sum())
        of_run = kept.log_likelihood[some] + log_standard_normal(kept.positions[some])
        of_run -= self._density.log_density(kept.positions[some])
        bridge, bridge_error = bridge_sampling(of_run, 0.5 * run_effective, log_weights)
        found = SecondEvidence(
            log_evidence,
            float(np.hypot(error, bridge - log_evidence)),
            bridge,
            bridge_error,
            self.draws,
            self.n_eff,
            pareto_k(log_weights),
            "",
        )
        return found._replace(unusable=_why_unusable(found, error, log_weights))

    @property
    def _first_of_round(self) -> int:
        return next((i for i, batch in enumerate(self.batches) if batch.round == self.round), 0)

    @property
    def _is_exact(self) -> bool:
        log_weights = self.log_weights
        return self.n_eff >= MIN_EFFECTIVE and log_mean(log_weights)[1] < SMALL_ERROR

    @property
    def _fits_again(self) -> bool:
        """Whether the newest density has had its share of the draws and is not good."""
        in_round = len(self.log_weights)
        before = self.draws - in_round
        adapting = before < ADAPTING_SHARE * self.n_draws
        share = ADAPTING_SHARE * self.n_draws / ADAPTING_ROUNDS if adapting else 2.0 * before
        return in_round >= share and self.n_eff < GOOD_EFFICIENCY * in_round

    def weighted_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Points of the posterior with weights: the draws so far, and those of the run where they are too few."""
        run_weights = _scaled(self._run.log_weights)
        run_weights *= effective_number(run_weights) / run_weights.sum()
        if not self.batches:
            return self._run.positions, run_weights
        positions = np.concatenate([batch.positions for batch in self.batches])
        weights = self._weights_among_all_densities(positions)
        if effective_number(weights) > numbers_of_a_component(positions.shape[1]):
            return positions, weights
        return np.concatenate([self._run.positions, positions]), np.concatenate([run_weights, weights])

    def _weights_among_all_densities(self, positions: np.ndarray) -> np.ndarray:
        """
        Weights as if all draws were from the mixture of all densities (Owen & Zhou 2000, JASA 95, 135), the largest
        of them cut (Ionides 2008, J. Comput. Graph. Stat. 17, 295): steadier, and what they are biased by matters to
        no evidence, as they serve a fit alone. They sum to their effective number.
        """
        shares, densities = {}, {}
        for batch in self.batches:
            index = int(batch.round)
            densities[index] = batch.density
            shares[index] = shares.get(index, 0.0) + len(batch.positions) / len(positions)
        proposal = logsumexp([np.log(shares[i]) + densities[i].log_density(positions) for i in shares], axis=0)
        log_likelihood = np.concatenate([batch.log_likelihood for batch in self.batches])
        weights = _scaled(log_likelihood + log_standard_normal(positions) - proposal)
        weights = np.minimum(weights, weights.mean() * np.sqrt(len(weights)))
        return weights * effective_number(weights) / weights.sum()


def default_draws(evaluations: int) -> int:
    """How many draws to make after a run of so many evaluations: 3% of them, but no more than are of use."""
    return min(50_000, evaluations // 33)


def log_standard_normal(points: np.ndarray) -> np.ndarray:
    """``(n,)`` float: the log density of the prior at ``(n, n_dim)`` points."""
    return -0.5 * (points**2).sum(axis=1) - 0.5 * points.shape[1] * np.log(2.0 * np.pi)


def log_mean(log_weights: np.ndarray) -> tuple[float, float]:
    """The log of the mean of ``(n,)`` weights, and its standard error."""
    number = len(log_weights)
    error = np.sqrt(max(0.0, 1.0 / effective_number(_scaled(log_weights)) - 1.0 / number))
    return float(logsumexp(log_weights) - np.log(number)), float(error)


def pareto_k(log_weights: np.ndarray) -> float:
    """The shape of the generalized Pareto distribution of the largest weights, as many as Vehtari et al. take."""
    number = len(log_weights)
    tail = int(min(0.2 * number, 3.0 * np.sqrt(number)))
    *_, above = np.split(np.sort(_scaled(log_weights)), [number - tail - 1])
    excess = above[1:] - above[0]
    if len(excess) < 5 or excess.max() <= 0.0:
        return float("inf")
    return float(genpareto.fit(excess / excess.mean(), floc=0.0)[0])


def bridge_sampling(of_run: np.ndarray, run_effective: float, of_draws: np.ndarray) -> tuple[float, float]:
    """
    The log evidence from the log of likelihood times prior over density at points of the posterior and at draws of
    the density, and its error (Meng & Wong 1996; Frühwirth-Schnatter 2004, Econometrics J. 7, 143).

    Parameters
    ----------
    of_run
        ``(m,)`` float, at points of the posterior.
    run_effective
        What those are worth in independent ones.
    of_draws
        ``(n,)`` float, at draws of the density.
    """
    share_of_run = run_effective / (run_effective + len(of_draws))
    log_share, log_rest = np.log(share_of_run), np.log1p(-share_of_run)
    log_evidence = logsumexp(of_draws) - np.log(len(of_draws))
    for _ in range(1000):
        at_draws = of_draws - np.logaddexp(log_share + of_draws, log_rest + log_evidence)
        at_run = -np.logaddexp(log_share + of_run, log_rest + log_evidence)
        before = log_evidence
        log_evidence = logsumexp(at_draws) - np.log(len(at_draws)) - logsumexp(at_run) + np.log(len(at_run))
        if abs(log_evidence - before) < 1e-10:
            break
    variance = sum(
        np.var(scaled) / np.mean(scaled) ** 2 / number
        for scaled, number in ((_scaled(at_draws), len(at_draws)), (_scaled(at_run), run_effective))
    )
    return float(log_evidence), float(np.sqrt(variance))


def _why_unusable(found: SecondEvidence, error: float, log_weights: np.ndarray) -> str:
    if found.n_eff < MIN_EFFECTIVE:
        return f"its draws are worth {found.n_eff:.0f} independent ones, and {MIN_EFFECTIVE:.0f} are needed"
    if found.pareto_k > MAX_PARETO_K:
        return f"a few draws carry most of the weight (Pareto k {found.pareto_k:.2f}, and {MAX_PARETO_K} is the most)"
    halves = [log_mean(half) for half in np.array_split(log_weights, 2)]
    (first, first_error), (second, second_error) = halves
    if abs(first - second) > MAX_DIFFERENCE * np.hypot(first_error, second_error):
        return (
            f"the halves of its draws disagree ({first:.2f} ± {first_error:.2f}, {second:.2f} ± {second_error:.2f})"
        )
    tolerance = MAX_DIFFERENCE * np.hypot(error, found.bridge_error) + BRIDGE_TOLERANCE
    if abs(found.bridge - found.log_evidence) > tolerance:
        return (
            f"importance sampling ({found.log_evidence:.2f} ± {error:.2f}) and bridge sampling "
            f"({found.bridge:.2f} ± {found.bridge_error:.2f}) disagree, so the density misses a part of the posterior"
        )
    return ""


def _scaled(log_weights: np.ndarray) -> np.ndarray:
    """The weights, relative to the largest."""
    return np.exp(log_weights - log_weights.max())
