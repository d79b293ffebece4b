"""Between a model's parameters and the space where its prior is a standard normal. Knows the host's models."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

# Where the normal distribution function of a double is neither 0 nor 1.
LOWEST, HIGHEST = 1e-300, 1.0 - 2.0**-53


def to_standard_normal(model: Any, positions: np.ndarray) -> np.ndarray:
    """
    ``(n, n_dim)`` float: parameters, ``(n, n_dim)`` in the order of the model's vectors, in the space where their
    prior is a standard normal.

    Raises
    ------
    ValueError
        If a prior has no distribution function, or one that is not the inverse of its transform.
    """
    columns = []
    for (name, prior), values in zip(model.prior_tuples_ordered_by_id, positions.T, strict=True):
        try:
            unit = np.asarray(prior.unit_value_for(values), dtype=float)
            # The traceable transform: the host's other one rounds to 14 decimal places.
            back = np.asarray(prior.value_for(unit[[0, -1]], xp=jnp))
        except Exception as error:
            raise ValueError(
                f"the prior {type(prior).__name__} of the parameter {name!r} has no unit_value_for of arrays "
                f"({error!r})"
            ) from error
        if not np.allclose(back, values[[0, -1]], rtol=1e-4, atol=1e-4 * np.ptp(values)):
            raise ValueError(
                f"unit_value_for of the prior {type(prior).__name__} of the parameter {name!r} is not the inverse of "
                "its value_for"
            )
        columns.append(unit)
    return ndtri(np.clip(np.stack(columns, axis=1), LOWEST, HIGHEST))


def from_standard_normal(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A function that takes ``(n, n_dim)`` points of that space to parameters."""

    transform = jax.jit(jax.vmap(lambda point: model_parameters_at(model, point)))
    return lambda points: np.asarray(transform(points))


def model_parameters_at(model: Any, point: jax.Array) -> jax.Array:
    """Traceable: the parameters at one ``(n_dim,)`` point of that space."""
    unit = jnp.clip(jax.scipy.special.ndtr(point), LOWEST, HIGHEST)
    return model.vector_from_unit_vector(unit, xp=jnp)


def log_prior(model: Any, positions: np.ndarray) -> np.ndarray:
    """``(n,)`` float: the host's log prior at ``(n, n_dim)`` parameters."""
    of_one = jax.vmap(lambda vector: sum(model.log_prior_list_from_vector(vector, xp=jnp)))
    return np.asarray(jax.jit(of_one)(positions))
