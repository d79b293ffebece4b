"""What is recorded of the chains of an iteration. Pure functions on device arrays."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.ns.base import NSInfo, StateWithLogLikelihood


class ChainRecord(NamedTuple):
    """
    What is kept of each chain, ``(num_delete,)`` each; on the device while the chains move.

    Attributes
    ----------
    evaluations, made
        int: likelihood evaluations that it used, and that were made for it.
    slices, moved
        int: slices that it made, and those that moved it.
    rank
        int: the insertion rank of its last point: how many of the live points it joins have a lower log likelihood,
        from 0 to ``n_live - 1`` (Fowlie, Handley & Su 2020, MNRAS 497, 5256); -1 if unknown.
    jump
        float: the squared distance from its first point to its last, in the metric of the live points' covariance,
        relative to that between independent points: 1 on average if the chain forgets; NaN if unknown.
    """

    evaluations: np.ndarray
    made: np.ndarray
    slices: np.ndarray
    moved: np.ndarray
    rank: np.ndarray
    jump: np.ndarray


class UpdateInfo(NamedTuple):
    """
    What the update of an iteration tells of its chains, and ``(2, n_live)`` int lineages of the live points after it,
    as in ``steering_by_others``; ``None`` if there are none.
    """

    record: ChainRecord
    lineages: jax.Array | None


RECORD_TYPES = ChainRecord(jnp.int32, jnp.int32, jnp.int32, jnp.int32, jnp.int32, jnp.float32)


def with_records_only(dead: Any) -> NSInfo:
    """
    The dead points of an ``NSInfo``, with the ``ChainRecord`` of each chain, ``(num_delete,)``, as their only
    ``update_info``.

    For blackjax's own update the record is derived: a slice evaluates both ends of its bracket, each expansion and
    each shrink, and moves the chain if its budget suffices.
    """
    info = dead.update_info
    if isinstance(info, UpdateInfo):
        record: Any = info.record
    else:
        evaluations = (info.num_expansions + info.num_shrink + 2).sum(axis=-1)
        unknown = np.full_like(evaluations, -1)
        slices = np.full_like(evaluations, info.is_accepted.shape[-1])
        jump = np.full(evaluations.shape, np.nan)
        record = evaluations, evaluations, slices, info.is_accepted.sum(axis=-1), unknown, jump
    return NSInfo(dead.particles, ChainRecord(*(x.astype(t) for x, t in zip(record, RECORD_TYPES, strict=True))))


def ranks(
    rng_key: jax.Array, live: StateWithLogLikelihood, contour: jax.Array, new: StateWithLogLikelihood
) -> jax.Array:
    """The ``rank`` of ``ChainRecord``; among equal log likelihoods it is drawn at random."""
    survivors = jnp.where(live.loglikelihood > contour, live.loglikelihood, jnp.inf)
    values, index = new.loglikelihood, jnp.arange(len(new.loglikelihood))
    below = (survivors < values[:, None]).sum(axis=1)
    equal = (survivors == values[:, None]).sum(axis=1)
    among_survivors = below + (jax.random.uniform(rng_key, values.shape) * (equal + 1)).astype(int)
    before = (values < values[:, None]) | ((values == values[:, None]) & (index < index[:, None]))
    return among_survivors + before.sum(axis=1)


def jumps(covariance_factor: jax.Array, start: Any, end: Any) -> jax.Array:
    """The ``jump`` of ``ChainRecord``, from ``(chains, n_dim)`` positions."""
    of_chain = None if covariance_factor.ndim == 2 else 0
    solve = jax.vmap(partial(jax.scipy.linalg.solve_triangular, lower=True), in_axes=(of_chain, 0))
    return (solve(covariance_factor, end - start) ** 2).mean(axis=1) / 2.0
