"""The moves of chains within a contour: slices on random lines (Neal 2003, Annals of Statistics 31, 705).

Pure functions on device arrays. Nothing here knows of iterations, or of how many chains move at once.

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

from .chains import MAX_EXPANSIONS, SHRINK, STEP_OUT_LEFT, Chain, ChainInfo, Slice, tick, tick_of_several

# Of a bracket that only shrinks, relative to blackjax's first bracket (docs/searches/nss/laboratory.md).
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
        ``(num_steps, chains)``, from the ``(chains, n_dim)`` positions that only tell how many and of what type. The
        factor is ``(n_dim, n_dim)``, or ``(chains, n_dim, n_dim)`` with one for each chain.
    begin
        ``begin(particle, slice, info) -> Chain``: a chain at the beginning of one of its slices.
    tick
        ``tick(new_particle, contour, chain) -> (Chain, done)``: the chain after one evaluation of the
        likelihood, or of several candidates at once, and whether its slice is done.
    lineages
        Among how many lineages the live points are divided, at most.
    in_normal_space
        Whether positions are such that the prior is a standard normal, and not a model's parameters.
    only_shrinks
        Whether a bracket is never expanded. Several points of it may be tried in one tick then, and the number of
        slices may follow from the run.
    """

    draw: Callable
    begin: Callable
    tick: Callable
    lineages: int
    in_normal_space: bool
    only_shrinks: bool

    def trying(self, candidates: int) -> "Moves":
        """These moves, which only shrink brackets, with so many points of a bracket evaluated in each tick."""
        return self._replace(tick=partial(tick_of_several, candidates))

    def lineages_of(self, n_live: int, n_dim: int) -> int:
        """Among how many lineages so many live points are divided: one where they are too few for more."""
        return self.lineages if SHARE_OUTSIDE * n_live >= POINTS_PER_PARAMETER * n_dim else 1


def draw_slices(
    width: float, rng_key: jax.Array, positions: jax.Array, covariance_factor: jax.Array, num_steps: int
) -> Slice:
    """The slices of all chains, with brackets ``width`` times as long as blackjax's."""
    keys = jax.vmap(lambda key: jax.random.split(key, num_steps))(jax.random.split(rng_key, len(positions)))
    of_chain = None if covariance_factor.ndim == 2 else 0
    draw = jax.vmap(partial(_draw_slice, width), in_axes=(of_chain, 0, 0))
    # Step by step, as blackjax does it: products of other shapes may round differently.
    return jax.lax.map(
        lambda keys_of_step: draw(covariance_factor, keys_of_step, positions), jnp.swapaxes(keys, 0, 1)
    )


def _draw_slice(width: float, covariance_factor: jax.Array, rng_key: jax.Array, position: jax.Array) -> Slice:
    direction_key, slice_key = jax.random.split(rng_key)
    level_key, interval_key, shrink_key = jax.random.split(slice_key, 3)
    left_key, steps_key = jax.random.split(interval_key)
    direction: Any = sample_direction_from_covariance_factor(direction_key, position, covariance_factor)
    steps_left = jnp.floor(MAX_EXPANSIONS * jax.random.uniform(steps_key)).astype(int)
    return Slice(
        direction=width * direction,
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
    position: Any = particle.position
    along, squared = position @ new.direction, new.direction @ new.direction
    reach = jnp.sqrt(along**2 - 2.0 * new.log_u * squared)
    return chain._replace(
        left=jnp.maximum(chain.left, (-along - reach) / squared),
        right=jnp.minimum(chain.right, (-along + reach) / squared),
    )


# The bracket only shrinks: a slice costs the points tried within it, and no look at its ends.
SHRINKING = Moves(
    partial(draw_slices, WIDTH), _begin_shrinking, tick, LINEAGES, in_normal_space=False, only_shrinks=True
)
SHRINKING_IN_NORMAL_SPACE = SHRINKING._replace(begin=_begin_shrinking_in_normal_space, in_normal_space=True)
# blackjax's own: the bracket is expanded until both ends are outside, then shrunk.
STEPPING_OUT = Moves(
    partial(draw_slices, 1.0), _begin_stepping_out, tick, lineages=1, in_normal_space=False, only_shrinks=False
)
MOVES = {"shrink": SHRINKING_IN_NORMAL_SPACE, "step_out": STEPPING_OUT}
