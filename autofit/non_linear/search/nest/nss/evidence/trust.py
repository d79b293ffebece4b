"""What a run tells of itself: how it got where it is, when it may end, whether to trust it. NumPy and SciPy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import kolmogorov, logsumexp

from .nested import simulate_log_shells

if TYPE_CHECKING:
    from ..sampling.records import ChainRecord
    from ..sampling.run import Points

# Below this remaining log evidence the live points have reached the peak of the likelihood.
PEAK_REACHED = 10.0
# Factors from the memory of chains to the excess and to the variance of the log evidence, measured on problems of
# known evidence (docs/searches/nss/laboratory.md).
EXCESS_OF_MEMORY, SCATTER_OF_MEMORY = 0.4, 0.5
# Lineages remove the mean excess; this share of it remains as scatter (measured on the Sersic lens, the worst case).
EXCESS_LEFT_AS_SCATTER = 0.2
# A warning is given where the error is more than this many times that of independent points.
MUCH_SCATTER = 2.0
# A warning is given where the expected excess is more than this many errors.
WORRYING_EXCESS = 1.0
# Below this p-value insertion ranks are warned of: a sound run falls below it once in a hundred.
SUSPICIOUS_P_VALUE = 0.01
# Above this share of slices that move no chain, too many points are copies of others.
MANY_UNMOVED = 0.01
# The share of the posterior that a start may miss without a warning.
MUCH_UNKNOWN = 0.05
# From this share of the live points replaced at once on, log evidences scatter more than simulated volumes say.
LARGE_SHARE = 0.5


class Evolution(NamedTuple):
    """
    A run at some of its iterations, each attribute ``(m,)``.

    Attributes
    ----------
    iteration
        After how many iterations.
    log_volume
        The expected log prior volume that the live points fill.
    log_evidence, log_evidence_error
        The log evidence of dead and live points, and its standard deviation over simulated prior volumes.
    remaining
        The log evidence of the live points relative to that of the dead points: what is compared with
        ``termination``.
    """

    iteration: np.ndarray
    log_volume: np.ndarray
    log_evidence: np.ndarray
    log_evidence_error: np.ndarray
    remaining: np.ndarray


def log_volume_of_deaths(points: Points) -> np.ndarray:
    """``(n - n_live,)`` float: the expected log prior volume within each dead point's contour."""
    return -np.cumsum(1.0 / points.live_at_death)


def evolution(points: Points, rng: np.random.Generator, length: int = 100, n_simulations: int = 10) -> Evolution:
    """The run at ``length`` of its iterations, evenly spaced, the last among them."""
    iteration = np.unique(np.linspace(1, points.iterations, length).astype(int))
    last = iteration * points.num_delete - 1
    n_live = points.live_at_death
    log_sum_live = np.array([logsumexp(live) for live in _live_points_after(points, iteration)])
    log_mean_live = log_sum_live - np.log(points.n_live)

    log_evidences, remaining = np.empty((2, n_simulations, len(iteration)))
    for simulation in range(n_simulations):
        uniform = rng.random(len(n_live))
        shells = simulate_log_shells(n_live, uniform)
        log_volume = np.cumsum(np.log1p(-uniform) / n_live)[last]
        of_dead = np.logaddexp.accumulate(points.log_likelihood[: len(shells)] + shells)[last]
        log_evidences[simulation] = np.logaddexp(of_dead, log_mean_live + log_volume)
        remaining[simulation] = log_mean_live + log_volume - of_dead
    return Evolution(
        iteration,
        log_volume_of_deaths(points)[last],
        log_evidences.mean(axis=0),
        log_evidences.std(axis=0),
        remaining.mean(axis=0),
    )


def _live_points_after(points: Points, iterations: np.ndarray) -> Iterator[np.ndarray]:
    """The log likelihoods of the live points after each of these iterations."""
    born_in = points.born_in
    for iteration in iterations:
        not_dead = slice(iteration * points.num_delete, None)
        yield points.log_likelihood[not_dead][born_in[not_dead] <= iteration]


def iterations_left(
    iteration: np.ndarray, remaining: np.ndarray, termination: float, iterations_per_nat: float
) -> float | None:
    """
    How many more iterations until ``remaining`` falls below ``termination``; ``None`` where it does not fall, or too
    little is known of it.

    While the likelihood still rises, ``remaining`` is proportional to a power of the prior volume (of a Gaussian,
    X^(2/d)): it falls by the same factor in each iteration, as it did in the last fifth of these. Below about ten the
    live points have reached the peak, and it falls with the log prior volume: by one in ``iterations_per_nat``.
    """
    recent = np.flatnonzero(iteration >= iteration[-1] - 0.2 * (iteration[-1] - iteration[0]))
    if len(recent) < 4 or not np.all(np.isfinite(remaining[recent])):
        return None
    now, far = remaining[-1], np.maximum(remaining[recent], PEAK_REACHED)
    if now > PEAK_REACHED:
        decay = -np.polyfit(iteration[recent], np.log(far), 1)[0]
        if decay <= 0.0:
            return None
        return float(np.log(now / PEAK_REACHED) / decay + (PEAK_REACHED - termination) * iterations_per_nat)
    slope = -np.polyfit(iteration[recent], remaining[recent], 1)[0]
    if slope <= 0.0:
        return None
    return float(max(0.0, now - termination) / min(slope, 1.0 / iterations_per_nat))


def insertion_rank_p_value(ranks: np.ndarray, n_live: int, num_delete: int) -> float:
    """
    The probability of insertion ranks at least as uneven as these, ``(n,)`` int, in a run that is as it should be: a
    Kolmogorov-Smirnov test (Fowlie, Handley & Su 2020, MNRAS 497, 5256).

    The ``num_delete`` points of an iteration share ``n_live`` ranks and cannot take the same, so they are more even
    than as many independent ones, as if they were ``(n_live - 1) / (n_live - num_delete)`` times more.
    """
    if len(ranks) == 0:
        return 1.0
    observed = np.cumsum(np.bincount(ranks, minlength=n_live)) / len(ranks)
    distance = np.abs(observed - np.arange(1, n_live + 1) / n_live).max()
    effective_number = len(ranks) * (n_live - 1) / (n_live - num_delete)
    return float(kolmogorov(distance * np.sqrt(effective_number)))


def expected_excess(jump: float, n_dim: int, n_live: int, compression: float) -> float:
    """
    By how much the log evidence is expected to be too high, in nats, because chains end near where they began and
    are steered by the covariance of their own relatives.

    Points whose chains began at one another, or at the same point, lie near each other. The covariance that they
    enter makes directions short where they are close, so that chains stay close. The region that the live points
    fill shrinks without being counted, and the prior volume is overestimated. The effect falls as ``1 / n_live``,
    grows with the compression, and in each direction with how long a chain remembers, which is ``(1 - jump) / jump``
    in chains. The factor is measured. Chains that are steered by other lineages of live points show none of it, on
    average.

    Parameters
    ----------
    jump
        The mean over all chains. NaN if unknown, and zero if no chain moved: then nothing can be said.
    n_dim, n_live
        Parameters, and live points.
    compression
        By how many nats the prior volume was compressed.
    """
    if not jump > 0.0:
        return float("nan")
    return max(0.0, EXCESS_OF_MEMORY * compression / n_live * n_dim * (1.0 - jump) / jump)


def worth_of_a_point(jump: float) -> float:
    """
    How many independent points one is worth in posterior means, from the mean jump of chains; 1 if that is unknown
    or zero.

    New points are relatives of those their chains began at. If a chain's squared jump is a share of that between
    independent points, its ends correlate by the rest. The mean of n such steps has the variance of the mean of
    ``n * jump / (2 - jump)`` independent points.
    """
    return min(jump, 1.0) / (2.0 - min(jump, 1.0)) if jump > 0.0 else 1.0


def error_with_memory(simulated: float, found: dict[str, float]) -> float:
    """
    The error of the log evidence, where new points are relatives of others: the variance grows with how long a chain
    remembers.

    Parameters
    ----------
    simulated
        The error of independent points, which simulated prior volumes tell.
    found
        What ``measures`` found: its ``jump``, with which nothing can be said where it is NaN or zero, and
        ``log_evidence_scatter``, which is added in quadrature.
    """
    jump = found["jump"]
    if not jump > 0.0:
        return simulated
    factor = np.sqrt(1.0 + SCATTER_OF_MEMORY * max(0.0, 1.0 - jump) / jump)
    return float(np.hypot(simulated * factor, found["log_evidence_scatter"]))


def measures(points: Points, chains: ChainRecord, lineages: int) -> dict[str, float]:
    """
    The entries of ``samples_info`` that tell whether to trust a run.

    Parameters
    ----------
    points, chains
        Those of the run, and what is recorded of its chains.
    lineages
        Among how many lineages the live points are divided.
    """
    jump = float(np.mean(chains.jump, dtype=np.float64))
    compression = points.iterations * points.num_delete / points.n_live
    excess = expected_excess(jump, points.n_dim, points.n_live, compression)
    known_ranks = chains.rank[chains.rank >= 0]
    return {
        "insertion_rank_p_value": insertion_rank_p_value(known_ranks, points.n_live, points.num_delete),
        "jump": jump,
        "log_evidence_excess": excess if lineages == 1 else 0.0,
        "log_evidence_scatter": 0.0 if lineages == 1 else EXCESS_LEFT_AS_SCATTER * excess,
        "unmoved_slices": float(1.0 - chains.moved.sum() / max(1, chains.slices.sum())),
    }


def recommended_steps(n_dim: int) -> int:
    """The slices of a chain that blackjax recommends."""
    return max(5, 2 * n_dim)


def least_steps(n_dim: int) -> int:
    """The slices of a chain however far it jumps: in the neck of a funnel a few more are needed than that tells."""
    return max(10, n_dim)


def doubts_about_settings(n_dim: int, n_live: int, num_delete: int, num_mcmc_steps: int | None) -> list[str]:
    """What is likely to go wrong with these settings, each with the remedy; ``None`` for as many steps as need be."""
    doubts, recommended = [], recommended_steps(n_dim)
    if num_mcmc_steps is not None and num_mcmc_steps < recommended:
        doubts.append(
            f"num_mcmc_steps={num_mcmc_steps} is few for {n_dim} parameters: a new point may stay close to where its "
            f"chain began, and the evidence be wrong by more than its error. Use num_mcmc_steps={recommended}."
        )
    if n_live < 10 * n_dim:
        doubts.append(
            f"n_live={n_live} is few for {n_dim} parameters: the directions of the slices come from the covariance "
            f"of the live points, which so few cannot tell, and a mode may be missed. Use n_live={25 * n_dim}."
        )
    if num_delete >= LARGE_SHARE * n_live:
        doubts.append(
            f"num_delete={num_delete} replaces half of the n_live={n_live} points or more at once: log evidences "
            f"scatter more than their errors say. Use n_live={4 * num_delete}."
        )
    return doubts


def doubts_about_run(found: dict, n_dim: int, num_mcmc_steps: int) -> list[str]:
    """What ``measures`` found that should not be so, each with the remedy."""
    doubts, more_steps = [], max(2 * num_mcmc_steps, recommended_steps(n_dim))
    if found["unmoved_slices"] > MANY_UNMOVED:
        doubts.append(
            f"{found['unmoved_slices']:.1%} of the slices found no point above the contour, so that new points are "
            "copies of others. Look for plateaus of the likelihood, and for noise in it."
        )
    if found["log_evidence_excess"] > WORRYING_EXCESS * found["log_evidence_nested_error"]:
        doubts.append(
            f"Chains end too near where they began (their jump is {found['jump']:.2f} of an independent one's): "
            f"nested sampling's log evidence is expected to be too high by {found['log_evidence_excess']:.1f}, and "
            f"its error is {found['log_evidence_nested_error']:.1f}. Believe the second evidence if there is one, "
            f"else fit again with moves='shrink', or with num_mcmc_steps={more_steps} and more live points."
        )
    elif found["log_evidence_nested_error"] > MUCH_SCATTER * found["log_evidence_simulated_error"]:
        doubts.append(
            f"Chains end near where they began (their jump is {found['jump']:.2f} of an independent one's), which "
            f"makes the error of nested sampling's log evidence {found['log_evidence_nested_error']:.1f}, where that "
            f"of independent points is {found['log_evidence_simulated_error']:.1f}. Believe the second evidence if "
            f"there is one, else fit again with num_mcmc_steps={more_steps} and more live points."
        )
    if found["insertion_rank_p_value"] < SUSPICIOUS_P_VALUE:
        doubts.append(
            f"New points do not join the live points evenly (insertion ranks: p = "
            f"{found['insertion_rank_p_value']:.1g}), so the prior volume may not shrink as assumed. Fit again with "
            f"num_mcmc_steps={more_steps} or another seed, and look for plateaus of the likelihood."
        )
    return doubts


def doubts_about_start(found: dict) -> list[str]:
    """Where ``samples_info`` tells that what was known before the run was wrong, or of no use."""
    shares = found.get("start_unknown", [])
    return [
        f"start_from[{index}] does not know {share:.0%} of the posterior, which the run's few live points found. "
        "They may have found less of it than a full run would: fit again without start_from if the evidence matters."
        for index, share in enumerate(shares)
        if share > MUCH_UNKNOWN
    ]
