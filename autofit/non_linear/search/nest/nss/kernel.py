"""The JAX side of nested slice sampling: pure functions on device arrays, built on ``blackjax.nss``.

Nothing here knows models, paths or files; log prior and log likelihood come in as traceable functions of one
parameter vector.

The sampler is blackjax's, but for the update that replaces dead points. blackjax moves its chains in lockstep: for
every slice, all wait for the slowest to step out left, then right, then shrink, and the likelihood is compiled at
five places. Here each chain is a small state machine (``slices.py``) that stands wherever its own slice stands, and
one tick evaluates the likelihood once for every lane. Each chain draws the same random numbers from the same keys as
in blackjax, so with blackjax's moves the points are the same: to the last bit with a lane for each chain, to rounding
with fewer.

With moves of our own, live points are divided into lineages: a new point is of the lineage of the point its chain
began at, and the directions of that chain come from the covariance of the other lineages. If they came from all
points, a point would be steered by its relatives: where relatives are close, directions are short across and chains
stay close, so the region that the points fill shrinks without being counted, and the evidence is too high.
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
from blackjax.ns.base import NSInfo, NSState, StateWithLogLikelihood, delete_fn, init_state_strategy
from blackjax.ns.nss import live_covariance_factor
from blackjax.types import ArrayLikeTree
from jax.flatten_util import ravel_pytree

from .devices import alike, divided, everywhere, share_of
from .slices import SHARE_OUTSIDE, SHRINKING, Chain, ChainInfo, Moves, Slice, select

# On a CPU, more expensive likelihoods than these at once outgrow the caches (docs/searches/nss/performance.md).
CPU_CHUNK_SIZE = 18
EXPENSIVE_FLOPS = 1e6
# How many dead points are handed over at once at most: enough that the hand-over costs nothing.
BLOCK_POINTS = 1024
# How many positions are evaluated in a call at most, about.
ROWS = 8192
# Where chains adapt, they make twice as many rounds of slices while their jump is below the first, half as many
# while it is above the last; it is taken to be the one between until it is known.
SHORT_JUMP, ASSUMED_JUMP, LONG_JUMP = 0.2, 0.3, 0.4
MAX_ROUNDS = 4


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


class UpdateInfo(NamedTuple):
    """
    What the chains of an iteration did, each ``(num_delete,)`` int if not said otherwise: the counts of
    ``ChainInfo``, and

    Attributes
    ----------
    slices
        How many the chain made.
    rank
        The insertion rank of the chain's last point: how many of the live points it joins have a lower log
        likelihood, from 0 to ``n_live - 1`` (Fowlie, Handley & Su 2020, MNRAS 497, 5256).
    jump
        ``(num_delete,)`` float: the squared distance from the chain's first point to its last, in the metric of the
        live points' covariance, relative to that between independent points: 1 on average if the chain forgets.
    lineages
        ``(2, n_live)`` int: those of the live points after the iteration, as in ``steering_by_others``; ``None`` if
        there are none.
    """

    evaluations: jax.Array
    made: jax.Array
    expansions: jax.Array
    shrinks: jax.Array
    accepted: jax.Array
    slices: jax.Array
    rank: jax.Array
    jump: jax.Array
    lineages: jax.Array | None


class ChainRecord(NamedTuple):
    """
    What is kept of each chain: likelihood evaluations that it used, and that were made for it, slices, those that
    moved it, the insertion rank (int32; a rank of -1 is unknown), and the jump (float32; NaN if unknown). On the
    device while the chains move.
    """

    evaluations: np.ndarray
    made: np.ndarray
    slices: np.ndarray
    moves: np.ndarray
    rank: np.ndarray
    jump: np.ndarray


RECORD_TYPES = ChainRecord(jnp.int32, jnp.int32, jnp.int32, jnp.int32, jnp.int32, jnp.float32)


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
    Nested slice sampling (Yallup, Kroupa & Handley 2026, arXiv:2601.23252): ``blackjax.nss`` with the update above.

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
    candidates = max(1, at_once // lanes) if num_at_once and moves.only_shrinks else 1
    moves = moves.trying(candidates) if candidates > 1 else moves
    steering = partial(_steering, moves, adapts)
    new_particle = partial(init_state_strategy, logprior_fn=log_prior, loglikelihood_fn=log_likelihood)
    algorithm = blackjax.nss(
        logprior_fn=log_prior,
        loglikelihood_fn=log_likelihood,
        num_delete=num_delete,
        num_inner_steps=num_mcmc_steps,
        update_strategy=single_evaluation_update(new_particle, lanes, moves, len(devices)),
        inner_kernel_params=steering,
    )

    def init(positions: jax.Array, log_likelihood: jax.Array) -> AdaptiveNSState:
        def particle(position: jax.Array, value: jax.Array) -> StateWithLogLikelihood:
            return init_state_strategy(position, log_prior, lambda _: value)

        particles = lambda positions: jax.vmap(particle)(positions, log_likelihood)  # noqa: E731
        state = adaptive_init(positions, particles, update_inner_kernel_params_fn=steering)
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


def best_chunk_size(log_likelihood: Callable, n_dim: int) -> int | None:
    """
    How many likelihoods to evaluate at once where nobody says, ``None`` for as many as there are.

    It is decided by what XLA knows of the function, not by a clock: a run that is resumed must decide alike.
    """
    if jax.default_backend() != "cpu":
        return None
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


def single_evaluation_update(new_particle: Callable, lanes: int, moves: Moves, devices: int = 1) -> Callable:
    """
    An ``update_strategy`` for ``blackjax.nss`` that evaluates the likelihood once per lane and tick.

    With fewer lanes than chains, a lane that finishes its chain takes the next one. The number of lanes is felt only
    where the likelihood itself rounds differently in a batch of another size.

    Parameters
    ----------
    new_particle
        ``new_particle(position, loglikelihood_birth=...) -> StateWithLogLikelihood``, traceable, of one position.
    lanes
        How many likelihoods are evaluated, and held in memory, at once on a device.
    moves
        How the chains move.
    devices
        Over how many the chains are divided.
    """

    def strategy(_constrained_step: Callable, num_mcmc_steps: int, num_delete: int) -> Callable:
        def update(
            rng_key: jax.Array,
            state: NSState,
            loglikelihood_0: jax.Array,
            covariance_factor: jax.Array,
            lineages: jax.Array | None = None,
            rounds: jax.Array | None = None,
            jump: jax.Array | None = None,
        ) -> tuple[StateWithLogLikelihood, UpdateInfo]:
            choice_key, sample_key = jax.random.split(rng_key)
            chosen = _choose_survivors(choice_key, state.particles, loglikelihood_0, num_delete)
            start = _rows(state.particles, chosen)
            if lineages is not None:
                covariance_factor = covariance_factor[lineages[0, chosen]]
                _, replaced = delete_fn(state, num_delete)
                lineages = lineages.at[:, replaced].set(lineages[:, chosen])
            tick = jax.vmap(partial(moves.tick, new_particle, loglikelihood_0))

            def walk(key: jax.Array, particles: StateWithLogLikelihood) -> tuple[StateWithLogLikelihood, ChainInfo]:
                slices = moves.draw(key, particles.position, covariance_factor, num_mcmc_steps)

                def walk_share(index: jax.Array) -> tuple[StateWithLogLikelihood, ChainInfo]:
                    of_share = jax.tree.map(lambda x: x[:, index], slices)
                    return _run_chains(moves.begin, tick, _rows(particles, index), of_share, lanes)

                return divided(walk_share, num_delete, devices)

            def one_more_round(
                index: jax.Array, walked: tuple[StateWithLogLikelihood, ChainInfo]
            ) -> tuple[StateWithLogLikelihood, ChainInfo]:
                particles, info = walk(jax.random.fold_in(sample_key, index), walked[0])
                return particles, jax.tree.map(jnp.add, walked[1], info)

            if rounds is None:
                particles, info = walk(sample_key, start)
            else:
                particles, info = jax.lax.fori_loop(0, rounds, one_more_round, (start, _no_info(num_delete)))
            slices = jnp.full(num_delete, num_mcmc_steps * (1 if rounds is None else rounds))
            births = jnp.full_like(particles.loglikelihood_birth, loglikelihood_0)
            # A stream of its own: the chains draw what they draw in blackjax.
            rank = _ranks(jax.random.fold_in(rng_key, 0), state.particles, loglikelihood_0, particles)
            jump = _jumps(covariance_factor, start.position, particles.position)
            return particles._replace(loglikelihood_birth=births), UpdateInfo(
                **info._asdict(), slices=slices, rank=rank, jump=jump, lineages=lineages
            )

        return update

    return strategy


def _choose_survivors(
    rng_key: jax.Array, particles: StateWithLogLikelihood, loglikelihood_0: jax.Array, number: int
) -> jax.Array:
    """Draw which points the chains start from, among those above the contour, or among all if there is none."""
    survives = (particles.loglikelihood > loglikelihood_0).astype(jnp.float32)
    survives = jnp.where(survives.sum() > 0.0, survives, jnp.ones_like(survives))
    return jax.random.choice(rng_key, len(survives), (number,), p=survives / survives.sum(), replace=True)


def _steering(
    moves: Moves, adapts: bool, rng_key: jax.Array, state: NSState, info: Any, params: Any
) -> dict[str, Any]:
    """The ``inner_kernel_params`` of ``blackjax.nss``: what steers the chains of the next iteration."""
    found = steering_by_others(moves, rng_key, state, info, params)
    if not adapts:
        return found
    if info is None:
        return found | {"rounds": jnp.asarray(1), "jump": jnp.asarray(ASSUMED_JUMP)}
    share = len(info.particles.loglikelihood) / len(state.particles.loglikelihood)
    rounds, jump = rounds_after(info.update_info.jump.mean(), share, params["rounds"], params["jump"])
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
    positions = jax.vmap(lambda position: ravel_pytree(position)[0])(state.particles.position)
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


def _ranks(
    rng_key: jax.Array, live: StateWithLogLikelihood, loglikelihood_0: jax.Array, new: StateWithLogLikelihood
) -> jax.Array:
    """The ``rank`` of ``UpdateInfo``; among equal log likelihoods it is drawn at random."""
    survivors = jnp.where(live.loglikelihood > loglikelihood_0, live.loglikelihood, jnp.inf)
    values, index = new.loglikelihood, jnp.arange(len(new.loglikelihood))
    below = (survivors < values[:, None]).sum(axis=1)
    equal = (survivors == values[:, None]).sum(axis=1)
    among_survivors = below + (jax.random.uniform(rng_key, values.shape) * (equal + 1)).astype(int)
    before = (values < values[:, None]) | ((values == values[:, None]) & (index < index[:, None]))
    return among_survivors + before.sum(axis=1)


def _jumps(covariance_factor: jax.Array, start: ArrayLikeTree, end: ArrayLikeTree) -> jax.Array:
    """The ``jump`` of ``UpdateInfo``; both positions have a leading axis of chains."""
    moved = jax.vmap(lambda a, b: ravel_pytree(b)[0] - ravel_pytree(a)[0])(start, end)
    of_chain = None if covariance_factor.ndim == 2 else 0
    solve = jax.vmap(partial(jax.scipy.linalg.solve_triangular, lower=True), in_axes=(of_chain, 0))
    return (solve(covariance_factor, moved) ** 2).mean(axis=1) / 2.0


def _run_chains(
    begin_slice: Callable, tick: Callable, start: StateWithLogLikelihood, slices: Slice, lanes: int
) -> tuple[StateWithLogLikelihood, ChainInfo]:
    """
    Move every chain through all of its slices; the last particles, and what each chain did.

    A lane whose chain is done takes the next from the queue. When none is left it is idle: it goes on with the
    numbers of the last chain, and nothing of that is kept.
    """
    num_steps, num_chains = slices.log_u.shape
    idle = num_chains

    def begin(chain: jax.Array, step: jax.Array, particle: StateWithLogLikelihood, info: Any) -> Chain:
        row = jnp.minimum(chain, num_chains - 1)
        return begin_slice(particle, jax.tree.map(lambda x: x[step, row], slices), info)

    def body(carry: tuple) -> tuple:
        running, chain, step, queue, particles, info = carry
        running, slice_done = tick(running)

        step = step + slice_done
        chain_done = (step == num_steps) & (chain < idle)
        finished = jnp.where(chain_done, chain, idle)
        particles = jax.tree.map(lambda all_, x: all_.at[finished].set(x, mode="drop"), particles, running.particle)
        info = jax.tree.map(lambda all_, x: all_.at[finished].set(x, mode="drop"), info, running.info)

        taken = jnp.cumsum(chain_done)
        chain = jnp.where(chain_done, jnp.minimum(queue + taken - 1, idle), chain)
        step = jnp.where(step == num_steps, 0, step)
        fresh = _rows(start, jnp.minimum(chain, num_chains - 1))
        particle = select(chain_done, fresh, running.particle)
        counts = select(chain_done, _no_info(lanes), running.info)
        running = select(slice_done, jax.vmap(begin)(chain, step, particle, counts), running)
        return running, chain, step, queue + taken[-1], particles, info

    chain, step = jnp.arange(lanes), jnp.zeros(lanes, int)
    running = jax.vmap(begin)(chain, step, _rows(start, chain), _no_info(lanes))
    carry = running, chain, step, jnp.asarray(lanes), start, _no_info(num_chains)
    *_, particles, info = jax.lax.while_loop(lambda carry: jnp.any(carry[1] < idle), body, carry)
    return particles, info


def _no_info(number: int) -> ChainInfo:
    return ChainInfo(*(jnp.zeros(number, int) for _ in ChainInfo._fields))


def _rows(tree: Any, index: jax.Array) -> Any:
    return jax.tree.map(lambda x: x[index], tree)


def has_converged(state: AdaptiveNSState, termination: float) -> jax.Array:
    """Whether the log evidence of the live points, relative to that of the dead points, is below ``termination``."""
    return state.integrator.logZ_live - state.integrator.logZ < termination


def evidence_is_lost(state: AdaptiveNSState) -> jax.Array:
    """Whether the log evidence is NaN, or can no longer resolve the prior volume: then no run can converge."""
    return jnp.isnan(state.integrator.logZ_live - state.integrator.logZ) | prior_volume_is_lost(state)


def prior_volume_is_lost(state: AdaptiveNSState) -> jax.Array:
    """Whether the live points are a plateau whose log likelihood swallows the log prior volume in rounding."""
    log_likelihood, integrator = state.particles.loglikelihood, state.integrator
    best = log_likelihood.max()
    return (log_likelihood.min() == best) & (integrator.logZ_live == best) & (integrator.logZ == best)


def with_records_only(dead: Any) -> NSInfo:
    """
    The dead points of an ``NSInfo``, with the ``ChainRecord`` of each chain, ``(num_delete,)``, as their only
    ``update_info``.

    Of blackjax's own update it is derived: a slice evaluates both ends of its bracket, each expansion and each
    shrink, and moves the chain if its budget suffices.
    """
    info = dead.update_info
    if isinstance(info, UpdateInfo):
        record: tuple[Any, ...] = info.evaluations, info.made, info.slices, info.accepted, info.rank, info.jump
    else:
        evaluations = (info.num_expansions + info.num_shrink + 2).sum(axis=-1)
        unknown = np.full_like(evaluations, -1)
        slices = np.full_like(evaluations, info.is_accepted.shape[-1])
        jump = np.full(evaluations.shape, np.nan)
        record = evaluations, evaluations, slices, info.is_accepted.sum(axis=-1), unknown, jump
    return NSInfo(dead.particles, ChainRecord(*(x.astype(t) for x, t in zip(record, RECORD_TYPES, strict=True))))


def _strongly_typed(tree: Any) -> Any:
    """``tree`` without weak types, so that the first and the later iterations share one compilation."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)
