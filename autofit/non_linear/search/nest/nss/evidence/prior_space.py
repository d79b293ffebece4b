"""Between a model's parameters and the space where its prior is a standard normal. Knows the host's models.

Chains walk in that space, because the prior is simple there: in the parameters a log-uniform prior over many decades
is a spike, and slices that fit the bulk of it miss the rest. A ``position`` is a point of the space that chains walk
in, ``parameters`` are what the model calls so.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from autofit.mapper.prior.gaussian import GaussianPrior
from autofit.mapper.prior.log_gaussian import LogGaussianPrior
from autofit.mapper.prior.truncated_gaussian import TruncatedGaussianPrior
from jax.scipy.special import ndtr, ndtri
from jax.scipy.stats import norm

from ..sampling.slices import Moves

# Where the normal distribution function of a double is neither 0 nor 1.
LOWEST, HIGHEST = 1e-300, 1.0 - 2.0**-53
# How many rows are transformed at once.
BLOCK_ROWS = 1024


class Space(NamedTuple):
    """
    The space that chains walk in.

    Attributes
    ----------
    draw
        ``draw(rng_key, n) -> (n, n_dim)`` positions, drawn from the prior.
    log_prior
        Traceable: the log prior density at one ``(n_dim,)`` position, but for a constant.
    to_parameters
        Traceable: the ``(n_dim,)`` parameters at one position.
    from_normal
        ``from_normal(z) -> positions`` of ``(n, n_dim)`` points where the prior is a standard normal.
    to_normal
        Its inverse. Raises ``ValueError`` if a prior has none.
    described
        ``described(positions) -> (parameters, log_prior)`` of ``(n, n_dim)`` positions: their parameters, and the
        log prior that the host gives these.
    """

    draw: Callable[[jax.Array, int], jax.Array]
    log_prior: Callable[[jax.Array], jax.Array]
    to_parameters: Callable[[jax.Array], jax.Array]
    from_normal: Callable[[np.ndarray], np.ndarray]
    to_normal: Callable[[np.ndarray], np.ndarray]
    described: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def space_of(model: Any, moves: Moves) -> Space:
    """Where chains that make these moves walk: where the prior is a standard normal, or in the parameters."""

    def host_log_prior(parameters: jax.Array) -> Any:
        return sum(model.log_prior_list_from_vector(parameters, xp=jnp))

    if moves.in_normal_space:
        return Space(
            draw=lambda rng_key, n: jax.random.normal(rng_key, (n, model.prior_count)),
            log_prior=lambda position: norm.logpdf(position).sum(),
            # The barrier keeps XLA from computing the transform anew for each pixel.
            to_parameters=lambda position: jax.lax.optimization_barrier(parameters_at(model, position)),
            from_normal=lambda z: z,
            to_normal=lambda positions: positions,
            described=for_all_rows(
                lambda position: ((found := parameters_at(model, position)), host_log_prior(found))
            ),
        )
    return Space(
        draw=lambda rng_key, n: draw_parameters(rng_key, n, model),
        log_prior=host_log_prior,
        to_parameters=lambda position: position,
        from_normal=for_all_rows(lambda z: parameters_at(model, z)),
        to_normal=lambda positions: to_standard_normal(model, positions),
        described=for_all_rows(lambda position: (position, host_log_prior(position))),
    )


def draw_parameters(rng_key: jax.Array, n: int, model: Any) -> jax.Array:
    """``(n, n_dim)`` parameters, drawn from the prior in one compiled call."""
    of_one = jax.vmap(lambda unit: model.vector_from_unit_vector(unit, xp=jnp))
    return jax.jit(of_one)(jax.random.uniform(rng_key, (n, model.prior_count)))


def for_all_rows(function: Callable[[jax.Array], Any]) -> Callable[[np.ndarray], Any]:
    """A traceable ``function`` of one row as one of any number of rows, of NumPy arrays, which is compiled once."""
    of_block = jax.jit(jax.vmap(function))

    def of_all(rows: np.ndarray) -> Any:
        number = len(rows)
        padded = np.asarray(rows)[np.minimum(np.arange(-(-number // BLOCK_ROWS) * BLOCK_ROWS), number - 1)]
        blocks = [jax.device_get(of_block(block)) for block in padded.reshape(-1, BLOCK_ROWS, padded.shape[1])]
        return jax.tree.map(lambda *found: np.concatenate(found)[:number], *blocks)

    return of_all


def parameters_at(model: Any, z: jax.Array) -> jax.Array:
    """
    Traceable: the ``(n_dim,)`` parameters at one ``(n_dim,)`` point where the prior is a standard normal.

    Transforms of several priors are one operation on arrays wherever they can be: on a GPU, XLA takes a second to
    compile each of them.
    """
    priors = [prior for _, prior in model.prior_tuples_ordered_by_id]
    truncated = [index for index, prior in enumerate(priors) if type(prior) is TruncatedGaussianPrior]
    of_truncated = _truncated_gaussian_at([priors[i] for i in truncated], z[jnp.array(truncated, int)])
    values = dict(zip(truncated, of_truncated, strict=True))
    units = jnp.clip(ndtr(z), LOWEST, HIGHEST)
    for index, prior in enumerate(priors):
        if type(prior) is GaussianPrior:  # not from the unit interval, which ends at 8 sigma
            values[index] = prior.mean + prior.sigma * z[index]
        elif type(prior) is LogGaussianPrior:
            values[index] = jnp.exp(prior.mean + prior.sigma * z[index])
        elif index not in values:
            values[index] = prior.value_for(units[index], xp=jnp)
    return jnp.stack([values[index] for index in range(len(priors))])


def _truncated_gaussian_at(priors: list[TruncatedGaussianPrior], z: jax.Array) -> jax.Array:
    """
    ``(m,)`` float: the values of these priors at ``(m,)`` z, computed from the tail in which the share beyond z is a
    small number, which doubles resolve.
    """
    names = "mean", "sigma", "lower_limit", "upper_limit"
    mean, sigma, lowest, highest = (np.array([getattr(prior, name) for prior in priors], float) for name in names)
    lower, upper = (lowest - mean) / sigma, (highest - mean) / sigma
    below = jnp.where((lower < 0.0) & (upper > 0.0), z < 0.0, upper <= 0.0)
    at_lower, at_upper, at_z = (ndtr(jnp.where(below, x, -x)) for x in (lower, upper, z))
    least, most = jnp.where(below, at_lower, at_upper), jnp.where(below, at_upper, at_lower)
    share = jnp.maximum(least + at_z * (most - least), LOWEST)
    return jnp.clip(mean + sigma * jnp.where(below, 1.0, -1.0) * ndtri(share), lowest, highest)


def to_standard_normal(model: Any, parameters: np.ndarray) -> np.ndarray:
    """
    ``(n, n_dim)`` float: parameters, ``(n, n_dim)`` in the order of the model's vectors, in the space where their
    prior is a standard normal.

    Raises
    ------
    ValueError
        If a prior has no distribution function, or one that is not the inverse of its transform.
    """
    priors, columns = model.prior_tuples_ordered_by_id, []
    for (name, prior), values in zip(priors, parameters.T, strict=True):
        try:
            columns.append(np.asarray(_normal_at(prior, values), dtype=float))
        except Exception as error:
            raise ValueError(
                f"the prior {type(prior).__name__} of the parameter {name!r} has no unit_value_for of arrays "
                f"({error!r})"
            ) from error
    z, ends = np.stack(columns, axis=1), [0, -1]
    back = np.asarray(jax.jit(jax.vmap(partial(parameters_at, model)))(z[ends]))
    differs = ~np.isclose(back, parameters[ends], rtol=1e-4, atol=1e-4 * np.ptp(parameters, axis=0)).all(axis=0)
    if differs.any():
        name, prior = priors[int(np.argmax(differs))]
        raise ValueError(
            f"unit_value_for of the prior {type(prior).__name__} of the parameter {name!r} is not the inverse of its "
            "value_for"
        )
    return z


def _normal_at(prior: Any, values: np.ndarray) -> Any:
    if type(prior) is GaussianPrior:
        return (values - prior.mean) / prior.sigma
    if type(prior) is LogGaussianPrior:
        return (np.log(values) - prior.mean) / prior.sigma
    return ndtri(np.clip(np.asarray(prior.unit_value_for(values), dtype=float), LOWEST, HIGHEST))
