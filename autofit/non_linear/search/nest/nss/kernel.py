"""The JAX side of nested slice sampling: pure functions on device arrays, built on ``blackjax.nss``.

Nothing here knows models, paths or files; log prior and log likelihood come in as traceable functions of one
parameter vector.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import blackjax
import jax
import jax.numpy as jnp
from blackjax.ns.adaptive import AdaptiveNSState
from blackjax.ns.adaptive import init as adaptive_init
from blackjax.ns.base import NSInfo, init_state_strategy
from blackjax.ns.from_mcmc import update_with_mcmc_take_last
from blackjax.ns.nss import live_covariance_factor


class NestedSliceSampler(NamedTuple):
    """
    The two compiled functions of a run.

    Attributes
    ----------
    init
        ``init(positions) -> state``: the state of a run from ``(n_live, n_dim)`` draws from the prior.
    one_step
        ``one_step((state, rng_key)) -> ((state, rng_key), dead)``: one iteration, ``num_delete`` deaths. ``dead``
        is an ``NSInfo`` whose ``update_info`` is the number of likelihood evaluations of each chain,
        ``(num_delete,)`` int.
    """

    init: Callable
    one_step: Callable


def nested_slice_sampler(
    log_prior: Callable,
    log_likelihood: Callable,
    num_delete: int,
    num_mcmc_steps: int,
    chunk_size: int | None = None,
) -> NestedSliceSampler:
    """
    Nested slice sampling (Yallup, Kroupa & Handley 2026, arXiv:2601.23252) as ``blackjax.nss`` does it.

    Parameters
    ----------
    log_prior, log_likelihood
        Traceable functions of one ``(n_dim,)`` parameter vector.
    num_delete
        Points that die, and chains that replace them, in each iteration.
    num_mcmc_steps
        Slices of each chain.
    chunk_size
        The most likelihoods in memory at once; ``None`` for no bound.
    """
    algorithm = blackjax.nss(
        logprior_fn=log_prior,
        loglikelihood_fn=log_likelihood,
        num_delete=num_delete,
        num_inner_steps=num_mcmc_steps,
        update_strategy=partial(update_in_chunks, chunk_size=chunk_size)
        if chunk_size
        else update_with_mcmc_take_last,
    )
    new_particle = partial(init_state_strategy, logprior_fn=log_prior, loglikelihood_fn=log_likelihood)
    new_particles = (
        partial(jax.lax.map, new_particle, batch_size=chunk_size) if chunk_size else jax.vmap(new_particle)
    )

    @jax.jit
    def init(positions):
        state = adaptive_init(positions, new_particles, update_inner_kernel_params_fn=live_covariance_factor)
        return _strongly_typed(state)

    @jax.jit
    def one_step(carry):
        state, rng_key = carry
        rng_key, step_key = jax.random.split(rng_key)
        state, info = algorithm.step(step_key, state)
        return (state, rng_key), without_diagnostics(info)

    return NestedSliceSampler(init, one_step)


def update_in_chunks(constrained_step: Callable, num_mcmc_steps: int, num_delete: int, chunk_size: int) -> Callable:
    """
    An ``update_strategy`` for ``blackjax.nss``: ``update_with_mcmc_take_last`` with the same keys, but with no
    more than ``chunk_size`` chains in memory at once.
    """

    def update(rng_key, state, loglikelihood_0, **step_parameters):
        choice_key, sample_key = jax.random.split(rng_key)
        particles = state.particles
        survivors = (particles.loglikelihood > loglikelihood_0).astype(jnp.float32)
        survivors = jnp.where(survivors.sum() > 0.0, survivors, jnp.ones_like(survivors))
        chosen = jax.random.choice(
            choice_key, len(survivors), (num_delete,), p=survivors / survivors.sum(), replace=True
        )
        step = partial(constrained_step, loglikelihood_0=loglikelihood_0, **step_parameters)

        def chain(key_and_particle):
            key, particle = key_and_particle
            return jax.lax.scan(lambda p, k: step(k, p), particle, jax.random.split(key, num_mcmc_steps))

        new, info = jax.lax.map(
            chain,
            (jax.random.split(sample_key, num_delete), jax.tree.map(lambda x: x[chosen], particles)),
            batch_size=chunk_size,
        )
        return new._replace(loglikelihood_birth=jnp.full_like(new.loglikelihood_birth, loglikelihood_0)), info

    return update


def draw_from_prior(rng_key: jax.Array, n: int, n_dim: int, from_unit_vector: Callable) -> jax.Array:
    """
    ``n`` draws from the prior, ``(n, n_dim)``, in one compiled call.

    ``from_unit_vector`` is the traceable prior transform of one ``(n_dim,)`` vector of the unit cube.
    """
    return jax.jit(jax.vmap(from_unit_vector))(jax.random.uniform(rng_key, (n, n_dim)))


def remaining_log_evidence(state: AdaptiveNSState) -> float:
    """Log of the evidence the live points still hold, relative to what the dead points have contributed."""
    return float(state.integrator.logZ_live - state.integrator.logZ)


def prior_volume_is_lost(state: AdaptiveNSState) -> bool:
    """Whether the live points are a plateau whose log likelihood swallows the log prior volume in rounding."""
    log_likelihood = state.particles.loglikelihood
    best = log_likelihood.max()
    return bool((log_likelihood.min() == best) & (state.integrator.logZ_live == best))


def without_diagnostics(dead: NSInfo) -> NSInfo:
    """
    The dead points with the number of likelihood evaluations of each chain, ``(num_delete,)`` int, as their only
    ``update_info``: a slice evaluates both ends of its bracket, each expansion and each shrink.
    """
    info = dead.update_info
    return NSInfo(dead.particles, (info.num_expansions + info.num_shrink + 2).sum(axis=-1))


def _strongly_typed(tree):
    """``tree`` without weak types, so that the first and the later iterations share one compilation."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)
