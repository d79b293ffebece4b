"""Chains in lanes: an update of nested slice sampling in which no chain waits for another.

blackjax moves its chains in lockstep: for every slice, all wait for the slowest to step out left, then right, then
shrink, and the likelihood is compiled at five places. Here each chain is a small state machine (``chains.py``) that
stands wherever its own slice stands, and one tick moves every lane. Each chain draws the
same random numbers from the same keys as in blackjax, so with blackjax's moves the points are the same: to the last
bit with a lane for each chain, to rounding with fewer.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from blackjax.ns.base import NSState, StateWithLogLikelihood, delete_fn

from .chains import Chain, ChainInfo, Slice, select
from .records import ChainRecord, UpdateInfo, jumps, ranks
from .sharding import divided
from .slices import Moves


def single_evaluation_update(new_particle: Callable, lanes: int, moves: Moves, devices: int = 1) -> Callable:
    """
    An ``update_strategy`` for ``blackjax.nss`` in which each lane makes one tick at a time.

    With fewer lanes than chains, a lane that finishes its chain takes the next one. The number of lanes is felt only
    where the likelihood itself rounds differently in a batch of another size.

    Parameters
    ----------
    new_particle
        ``new_particle(position, loglikelihood_birth=...) -> StateWithLogLikelihood``, traceable, of one position.
    lanes
        How many chains move at once on a device.
    moves
        How the chains move.
    devices
        Over how many the chains are divided.
    """

    def strategy(_constrained_step: Callable, num_mcmc_steps: int, num_delete: int) -> Callable:
        def update(
            rng_key: jax.Array,
            state: NSState,
            contour: jax.Array,
            covariance_factor: jax.Array,
            lineages: jax.Array | None = None,
            rounds: jax.Array | None = None,
            jump: jax.Array | None = None,
        ) -> tuple[StateWithLogLikelihood, UpdateInfo]:
            choice_key, sample_key = jax.random.split(rng_key)
            chosen = _choose_survivors(choice_key, state.particles, contour, num_delete)
            start = rows_of(state.particles, chosen)
            if lineages is not None:
                covariance_factor = covariance_factor[lineages[0, chosen]]
                _, replaced = delete_fn(state, num_delete)
                lineages = lineages.at[:, replaced].set(lineages[:, chosen])
            tick = jax.vmap(partial(moves.tick, new_particle, contour))

            def walk(key: jax.Array, particles: StateWithLogLikelihood) -> tuple[StateWithLogLikelihood, ChainInfo]:
                slices = moves.draw(key, particles.position, covariance_factor, num_mcmc_steps)

                def walk_share(index: jax.Array) -> tuple[StateWithLogLikelihood, ChainInfo]:
                    of_share = jax.tree.map(lambda x: x[:, index], slices)
                    return run_chains(moves.begin, tick, rows_of(particles, index), of_share, lanes)

                return divided(walk_share, num_delete, devices)

            def one_more_round(
                index: jax.Array, walked: tuple[StateWithLogLikelihood, ChainInfo]
            ) -> tuple[StateWithLogLikelihood, ChainInfo]:
                particles, info = walk(jax.random.fold_in(sample_key, index), walked[0])
                return particles, jax.tree.map(jnp.add, walked[1], info)

            if rounds is None:
                particles, info = walk(sample_key, start)
            else:
                particles, info = jax.lax.fori_loop(0, rounds, one_more_round, (start, no_info(num_delete)))
            slices = jnp.full(num_delete, num_mcmc_steps * (1 if rounds is None else rounds))
            births = jnp.full_like(particles.loglikelihood_birth, contour)
            # A stream of its own: the chains draw what they draw in blackjax.
            rank = ranks(jax.random.fold_in(rng_key, 0), state.particles, contour, particles)
            jump = jumps(covariance_factor, start.position, particles.position)
            told: dict[str, Any] = {**info._asdict(), "slices": slices, "rank": rank, "jump": jump}
            return particles._replace(loglikelihood_birth=births), UpdateInfo(ChainRecord(**told), lineages)

        return update

    return strategy


def _choose_survivors(
    rng_key: jax.Array, particles: StateWithLogLikelihood, contour: jax.Array, number: int
) -> jax.Array:
    """Draw which points the chains start from, among those above the contour, or among all if there is none."""
    survives = (particles.loglikelihood > contour).astype(jnp.float32)
    survives = jnp.where(survives.sum() > 0.0, survives, jnp.ones_like(survives))
    return jax.random.choice(rng_key, len(survives), (number,), p=survives / survives.sum(), replace=True)


def run_chains(
    begin_slice: Callable, tick: Callable, start: StateWithLogLikelihood, slices: Slice, lanes: int
) -> tuple[StateWithLogLikelihood, ChainInfo]:
    """
    Move every chain through all of its slices; the last particles, and what each chain did.

    A lane whose chain is done takes the next from the queue. When none is left it is idle: it repeats the last chain,
    and its results are discarded.
    """
    num_steps, num_chains = slices.log_u.shape
    idle, where = num_chains, jax.vmap(select)

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
        fresh = rows_of(start, jnp.minimum(chain, num_chains - 1))
        particle = where(chain_done, fresh, running.particle)
        counts = where(chain_done, no_info(lanes), running.info)
        running = where(slice_done, jax.vmap(begin)(chain, step, particle, counts), running)
        return running, chain, step, queue + taken[-1], particles, info

    chain, step = jnp.arange(lanes), jnp.zeros(lanes, int)
    running = jax.vmap(begin)(chain, step, rows_of(start, chain), no_info(lanes))
    carry = running, chain, step, jnp.asarray(lanes), start, no_info(num_chains)
    *_, particles, info = jax.lax.while_loop(lambda carry: jnp.any(carry[1] < idle), body, carry)
    return particles, info


def no_info(number: int) -> ChainInfo:
    return ChainInfo(*(jnp.zeros(number, int) for _ in ChainInfo._fields))


def rows_of(tree: Any, index: jax.Array) -> Any:
    return jax.tree.map(lambda x: x[index], tree)
