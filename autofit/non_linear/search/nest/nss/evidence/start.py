"""What is known of a posterior before its fit: densities of the samples of earlier fits. Knows the host's models and
samples, not files or the search.

A run that starts from them needs no good chains and few live points: they look for what the densities do not know,
and the evidence and the posterior come from the importance draws, which begin with both.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from autofit import exc

from ..sampling.slices import STEPPING_OUT
from .mixture import Mixture, effective_number, fitted_mixture
from .prior_space import space_of, to_standard_normal

# With a start, by how much the live points, and those replaced at once, are fewer.
FEWER = 4


def scouts(n_live: int, num_delete: int, n_dim: int) -> tuple[int, int]:
    """How many live points look for what the start does not know, and how many of them are replaced at once."""
    few = min(n_live, max(n_live // FEWER, 2 * n_dim + 2))
    return few, max(1, num_delete * few // n_live)


def densities_of(model: Any, known: Sequence[Any], seed: int) -> tuple[Mixture, ...]:
    """
    A density for each of what is ``known``, results or samples of fits of the same parameters, in the space where the
    prior of ``model`` is a standard normal.

    Raises
    ------
    SearchException
        If one has other parameters, or too few samples within the priors of ``model``; the message says which.
    """
    return tuple(_density_of(model, fit, f"start_from[{index}]", seed) for index, fit in enumerate(known))


def _density_of(model: Any, fit: Any, name: str, seed: int) -> Mixture:
    samples = getattr(fit, "samples", fit)
    if samples is None:
        raise exc.SearchException(f"{name} holds no samples. Give a fit whose samples were kept, or leave it out.")
    parameters = _in_order_of(model, samples, name)
    weights = np.asarray(samples.weight_list, dtype=float)
    inside = np.isfinite(space_of(model, STEPPING_OUT).described(parameters)[1]) & (weights > 0.0)
    found, least = effective_number(weights[inside]) if np.any(inside) else 0.0, 2 * model.prior_count + 2
    if found < least:
        raise exc.SearchException(
            f"{name} holds {len(inside):,} samples, which within the priors of this model are worth {found:.0f} "
            f"independent ones, and {least} are needed to know where the posterior is. Give a fit that samples the "
            "posterior within these priors, or leave it out."
        )
    try:
        positions = to_standard_normal(model, parameters[inside])
    except ValueError as error:
        raise exc.SearchException(f"{name} cannot be used, since {error}.") from error
    return fitted_mixture(positions, weights[inside], np.random.default_rng(seed))


def _in_order_of(model: Any, samples: Any, name: str) -> np.ndarray:
    """``(n, n_dim)`` float: the parameters of the samples, matched with those of ``model`` by their paths."""
    wanted, given = (
        [".".join(map(str, of.path_for_prior(prior))) for prior in of.priors_ordered_by_id]
        for of in (model, samples.model)
    )
    if unlike := sorted(set(wanted) ^ set(given)):
        raise exc.SearchException(
            f"{name} is of a fit with other parameters: one of the two models alone has {', '.join(unlike)}. Give a "
            "fit of the same parameters."
        )
    return np.asarray(samples.parameter_lists, dtype=float)[:, [given.index(path) for path in wanted]]
