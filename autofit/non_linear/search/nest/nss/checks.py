"""Errors people can act on: what is checked before a run begins, and what JAX's own errors mean. Each error
names what was given and what to do."""

from __future__ import annotations

import numbers
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from autofit import exc

try:
    import jax
    import jax.numpy as jnp
except ImportError:  # of which ``why_not_imported`` tells
    pass

# Whether a value is possible, and in words what to give where it is not.
Possible = tuple[Callable[[Any], bool], str]
# By how much the log density of a prior may differ between its draws and its density: more than rounding does.
PRIOR_TOLERANCE = 0.01


def why_not_imported(error: Exception | None) -> ImportError:
    """What is missing for ``af.NSS`` to run."""
    if isinstance(error, (AssertionError, RuntimeError)):
        return ImportError(
            f"JAX could not start on JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r}: install the JAX of that "
            "device (pip install 'jax[cuda12]' for a GPU) and look whether it is visible (nvidia-smi), or unset "
            f"JAX_PLATFORMS to run on the CPU. ({error!r})"
        )
    return ImportError(
        f"af.NSS needs jax, blackjax, filelock and tqdm: pip install 'blackjax>=1.7.1' filelock tqdm ({error})"
    )


def check_priors(model: Any) -> None:
    """
    Whether JAX can trace the transform and the density of every prior, and whether both are of the same prior; else a
    ``SearchException`` names it.
    """
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    for name, prior in model.prior_tuples_ordered_by_id:
        for method in ("value_for", "log_prior_from_value"):
            try:
                jax.eval_shape(lambda x: getattr(prior, method)(x, xp=jnp), number)  # noqa: B023
            except Exception as error:
                raise exc.SearchException(
                    f"af.NSS cannot use the prior {type(prior).__name__} of the parameter {name!r}: JAX could not "
                    f"trace its {method} ({type(error).__name__}: {str(error).splitlines()[0]}). Take one of "
                    f"PyAutoFit's priors, or write {method}(value, xp) with the functions of xp alone."
                ) from error
    priors = [prior for _, prior in model.prior_tuples_ordered_by_id]
    of_all = jax.jit(lambda units: jnp.stack([_log_density_of_units(prior, units) for prior in priors]))
    found = np.asarray(of_all(jnp.linspace(0.02, 0.98, 25)))
    for (name, prior), log_density in zip(model.prior_tuples_ordered_by_id, found, strict=True):
        if not np.all(np.isfinite(log_density)):
            why = (
                "value_for or log_prior_from_value is infinite or NaN within the prior. Look at its limits, which "
                "may be too far from its mean."
            )
        elif np.ptp(log_density) > PRIOR_TOLERANCE:
            why = (
                "log_prior_from_value is not the log density of what its value_for draws; over the prior they differ "
                f"by up to {np.ptp(log_density):.2g}, besides a constant. Make them agree."
            )
        else:
            continue
        raise exc.SearchException(
            f"af.NSS cannot use the prior {type(prior).__name__} of the parameter {name!r}: its {why}"
        )


def _log_density_of_units(prior: Any, units: jax.Array) -> jax.Array:
    """``(n,)`` float: the log density of a prior with respect to the unit, at ``(n,)`` units. A constant."""

    def of_unit(unit: jax.Array) -> jax.Array:
        value, slope = jax.jvp(lambda x: prior.value_for(x, xp=jnp), (unit,), (jnp.ones_like(unit),))
        return prior.log_prior_from_value(value, xp=jnp) + jnp.log(jnp.abs(slope))

    return jax.vmap(of_unit)(units)


def check_log_likelihood(log_likelihood: Callable, n_dim: int) -> None:
    """Whether the traceable log likelihood of one vector is one real number; else a ``SearchException``."""
    found = jax.eval_shape(log_likelihood, jax.ShapeDtypeStruct((n_dim,), jnp.result_type(float)))
    if found.shape != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise exc.SearchException(
            f"log_likelihood_function returns an array of shape {found.shape} and type {found.dtype}; it has to "
            "return one real number for one instance of the model, such as the jnp.sum over all pixels."
        )


def check_first_points(log_likelihoods: np.ndarray, invalid_value: float) -> str:
    """What is remarkable of the ``(n_live,)`` log likelihoods of the first points, if anything; one must be valid."""
    invalid = np.count_nonzero(log_likelihoods <= invalid_value)
    if invalid == len(log_likelihoods):
        raise exc.SearchException(
            f"None of the n_live={invalid} points drawn from the prior has a valid log likelihood: each is "
            "NaN, infinite, above the magnitude ceiling or ruled out by an assertion on the model. Evaluate "
            "the analysis's log_likelihood_function at a point you know, and check the priors."
        )
    if invalid == 0:
        return ""
    return (
        f"{invalid} of the n_live={len(log_likelihoods)} points drawn from the prior are invalid (NaN, infinite or "
        "ruled out by an assertion); they die first, and count as prior volume without likelihood."
    )


def _is(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _folder(*kinds: type) -> Possible:
    def names_one(value: Any) -> bool:
        parts = str(value).split("/")
        return isinstance(value, kinds) and "\0" not in str(value) and all(len(os.fsencode(p)) < 256 for p in parts)

    return names_one, "a text that can name a folder (255 bytes at most)"


def _whole(least: int, most: int = 2**31 - 1) -> Possible:
    return lambda x: _is(numbers.Integral, x) and least <= x <= most, f"a whole number from {least} to {most:,}"


def _or_none(possible: Possible) -> Possible:
    return lambda value: value is None or possible[0](value), f"{possible[1]}, or None"


def _is_interval(value: Any) -> bool:
    # A whole float passes: the host writes its cadences to search.json as floats, and "never" as 1e99.
    return _is(numbers.Real, value) and 1 <= value <= sys.float_info.max and value % 1 == 0


def _holds_samples(fit: Any) -> bool:
    samples = getattr(fit, "samples", fit)
    return samples is None or hasattr(samples, "parameter_lists")


_INTERVAL = _or_none((_is_interval, "a whole number of at least 1"))
# What each argument of the search may be.
POSSIBLE: dict[str, Possible] = {
    "name": _or_none(_folder(str)),
    "path_prefix": _or_none(_folder(str, Path)),
    "unique_tag": _or_none(_folder(str, Path)),
    "session": _or_none((lambda value: hasattr(value, "query"), "what autofit.db.open_database returns")),
    "n_live": _whole(2),
    "num_delete": _whole(1),
    "number_of_cores": _whole(1),
    "num_mcmc_steps": _or_none(_whole(1)),
    "chunk_size": _or_none(_whole(1)),
    "checkpoint_interval": _INTERVAL,
    "iterations_per_quick_update": _INTERVAL,
    "iterations_per_full_update": _INTERVAL,
    "stalled_after": _or_none(
        (lambda x: _is(numbers.Real, x) and 0.0 < x < 1e9, "a positive number of seconds below 1e9")
    ),
    "num_importance_draws": _or_none(_whole(0)),
    "n_eff": _or_none(_whole(1, 1_000_000)),
    "start_from": (
        lambda value: all(map(_holds_samples, fits_in(value))),
        "the result that a fit of the same parameters returned, or its samples, or a list of them",
    ),
    "termination": (
        lambda value: _is(numbers.Real, value) and -sys.float_info.max <= value <= 0.0,
        "the log of a ratio of evidences to fall below, a finite number that is zero or negative, such as -3.0",
    ),
    "seed": _whole(0, 2**63 - 1),
}


def check_arguments(given: dict[str, Any], moves: Collection[str]) -> None:
    """
    Whether a run is possible with the arguments ``given`` to the search, by name, and with these ``moves``.

    Raises
    ------
    ValueError
        If one has a value with which none is; the message names it and says what to give.
    """
    of_moves = {"moves": (lambda x: isinstance(x, str) and x in moves, f"one of {', '.join(map(repr, moves))}")}
    for name, (is_possible, possible) in {**POSSIBLE, **of_moves}.items():
        if not is_possible(given[name]):
            raise ValueError(f"{name}={given[name]!r} is not possible: give {possible}.")
    n_live, num_delete, draws = given["n_live"], given["num_delete"], given["num_importance_draws"]
    if num_delete >= n_live:
        raise ValueError(
            f"num_delete={num_delete} is not possible with n_live={n_live}: at least one live point must survive "
            "each iteration. Lower num_delete or raise n_live."
        )
    for name, wanted in {"n_eff": given["n_eff"], "start_from": fits_in(given["start_from"])}.items():
        if wanted and draws == 0:
            raise ValueError(f"num_importance_draws=0 is not possible with {name}, which needs draws. Leave one out.")


def fits_in(value: Any) -> tuple[Any, ...]:
    """The fits whose results or samples were given as ``start_from``."""
    return () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (value,)


def doubt_about_cores(number_of_cores: int, devices: list[Any]) -> str:
    """What to do so that so many cores are devices of their own; empty if they are."""
    if number_of_cores <= len(devices):
        return ""
    if devices[0].platform != "cpu":
        return f"number_of_cores={number_of_cores} is ignored: JAX runs on {len(devices)} {devices[0].device_kind}."
    return (
        f"number_of_cores={number_of_cores}, and JAX has {len(devices)} CPU device(s), which cannot be changed any "
        f"more: export JAX_NUM_CPU_DEVICES={number_of_cores} before Python starts. (One device uses several cores.)"
    )
