"""A chain on a slice as a state machine: where it stands, and what it does in one tick. Pure functions of arrays.

One tick evaluates the likelihood once, or of several candidates at once, wherever in its slice a chain stands.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from blackjax.ns.base import StateWithLogLikelihood

MAX_EXPANSIONS, MAX_SHRINKAGE = 10, 100
STEP_OUT_LEFT, STEP_OUT_RIGHT, SHRINK = range(3)


class Slice(NamedTuple):
    """
    Everything random that a slice needs before its first evaluation.

    Attributes
    ----------
    direction
        ``(n_dim,)`` float: the line to sample on; the bracket is measured in its length.
    log_u
        The level of the slice, relative to the log density of the current point.
    left
        The left end of the first bracket, which has length 1 and holds the current point at 0.
    steps_left, steps_right
        How often the bracket may be expanded to each side.
    shrink_key
        Draws the points within the bracket.
    """

    direction: jax.Array
    log_u: jax.Array
    left: jax.Array
    steps_left: jax.Array
    steps_right: jax.Array
    shrink_key: jax.Array


class ChainInfo(NamedTuple):
    """What a chain did, as counts: evaluations that it used, that were made for it, and slices that moved it."""

    evaluations: jax.Array
    made: jax.Array
    moved: jax.Array


class Chain(NamedTuple):
    """
    Where a chain stands.

    Attributes
    ----------
    particle
        The current point.
    slice
        The slice in progress.
    phase
        ``STEP_OUT_LEFT``, ``STEP_OUT_RIGHT`` or ``SHRINK``.
    left, right
        The ends of the bracket.
    level
        The log density above which a point is in the slice.
    steps
        Expansions still allowed in this phase.
    tries
        Points tried within the bracket.
    key
        Draws the next of them.
    info
        What the chain has done so far.
    """

    particle: StateWithLogLikelihood
    slice: Slice
    phase: jax.Array
    left: jax.Array
    right: jax.Array
    level: jax.Array
    steps: jax.Array
    tries: jax.Array
    key: jax.Array
    info: ChainInfo


def tick(new_particle: Callable, contour: jax.Array, chain: Chain) -> tuple[Chain, jax.Array]:
    """One likelihood evaluation of one chain: the chain after it, and whether its slice is done."""
    next_key, key = jax.random.split(chain.key)
    within = chain.left + jax.random.uniform(key) * (chain.right - chain.left)
    t = jax.lax.select_n(chain.phase, chain.left, chain.right, within)
    start: Any = chain.particle.position
    position = start + t * chain.slice.direction
    candidate = new_particle(position, loglikelihood_birth=contour)
    inside = (candidate.logdensity >= chain.level) & (candidate.loglikelihood > contour)

    chain = chain._replace(info=_counted(chain.info, 1, 1))
    shrunk, slice_done = _shrink(chain, t, next_key, candidate, inside)
    phases = _step_out_left(chain, inside), _step_out_right(chain, inside), shrunk
    following = jax.tree.map(lambda *x: jax.lax.select_n(chain.phase, *x), *phases)
    return following, slice_done & (chain.phase == SHRINK)


def tick_of_several(
    candidates: int, new_particle: Callable, contour: jax.Array, chain: Chain
) -> tuple[Chain, jax.Array]:
    """
    ``tick`` for a bracket that only shrinks, with several likelihoods evaluated at once.

    As long as all candidates are outside the slice, those to come follow from the random numbers alone. The first
    that is inside is taken, and those after it are not used: a chain goes through the same points in fewer ticks.
    """

    def shrink_to_next(bracket: tuple, _: None) -> tuple[tuple, tuple]:
        left, right, key = bracket
        next_key, key = jax.random.split(key)
        t = left + jax.random.uniform(key) * (right - left)
        following = jnp.where(t < 0.0, t, left), jnp.where(t >= 0.0, t, right), next_key
        return following, (t, left, right, next_key)

    bracket = chain.left, chain.right, chain.key
    _, (t, left, right, next_keys) = jax.lax.scan(shrink_to_next, bracket, None, length=candidates)
    start: Any = chain.particle.position
    positions = start + t[:, None] * chain.slice.direction
    found = jax.vmap(partial(new_particle, loglikelihood_birth=contour))(positions)
    tries = chain.tries + jnp.arange(candidates)
    inside = (found.logdensity >= chain.level) & (found.loglikelihood > contour)
    last = jnp.argmax(inside | (tries == MAX_SHRINKAGE - 1) | (tries == tries[-1]))
    info = _counted(chain.info, last + 1, candidates)
    before = chain._replace(left=left[last], right=right[last], tries=tries[last], info=info)
    return _shrink(before, t[last], next_keys[last], jax.tree.map(lambda x: x[last], found), inside[last])


def _counted(info: ChainInfo, used: int | jax.Array, made: int) -> ChainInfo:
    return info._replace(evaluations=info.evaluations + used, made=info.made + made)


def _step_out_left(chain: Chain, inside: jax.Array) -> Chain:
    expands = inside & (chain.steps > 0)
    return chain._replace(
        phase=jnp.where(expands, STEP_OUT_LEFT, STEP_OUT_RIGHT),
        left=jnp.where(expands, chain.left - 1.0, chain.left),
        steps=jnp.where(expands, chain.steps - 1, chain.slice.steps_right),
    )


def _step_out_right(chain: Chain, inside: jax.Array) -> Chain:
    expands = inside & (chain.steps > 0)
    return chain._replace(
        phase=jnp.where(expands, STEP_OUT_RIGHT, SHRINK),
        right=jnp.where(expands, chain.right + 1.0, chain.right),
        steps=jnp.where(expands, chain.steps - 1, chain.steps),
    )


def _shrink(
    chain: Chain, t: jax.Array, next_key: jax.Array, candidate: StateWithLogLikelihood, inside: jax.Array
) -> tuple[Chain, jax.Array]:
    """Accept a point of the slice, or shrink the bracket to it; done too when the budget is spent."""
    tries = chain.tries + 1
    shrunk = chain._replace(
        particle=select(inside, candidate, chain.particle),
        left=jnp.where(t < 0.0, t, chain.left),
        right=jnp.where(t >= 0.0, t, chain.right),
        tries=tries,
        key=next_key,
        info=chain.info._replace(moved=chain.info.moved + inside),
    )
    return shrunk, inside | (tries >= MAX_SHRINKAGE)


def select(condition: jax.Array, new: Any, old: Any) -> Any:
    """``new`` where the condition holds, else ``old``, for all leaves of both trees."""
    return jax.tree.map(partial(jnp.where, condition), new, old)
