"""The moves of chains within a contour: slices on random lines (Neal 2003, Annals of Statistics 31, 705).

Pure functions on device arrays. Nothing here knows of iterations, or of how many chains move at once.
A move is a state machine: one tick evaluates the likelihood once, wherever in its slice a chain stands.

Both kinds of slices leave the prior within the contour as it is. A slice's level is drawn below the prior density
of the current point, so that a point drawn uniformly from the slice would be as likely to lead back. The bracket is
placed at random around the current point, and only points outside the slice shrink it, always to the side on which
the current point is not: so the same brackets, with the same probability, lead from the new point to the old one
(Neal's sections 4.1 and 4.2). Expanding the bracket needs this too, which is why the number of expansions to either
side is drawn beforehand; a bracket that is never expanded is Neal's first and simplest. Where the prior is a standard
normal, the bracket is cut to where its density is above the level, at no evaluation: line, level and bracket are the
same for the new point, and so is what is cut off.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from blackjax.ns.base import StateWithLogLikelihood
from blackjax.ns.nss import sample_direction_from_covariance_factor
from blackjax.types import ArrayTree
from jax.flatten_util import ravel_pytree

MAX_EXPANSIONS = 10
MAX_SHRINKAGE = 100
STEP_OUT_LEFT, STEP_OUT_RIGHT, SHRINK = range(3)
# Of a bracket that only shrinks, relative to blackjax's first bracket (docs/searches/nss/performance.md).
WIDTH = 3.0
# Among how many lineages live points are divided, which share of the points stays outside of each, and how many
# points a parameter that must be.
LINEAGES, SHARE_OUTSIDE, POINTS_PER_PARAMETER = 16, 1.0 / 3.0, 2


class Moves(NamedTuple):
    """
    How chains move.

    Attributes
    ----------
    draw
        ``draw(rng_key, positions, covariance_factor, num_steps)``: all that is random, a ``Slice`` with leading axes
        ``(num_steps, chains)``, from the ``(chains, n_dim)`` positions that only tell how many and of what kind. The
        factor is ``(n_dim, n_dim)``, or ``(chains, n_dim, n_dim)`` with one for each chain.
    begin
        ``begin(particle, slice, info) -> Chain``: a chain at the beginning of one of its slices.
    tick
        ``tick(new_particle, contour, chain) -> (Chain, done)``: the chain after one likelihood evaluation, and
        whether its slice is done.
    lineages
        Among how many lineages the live points are divided, at most.
    adapts
        Whether the number of slices may follow from the run.
    in_normal_space
        Whether positions are such that the prior is a standard normal, and not a model's parameters.
    only_shrinks
        Whether a bracket is never expanded, so that several points of it may be tried in one tick.
    """

    draw: Callable
    begin: Callable
    tick: Callable
    lineages: int
    adapts: bool
    in_normal_space: bool
    only_shrinks: bool

    def trying(self, candidates: int) -> "Moves":
        """These moves, which only shrink brackets, with so many points of a bracket evaluated in each tick."""
        return self._replace(tick=partial(tick_of_several, candidates))

    def lineages_of(self, n_live: int, n_dim: int) -> int:
        """Among how many lineages so many live points are divided: one where they are too few for more."""
        return self.lineages if SHARE_OUTSIDE * n_live >= POINTS_PER_PARAMETER * n_dim else 1


class Slice(NamedTuple):
    """
    Everything random that a slice needs before its first evaluation.

    Attributes
    ----------
    direction
        The line to sample on, a pytree like a position; the bracket is measured in its length.
    log_u
        The level of the slice, relative to the log density of the current point.
    left
        The left end of the first bracket, which has length 1 and holds the current point at 0.
    steps_left, steps_right
        How often the bracket may be expanded to each side.
    shrink_key
        Draws the points within the bracket.
    """

    direction: ArrayTree
    log_u: jax.Array
    left: jax.Array
    steps_left: jax.Array
    steps_right: jax.Array
    shrink_key: jax.Array


class ChainInfo(NamedTuple):
    """What a chain did, as counts: evaluations it used and made, expansions, shrinks, and slices that moved it."""

    evaluations: jax.Array
    made: jax.Array
    expansions: jax.Array
    shrinks: jax.Array
    accepted: jax.Array


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


def draw_slices(
    width: float, rng_key: jax.Array, positions: ArrayTree, covariance_factor: jax.Array, num_steps: int
) -> Slice:
    """The slices of all chains, with brackets ``width`` times as long as blackjax's."""
    chains = len(jax.tree.leaves(positions)[0])
    keys = jax.vmap(lambda key: jax.random.split(key, num_steps))(jax.random.split(rng_key, chains))
    of_chain = None if covariance_factor.ndim == 2 else 0
    draw = jax.vmap(partial(_draw_slice, width), in_axes=(of_chain, 0, 0))
    # Step by step, as blackjax does it: products of other shapes may round differently.
    return jax.lax.map(
        lambda keys_of_step: draw(covariance_factor, keys_of_step, positions), jnp.swapaxes(keys, 0, 1)
    )


def _draw_slice(width: float, covariance_factor: jax.Array, rng_key: jax.Array, position: ArrayTree) -> Slice:
    direction_key, slice_key = jax.random.split(rng_key)
    level_key, interval_key, shrink_key = jax.random.split(slice_key, 3)
    left_key, steps_key = jax.random.split(interval_key)
    steps_left = jnp.floor(MAX_EXPANSIONS * jax.random.uniform(steps_key)).astype(int)
    direction = sample_direction_from_covariance_factor(direction_key, position, covariance_factor)
    return Slice(
        direction=jax.tree.map(lambda d: width * d, direction),
        log_u=jnp.log(jax.random.uniform(level_key)),
        left=-jax.random.uniform(left_key),
        steps_left=steps_left,
        steps_right=(MAX_EXPANSIONS - 1) - steps_left,
        shrink_key=shrink_key,
    )


def _begin_stepping_out(particle: StateWithLogLikelihood, new: Slice, info: ChainInfo) -> Chain:
    return Chain(
        particle=particle,
        slice=new,
        phase=jnp.asarray(STEP_OUT_LEFT),
        left=new.left,
        right=new.left + 1.0,
        level=particle.logdensity + new.log_u,
        steps=new.steps_left,
        tries=jnp.asarray(0),
        key=new.shrink_key,
        info=info,
    )


def _begin_shrinking(particle: StateWithLogLikelihood, new: Slice, info: ChainInfo) -> Chain:
    return _begin_stepping_out(particle, new, info)._replace(phase=jnp.asarray(SHRINK))


def _begin_shrinking_in_normal_space(particle: StateWithLogLikelihood, new: Slice, info: ChainInfo) -> Chain:
    """The bracket is cut to where the log density of a standard normal is above the level of the slice."""
    chain = _begin_shrinking(particle, new, info)
    position, direction = (ravel_pytree(tree)[0] for tree in (particle.position, new.direction))
    along, squared = position @ direction, direction @ direction
    reach = jnp.sqrt(along**2 - 2.0 * new.log_u * squared)
    return chain._replace(
        left=jnp.maximum(chain.left, (-along - reach) / squared),
        right=jnp.minimum(chain.right, (-along + reach) / squared),
    )


def tick(new_particle: Callable, loglikelihood_0: jax.Array, chain: Chain) -> tuple[Chain, jax.Array]:
    """One likelihood evaluation of one chain: the chain after it, and whether its slice is done."""
    next_key, key = jax.random.split(chain.key)
    within = chain.left + jax.random.uniform(key) * (chain.right - chain.left)
    t = jax.lax.select_n(chain.phase, chain.left, chain.right, within)
    position = jax.tree.map(lambda p, d: p + t * d, chain.particle.position, chain.slice.direction)
    candidate = new_particle(position, loglikelihood_birth=loglikelihood_0)
    inside = (candidate.logdensity >= chain.level) & (candidate.loglikelihood > loglikelihood_0)

    chain = chain._replace(info=_counted(chain.info, 1, 1))
    shrunk, slice_done = _shrink(chain, t, next_key, candidate, inside)
    phases = _step_out_left(chain, inside), _step_out_right(chain, inside), shrunk
    following = jax.tree.map(lambda *x: jax.lax.select_n(chain.phase, *x), *phases)
    return following, slice_done & (chain.phase == SHRINK)


def tick_of_several(
    candidates: int, new_particle: Callable, loglikelihood_0: jax.Array, chain: Chain
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
        return following, (t, *following)

    bracket = chain.left, chain.right, chain.key
    _, (t, left, right, keys) = jax.lax.scan(shrink_to_next, bracket, None, length=candidates)
    start, direction = chain.particle.position, chain.slice.direction
    positions = jax.vmap(lambda t: jax.tree.map(lambda p, d: p + t * d, start, direction))(t)
    found = jax.vmap(partial(new_particle, loglikelihood_birth=loglikelihood_0))(positions)
    tried = chain.tries + jnp.arange(1, candidates + 1)
    inside = (found.logdensity >= chain.level) & (found.loglikelihood > loglikelihood_0)
    last = jnp.argmax(inside | (tried == MAX_SHRINKAGE) | (tried == tried[-1]))
    used, is_inside = last + 1, inside[last]
    info = _counted(chain.info, used, candidates)
    following = chain._replace(
        particle=select(is_inside, jax.tree.map(lambda x: x[last], found), chain.particle),
        left=left[last],
        right=right[last],
        tries=tried[last],
        key=keys[last],
        info=info._replace(shrinks=info.shrinks + used, accepted=info.accepted + is_inside),
    )
    return following, is_inside | (following.tries >= MAX_SHRINKAGE)


def _counted(info: ChainInfo, used: int | jax.Array, made: int) -> ChainInfo:
    return info._replace(evaluations=info.evaluations + used, made=info.made + made)


def _step_out_left(chain: Chain, inside: jax.Array) -> Chain:
    expands = inside & (chain.steps > 0)
    return chain._replace(
        phase=jnp.where(expands, STEP_OUT_LEFT, STEP_OUT_RIGHT),
        left=jnp.where(expands, chain.left - 1.0, chain.left),
        steps=jnp.where(expands, chain.steps - 1, chain.slice.steps_right),
        info=chain.info._replace(expansions=chain.info.expansions + expands),
    )


def _step_out_right(chain: Chain, inside: jax.Array) -> Chain:
    expands = inside & (chain.steps > 0)
    return chain._replace(
        phase=jnp.where(expands, STEP_OUT_RIGHT, SHRINK),
        right=jnp.where(expands, chain.right + 1.0, chain.right),
        steps=jnp.where(expands, chain.steps - 1, chain.steps),
        info=chain.info._replace(expansions=chain.info.expansions + expands),
    )


def _shrink(
    chain: Chain, t: jax.Array, next_key: jax.Array, candidate: StateWithLogLikelihood, inside: jax.Array
) -> tuple[Chain, jax.Array]:
    """Accept a point of the slice, or shrink the bracket to it; done too when the budget is spent."""
    tries = chain.tries + 1
    info = chain.info._replace(shrinks=chain.info.shrinks + 1, accepted=chain.info.accepted + inside)
    shrunk = chain._replace(
        particle=select(inside, candidate, chain.particle),
        left=jnp.where(t < 0.0, t, chain.left),
        right=jnp.where(t >= 0.0, t, chain.right),
        tries=tries,
        key=next_key,
        info=info,
    )
    return shrunk, inside | (tries >= MAX_SHRINKAGE)


def select(condition: jax.Array, new: Any, old: Any) -> Any:
    """``new`` where the condition holds, along the leading axes of both trees' leaves."""

    def select(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(select, new, old)


# The bracket only shrinks: a slice costs the points tried within it, and no look at its ends.
SHRINKING = Moves(partial(draw_slices, WIDTH), _begin_shrinking, tick, LINEAGES, True, False, True)
SHRINKING_IN_NORMAL_SPACE = SHRINKING._replace(begin=_begin_shrinking_in_normal_space, in_normal_space=True)
# blackjax's own: the bracket is expanded until both ends are outside, then shrunk.
STEPPING_OUT = Moves(partial(draw_slices, 1.0), _begin_stepping_out, tick, 1, False, False, False)
MOVES = {"shrink": SHRINKING_IN_NORMAL_SPACE, "step_out": STEPPING_OUT}
