"""What steers chains: the covariance of other lineages of live points, and how far chains got before.

A new point is of the lineage of the point its chain began at, and the directions of that chain come from the
covariance of the other lineages. If they came from all points, a point would be steered by its relatives: where
relatives are close, directions are short across and chains stay close, so the region that the points fill shrinks
without being counted, and the evidence is too high.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from blackjax.ns.base import NSState
from blackjax.ns.nss import live_covariance_factor

from .slices import SHARE_OUTSIDE, Moves

# Where chains adapt, they make twice as many rounds of slices while their jump is below the first, half as many
# while it is above the last; it is taken to be the one between until it is known.
SHORT_JUMP, ASSUMED_JUMP, LONG_JUMP = 0.2, 0.3, 0.4
MAX_ROUNDS = 4


def steering(
    moves: Moves, adapts: bool, rng_key: jax.Array, state: NSState, info: Any, params: Any
) -> dict[str, Any]:
    """The ``inner_kernel_params`` of ``blackjax.nss``: what steers the chains of the next iteration."""
    found = steering_by_others(moves, rng_key, state, info, params)
    if not adapts:
        return found
    if info is None:
        return found | {"rounds": jnp.asarray(1), "jump": jnp.asarray(ASSUMED_JUMP)}
    share = len(info.particles.loglikelihood) / len(state.particles.loglikelihood)
    rounds, jump = rounds_after(info.update_info.record.jump.mean(), share, params["rounds"], params["jump"])
    return found | {"rounds": rounds, "jump": jump}


def rounds_after(
    jump_now: jax.Array, share: float, rounds: jax.Array, jump: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """
    How many rounds of slices chains make next, and what is known of their jump, from the mean jump of an iteration.

    Parameters
    ----------
    jump_now
        That mean.
    share
        Of the live points, how many were replaced: over so many iterations the jump is averaged.
    rounds, jump
        What this function said before.
    """
    jump = jump + share * (jump_now - jump)
    more, fewer = (jump < SHORT_JUMP) & (rounds < MAX_ROUNDS), (jump > LONG_JUMP) & (rounds > 1)
    rounds = jnp.where(more, 2 * rounds, jnp.where(fewer, rounds // 2, rounds))
    return rounds, jnp.where(more | fewer, ASSUMED_JUMP, jump)


def steering_by_others(moves: Moves, rng_key: jax.Array, state: NSState, info: Any, params: Any) -> dict[str, Any]:
    """
    The directions of chains in the next iteration.

    With one lineage they come from blackjax's factor, that of the covariance of all live points. Else there is a
    factor for each lineage, ``(lineages, n_dim, n_dim)``, of the covariance of all live points but its own. The
    lineages of the points are ``(2, n_live)`` int: those that count, and younger ones, which take their place once
    one has grown so large that too few points are outside. (In a population of constant size one takes all in the
    end.)
    """
    positions: Any = state.particles.position
    lineages = moves.lineages_of(*positions.shape)
    if lineages == 1:
        return live_covariance_factor(rng_key, state, info, params)
    if info is None:
        old = young = _equal_lineages(len(positions), lineages)
    else:
        old, young = info.update_info.lineages
        # The key has been split for the chains already.
        first_key, second_key = jax.random.split(jax.random.fold_in(rng_key, 1))
        new = partial(jax.random.permutation, x=_equal_lineages(len(positions), lineages))
        young = jnp.where(_is_outgrown(young), new(first_key), young)
        old, young = jnp.where(_is_outgrown(old), jnp.stack([young, new(second_key)]), jnp.stack([old, young]))
    other = (old != jnp.arange(lineages)[:, None]).astype(int)
    covariance = jax.vmap(lambda counts: jnp.atleast_2d(jnp.cov(positions.T, fweights=counts)))(other)
    return {"covariance_factor": jnp.linalg.cholesky(covariance), "lineages": jnp.stack([old, young])}


def _equal_lineages(n_live: int, lineages: int) -> jax.Array:
    return jnp.arange(n_live, dtype=jnp.int32) * lineages // n_live


def _is_outgrown(lineage: jax.Array) -> jax.Array:
    """Whether one lineage holds so many of the points that too few are outside."""
    largest = (lineage[:, None] == lineage).sum(axis=1).max()
    return len(lineage) - largest < len(lineage) * SHARE_OUTSIDE
