"""The evidence a second time, from draws of a density fitted to a finished run. NumPy and SciPy; no models or files.

All points are in the space where the prior is a standard normal. The density is fitted to the run's points, draws
from it are evaluated, and it is fitted again to the draws with their importance weights, a few times (adaptive
importance sampling: Cappé et al. 2004, J. Comput. Graph. Stat. 13, 907). An estimate takes the draws of one density
alone: it was fitted to none of them, so the mean of their weights is the evidence without bias.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp
from scipy.stats import genpareto

from .density import Mixture, effective_number, fitted_mixture, joined, numbers_of_a_component

# Among how many densities the draws for the evidence are divided, and how many of those serve later fits alone.
ROUNDS, ADAPTING_ROUNDS = 8, 4
# After these the draws grow by this factor before a density is fitted again.
GROWTH = 3.0
# A density is not fitted again if its draws are worth as many independent ones as this share of them.
GOOD_EFFICIENCY = 0.5
# The draws end before their number is spent once the log evidence is known as well as anybody asks, or where a good
# density is not to be had, well enough to compare models.
SMALL_ERROR, GOOD_ERROR = 0.01, 0.1
# How many draws are made for each effective sample asked for, before it is given up; sooner where it would take
# densities that are each more than so many times as good as the one before.
MAX_DRAWS_PER_EFFECTIVE, HOPED_FOR = 100, 10.0
# Above this the weights may have no variance (Vehtari et al. 2024, JMLR 25, 72).
MAX_PARETO_K = 0.7
MIN_EFFECTIVE = 100.0
# A density whose draws are worth a smaller share of themselves lacks parts of the posterior, which they seldom reach.
MIN_EFFICIENCY = 0.01
# In standard errors, by how much two estimates of one number may differ.
MAX_DIFFERENCE = 4.0
# What an evidence by bridge sampling owes to the run's own posterior may be off by as much, in nats.
BRIDGE_TOLERANCE = 0.3
# A density knows a point of the posterior if it is at least this share of the posterior's density there.
KNOWN_SHARE = 0.01
# So many draws are made at least where something was known before the run, which then made few evaluations itself.
LEAST_WITH_START = 2_000
# And so many times as many at most, while they are worth enough but pass no check.
TRIES_WITH_START = 5


class RunPoints(NamedTuple):
    """
    The points of a finished run, to which the first density is fitted.

    Attributes
    ----------
    positions
        ``(n, n_dim)`` float.
    log_likelihood
        ``(n,)`` float.
    log_weights
        ``(n,)`` float: log posterior weights of any sum.
    effective
        How many independent samples of the posterior they are worth.
    """

    positions: np.ndarray
    log_likelihood: np.ndarray
    log_weights: np.ndarray
    effective: float

    def half(self, chosen: np.ndarray) -> "RunPoints":
        """Those of a mask that holds for about one half of them."""
        positions, log_likelihood, log_weights = (values[chosen] for values in self[:3])
        return RunPoints(positions, log_likelihood, log_weights, 0.5 * self.effective)


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
        Likelihood evaluations spent, those of the other densities among them.
    n_eff
        How many independent samples the density's draws are worth (``independent_samples``).
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
    known
        Densities that were known before the run; they are a part of the first.

    Attributes
    ----------
    next
        The batch to be evaluated, with NaN for its log likelihoods.
    """

    next: Batch

    def __init__(
        self,
        run: RunPoints,
        n_draws: int,
        n_eff: int,
        batch_size: int,
        seed: int,
        batches: list[Batch],
        known: Sequence[Mixture] = (),
    ) -> None:
        fitted = np.random.default_rng(seed).random(len(run.log_likelihood)) < 0.5
        self._run, self._kept_from_fits = run.half(fitted), run.half(~fitted)
        self.n_draws = n_draws
        self._n_eff = n_eff
        self._batch_size = batch_size
        self._seed = seed
        self.batches = batches
        self._known = known
        self._log_weights = [batch.log_weights for batch in batches]
        self._found = {}

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
        return self._log_weights_of(self.round)

    @property
    def n_eff(self) -> float:
        """How many independent samples the newest density's draws are worth."""
        if not self.batches:
            return 0.0
        positions, _, log_weights = self.last_draws()
        return independent_samples(positions, _scaled(log_weights))

    @property
    def finished(self) -> bool:
        """Whether the draws suffice, or no more may be made."""
        if self.draws >= self._most_draws:
            return True
        known = self.draws >= self.n_draws or self._is_exact or self._is_known
        return known and (self.n_eff >= self._n_eff or self._is_hopeless) and not self._tries_again

    def next_positions(self) -> np.ndarray:
        """``(batch_size, n_dim)`` float: the draws to evaluate next; fits a new density first if that is due."""
        rng = np.random.default_rng((self._seed, len(self.batches)))
        density, index = (self.batches[-1].density, self.round) if self.batches else (None, -1)
        if density is None or self._fits_again:
            before = 1 if density is None else len(density.weights)
            fitted = fitted_mixture(*self.weighted_points(), rng, at_least=before // 2)
            density, index = fitted if self.batches else joined([fitted, *self._known]), index + 1
        positions = density.draw(self._batch_size, rng)
        self.next = Batch(np.asarray(index), density, positions, np.full(len(positions), np.nan))
        return positions

    def take(self, log_likelihood: np.ndarray) -> None:
        """Add the ``(batch_size,)`` log likelihoods of the positions of ``next``."""
        batch = self.next._replace(log_likelihood=np.asarray(log_likelihood))
        self.batches.append(batch)
        self._log_weights.append(batch.log_weights)

    def last_draws(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions, log likelihoods and log weights of the newest density's draws."""
        batches = self._batches_of(self.round)
        positions, log_likelihood = (
            np.concatenate([getattr(batch, name) for batch in batches]) for name in ("positions", "log_likelihood")
        )
        return positions, log_likelihood, self.log_weights

    def evidence(self) -> SecondEvidence:
        """What the draws say of the evidence: the best known that may be used, or why the newest may not."""
        usable = [found for found in map(self._evidence_of, self._judged) if not found.unusable]
        return min(usable, key=lambda found: found.error, default=self._evidence_of(self.round))._replace(
            draws=self.draws
        )

    def unknown(self) -> list[float]:
        """Which share of the posterior each density of ``known`` does not know, as the newest draws tell it."""
        positions, log_likelihood, log_weights = self.last_draws()
        weights = _scaled(log_weights) / _scaled(log_weights).sum()
        log_posterior = log_likelihood + log_standard_normal(positions) - log_mean(log_weights)[0]
        return [
            min(1.0, float(weights @ (density.log_density(positions) - log_posterior < np.log(KNOWN_SHARE))))
            for density in self._known
        ]

    def _evidence_of(self, index: int) -> SecondEvidence:
        """What the draws of one density say; remembered, as those of an older density are complete."""
        log_weights = self._log_weights_of(index)
        key = index, len(log_weights)
        if key not in self._found:
            self._found[key] = self._second_evidence(self._batches_of(index), log_weights)
        return self._found[key]

    def _second_evidence(self, batches: list[Batch], log_weights: np.ndarray) -> SecondEvidence:
        log_evidence, error = log_mean(log_weights)
        # At the run's own points a density that misses a part of the posterior is found out.
        kept, weights = self._kept_from_fits, _scaled(self._kept_from_fits.log_weights)
        rng = np.random.default_rng((self._seed, int(batches[0].round), 1))
        some = rng.choice(len(weights), min(5_000, len(weights)), p=weights / weights.sum())
        of_run = kept.log_likelihood[some] + log_standard_normal(kept.positions[some])
        of_run -= batches[0].density.log_density(kept.positions[some])
        bridge, bridge_error = bridge_sampling(of_run, kept.effective, log_weights)
        found = SecondEvidence(
            log_evidence,
            float(np.hypot(error, bridge - log_evidence)),
            bridge,
            bridge_error,
            len(log_weights),
            independent_samples(np.concatenate([batch.positions for batch in batches]), _scaled(log_weights)),
            pareto_k(log_weights),
            "",
        )
        return found._replace(unusable=_why_unusable(found, error, log_weights))

    def _batches_of(self, index: int) -> list[Batch]:
        return [batch for batch in self.batches if batch.round == index]

    def _log_weights_of(self, index: int) -> np.ndarray:
        of_round = [w for batch, w in zip(self.batches, self._log_weights, strict=True) if batch.round == index]
        return np.concatenate([np.empty(0), *of_round])

    @property
    def _judged(self) -> list[int]:
        """The later densities that have had their share of the draws."""
        return [index for index in range(ADAPTING_ROUNDS, self.round + 1) if self._has_its_share(index)]

    def _has_its_share(self, index: int) -> bool:
        return len(self._log_weights_of(index)) >= self.n_draws / ROUNDS

    @property
    def _is_exact(self) -> bool:
        """Whether the newest density is good, and its draws tell all that anybody asks."""
        log_weights = self.log_weights
        in_round = len(log_weights)
        return (
            in_round > 0
            and not self._fits_again
            and self.n_eff >= MIN_EFFECTIVE
            and log_mean(log_weights)[1] < SMALL_ERROR
        )

    @property
    def _is_known(self) -> bool:
        """Whether no density is good, but one of the later ones tells the evidence well enough."""
        return self._fits_again and any(
            not found.unusable and found.error < GOOD_ERROR for found in map(self._evidence_of, self._judged)
        )

    @property
    def _most_draws(self) -> int:
        return self.n_draws + MAX_DRAWS_PER_EFFECTIVE * self._n_eff

    @property
    def _is_hopeless(self) -> bool:
        """
        Whether the samples asked for are out of reach, even if each density to come is much better. Never with what
        was known before the run: it might be good, and to give it up costs another run.
        """
        if self._known or not self._is_due:
            return False
        densities_left = np.log(self._most_draws / self.draws) / np.log(GROWTH)
        efficiency = self.n_eff / len(self.log_weights) * HOPED_FOR**densities_left
        return efficiency * (self._most_draws - self.draws) < self._n_eff

    @property
    def _fits_again(self) -> bool:
        """Whether the newest density has had its share of the draws and is not good."""
        if not self._is_due:
            return False
        log_weights = self.log_weights
        return self._tries_again or effective_number(_scaled(log_weights)) < GOOD_EFFICIENCY * len(log_weights)

    @property
    def _is_due(self) -> bool:
        """Whether the newest density has had its share of the draws."""
        in_round = len(self.log_weights)
        before = self.draws - in_round
        return in_round >= (self.n_draws / ROUNDS if self.draws < self.n_draws else (GROWTH - 1.0) * before)

    @property
    def _tries_again(self) -> bool:
        """
        Whether the newest density cannot be used, and more draws may mend that: one that was known before the run may
        be good but for a part of the posterior that few points of the run tell of.
        """
        if not self._known or not self.batches or self.draws >= TRIES_WITH_START * self.n_draws:
            return False
        return bool(self._evidence_of(self.round).unusable)

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


def default_draws(evaluations: int, starts: int = 0) -> int:
    """How many draws to make after a run of so many evaluations: 3% of them, but no more than are of use."""
    return min(50_000, max(evaluations // 33, LEAST_WITH_START if starts else 0))


def log_standard_normal(points: np.ndarray) -> np.ndarray:
    """``(n,)`` float: the log density of the prior at ``(n, n_dim)`` points."""
    return -0.5 * (points**2).sum(axis=1) - 0.5 * points.shape[1] * np.log(2.0 * np.pi)


def independent_samples(positions: np.ndarray, weights: np.ndarray) -> float:
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
    weights
        ``(n,)`` float, of any sum.
    """
    weights = weights / weights.sum()
    squared = (positions - weights @ positions) ** 2
    variance = weights @ squared
    varies = variance > 0.0
    scatter = (weights**2 @ squared)[varies] / variance[varies]
    return float(1.0 / max(np.sum(weights**2), scatter.mean() if varies.any() else 1.0))


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
    if found.n_eff < MIN_EFFICIENCY * len(log_weights):
        share = found.n_eff / len(log_weights)
        return f"its draws are worth {share:.2%} of as many independent ones, and {MIN_EFFICIENCY:.0%} are needed"
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
