"""The JAX side of nested slice sampling: pure functions on device arrays, built on ``blackjax.nss``.

The sampler is blackjax's, but for the update that replaces dead points (``lanes.py``) and what steers its chains
(``steering.py``). Log prior and log likelihood come in as traceable functions of one position.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.ns.adaptive import AdaptiveNSState
from blackjax.ns.adaptive import init as adaptive_init
from blackjax.ns.base import NSInfo, StateWithLogLikelihood, init_state_strategy

from .lanes import single_evaluation_update
from .records import RECORD_TYPES, with_records_only
from .sharding import alike, divided, everywhere, share_of
from .slices import SHRINKING, Moves
from .steering import steering

# On a CPU, more expensive likelihoods than these at once outgrow the caches (docs/searches/nss/laboratory.md).
CPU_CHUNK_SIZE = 18
EXPENSIVE_FLOPS = 1e6
# How many dead points are handed over at once at most: enough that the hand-over costs nothing.
BLOCK_POINTS = 1024
# How many points of a bracket a chain tries at once at most. More save few ticks
# (docs/searches/nss/performance.md).
MAX_CANDIDATES = 4
# How many positions are evaluated in a call at most, about.
ROWS = 8192


class NestedSliceSampler(NamedTuple):
    """
    What a run is made of: three compiled functions.

    Attributes
    ----------
    init
        ``init(positions, log_likelihood) -> state``: the state of a run from ``(n_live, n_dim)`` draws from the prior
        and their ``(n_live,)`` log likelihoods.
    advance
        ``advance((state, rng_key), iterations) -> ((state, rng_key), dead, done)``: as many iterations as asked for,
        fewer if the run converges or has to end, or if the block of dead points is full. ``dead`` is an ``NSInfo``
        with leading axes ``(at least done, num_delete)``, of which the first ``done`` rows are the points that died;
        its ``update_info`` is the ``ChainRecord`` of the chain that replaced each.
    evaluate
        ``evaluate(positions, number) -> (rows,) float``: the log likelihoods of the first ``number`` of
        ``(rows, n_dim)`` positions, and zeros.
    lanes, candidates
        How many chains ``advance`` moves at once on a device, and how many points each of them tries at once.
    rows, rows_at_once
        How many positions ``evaluate`` takes, and how many it evaluates at once on all devices.
    """

    init: jax.stages.Wrapped
    advance: jax.stages.Wrapped
    evaluate: jax.stages.Wrapped
    lanes: int
    candidates: int
    rows: int
    rows_at_once: int

    def log_likelihoods(self, positions: np.ndarray, evaluate: Callable | None = None) -> np.ndarray:
        """``(n,)`` float: those of any number of positions, in calls of ``evaluate`` or of what is given for it."""
        found = []
        for some in np.split(np.asarray(positions), range(self.rows, len(positions), self.rows)):
            padded = some[np.arange(self.rows) % len(some)]
            found.append(np.asarray((evaluate or self.evaluate)(padded, len(some)))[: len(some)])
        return np.concatenate(found)

    def start(self, positions: np.ndarray) -> AdaptiveNSState:
        """The state of a run from ``(n_live, n_dim)`` draws from the prior."""
        return self.init(positions, self.log_likelihoods(positions))


def nested_slice_sampler(
    log_prior: Callable,
    log_likelihood: Callable,
    num_delete: int,
    num_mcmc_steps: int,
    termination: float,
    chunk_size: int | None = None,
    moves: Moves = SHRINKING,
    adapts: bool = False,
    devices: Sequence[Any] | None = None,
    num_at_once: int | None = None,
) -> NestedSliceSampler:
    """
    Nested slice sampling (Yallup, Kroupa & Handley 2026, arXiv:2601.23252): ``blackjax.nss`` with chains in lanes.

    Parameters
    ----------
    log_prior, log_likelihood
        Traceable functions of one ``(n_dim,)`` parameter vector.
    num_delete
        Points that die, and chains that replace them, in each iteration.
    num_mcmc_steps
        Slices of each chain, or if it ``adapts`` of each of its rounds.
    termination
        The log evidence that remains, relative to that of the dead points, below which the run has converged.
    chunk_size
        The most likelihoods evaluated, and held in memory, at once; ``None`` for no bound.
    moves
        How the chains move.
    adapts
        Whether chains make as many rounds of slices as their jumps in the iterations before ask for.
    devices
        Over which the points and chains are divided; JAX's default device if none are given.
    num_at_once
        How many likelihoods a device that is faster the more it has to do evaluates at once, if ``chunk_size``
        allows: ``evaluate`` takes so many positions, and chains try as many points more as there is room for.
        ``None`` for ``num_delete`` and one point.
    """
    devices = devices or jax.devices()[:1]
    lanes = _num_lanes(share_of(num_delete, len(devices)), chunk_size)
    at_once = min(chunk_size or num_at_once or num_delete, num_at_once or num_delete)
    room = at_once // lanes if num_at_once and moves.only_shrinks else 1
    candidates = max(1, min(room, MAX_CANDIDATES))
    moves = moves.trying(candidates) if candidates > 1 else moves
    steers = partial(steering, moves, adapts)
    new_particle = partial(init_state_strategy, logprior_fn=log_prior, loglikelihood_fn=log_likelihood)
    algorithm = blackjax.nss(
        logprior_fn=log_prior,
        loglikelihood_fn=log_likelihood,
        num_delete=num_delete,
        num_inner_steps=num_mcmc_steps,
        update_strategy=single_evaluation_update(new_particle, lanes, moves, len(devices)),
        inner_kernel_params=steers,
    )

    def init(positions: jax.Array, log_likelihood: jax.Array) -> AdaptiveNSState:
        def particle(position: jax.Array, value: jax.Array) -> StateWithLogLikelihood:
            return init_state_strategy(position, log_prior, lambda _: value)

        particles = lambda positions: jax.vmap(particle)(positions, log_likelihood)  # noqa: E731
        state = adaptive_init(positions, particles, update_inner_kernel_params_fn=steers)
        return alike(_strongly_typed(state), devices)

    def one_step(state: AdaptiveNSState, rng_key: jax.Array) -> tuple:
        rng_key, step_key = jax.random.split(rng_key)
        following, info = algorithm.step(step_key, state)
        return (alike(following, devices), rng_key), with_records_only(info)

    def advance(carry: tuple, iterations: jax.Array) -> tuple:
        def goes_on(loop: tuple) -> jax.Array:
            (state, _), _, done = loop
            ends = has_converged(state, termination) | evidence_is_lost(state)
            return (done < jnp.minimum(iterations, capacity)) & ~ends

        def body(loop: tuple) -> tuple:
            (state, rng_key), block, done = loop
            carry, dead = one_step(state, rng_key)
            return carry, jax.tree.map(lambda all_, new: all_.at[done].set(new), block, dead), done + 1

        capacity = max(1, BLOCK_POINTS // num_delete)
        empty = lambda live: jnp.zeros((capacity, num_delete, *live.shape[1:]), live.dtype)  # noqa: E731
        records = jax.tree.map(lambda dtype: jnp.zeros((capacity, num_delete), dtype), RECORD_TYPES)
        block = NSInfo(jax.tree.map(empty, carry[0].particles), records)
        return jax.lax.while_loop(goes_on, body, (carry, block, jnp.asarray(0)))

    def evaluate(positions: jax.Array, number: jax.Array) -> jax.Array:
        return _of_the_first(number, log_likelihood, positions, at_once, len(devices))

    at_once_everywhere = at_once * len(devices)
    return NestedSliceSampler(
        *(everywhere(function, devices) for function in (init, advance, evaluate)),
        lanes=lanes,
        candidates=candidates,
        rows=math.ceil(ROWS / at_once_everywhere) * at_once_everywhere,
        rows_at_once=at_once_everywhere,
    )


def best_chunk_size_of_a_cpu(log_likelihood: Callable, n_dim: int) -> int | None:
    """
    How many likelihoods a CPU is to evaluate at once where nobody says, ``None`` for as many as there are.

    It is decided by what XLA knows of the function, not by a clock: a run that is resumed must decide alike.
    """
    lowered = jax.jit(log_likelihood).lower(jax.ShapeDtypeStruct((n_dim,), jnp.result_type(float)))
    return CPU_CHUNK_SIZE if (lowered.cost_analysis() or {}).get("flops", 0.0) > EXPENSIVE_FLOPS else None


def _num_lanes(num_delete: int, chunk_size: int | None) -> int:
    """At most ``chunk_size``, and no more than leave each lane about the same number of chains."""
    return math.ceil(num_delete / math.ceil(num_delete / (chunk_size or num_delete)))


def _of_the_first(
    number: jax.Array, function: Callable, positions: jax.Array, at_once: int, devices: int
) -> jax.Array:
    """
    ``function`` of each of the first ``number`` of positions, so many at once on each device; those are a divisor of
    the positions.
    """
    chunks = positions.reshape(-1, devices, at_once, positions.shape[1])

    def of_device(index: jax.Array) -> jax.Array:
        def one_more(chunk: jax.Array, found: jax.Array) -> jax.Array:
            return found.at[:, chunk].set(jax.vmap(function)(chunks[chunk, index[0]]))

        empty = jnp.zeros((1, len(chunks), at_once), positions.dtype)
        return jax.lax.fori_loop(0, -(-number // (at_once * devices)), one_more, empty)

    return divided(of_device, devices, devices).swapaxes(0, 1).reshape(-1)


def has_converged(state: AdaptiveNSState, termination: float) -> jax.Array:
    """Whether the log evidence of the live points, relative to that of the dead points, is below ``termination``."""
    return state.integrator.logZ_live - state.integrator.logZ < termination


def evidence_is_lost(state: AdaptiveNSState) -> jax.Array:
    """Whether the log evidence is NaN, or can no longer resolve the prior volume: then no run can converge."""
    remaining = state.integrator.logZ_live - state.integrator.logZ
    return (remaining != remaining) | prior_volume_is_lost(state)  # not jnp.isnan: a state on the host stays there


def prior_volume_is_lost(state: AdaptiveNSState) -> jax.Array:
    """Whether the live points are a plateau whose log likelihood swallows the log prior volume in rounding."""
    log_likelihood, integrator = state.particles.loglikelihood, state.integrator
    best = log_likelihood.max()
    return (log_likelihood.min() == best) & (integrator.logZ_live == best) & (integrator.logZ == best)


def _strongly_typed(tree: Any) -> Any:
    """``tree`` without weak types, so that the first and the later iterations share one compilation."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)
