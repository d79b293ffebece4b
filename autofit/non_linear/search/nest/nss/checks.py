"""Errors people can act on: what is checked before a run begins, and what JAX's own errors mean. Each error
names what was given and what to do."""

from __future__ import annotations

import numbers
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from autofit import exc

try:
    import jax
    import jax.numpy as jnp
except ImportError:  # of which ``why_not_imported`` tells
    pass

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
            raise exc.SearchException(
                f"af.NSS cannot use the prior {type(prior).__name__} of the parameter {name!r}: its value_for or "
                "log_prior_from_value is infinite or NaN within the prior. Look at its limits, which may be too far "
                "from its mean."
            )
        if np.ptp(log_density) > PRIOR_TOLERANCE:
            raise exc.SearchException(
                f"af.NSS cannot use the prior {type(prior).__name__} of the parameter {name!r}: its "
                "log_prior_from_value is not the log density of what its value_for draws; over the prior they differ "
                f"by up to {np.ptp(log_density):.2g}, besides a constant. Make them agree."
            )


def _log_density_of_units(prior: Any, units: jax.Array) -> jax.Array:
    """``(n,)`` float: the log density of a prior with respect to the unit, at ``(n,)`` units. A constant."""
    values, slopes = jax.jvp(lambda x: prior.value_for(x, xp=jnp), (units,), (jnp.ones_like(units),))
    return prior.log_prior_from_value(values, xp=jnp) + jnp.log(jnp.abs(slopes))


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


def check_arguments(given: dict[str, Any], moves: Iterable[str]) -> None:
    """
    Whether a run is possible with the arguments ``given`` to the search, by name, and with these ``moves``.

    Raises
    ------
    ValueError
        If one has a value with which none is; the message names it and says what to give.
    """
    check_folder("name", given["name"], str)
    for name in ("path_prefix", "unique_tag"):
        check_folder(name, given[name], str, Path)
    check_session(given["session"])
    check_count("n_live", given["n_live"], minimum=2)
    for name in ("num_delete", "number_of_cores"):
        check_count(name, given[name])
    for name in ("num_mcmc_steps", "chunk_size"):
        if given[name] is not None:
            check_count(name, given[name])
    for name in ("checkpoint_interval", "iterations_per_quick_update", "iterations_per_full_update"):
        check_interval(name, given[name])
    check_seconds("stalled_after", given["stalled_after"])
    check_importance(given["num_importance_draws"], given["n_eff"])
    check_start_from(given["start_from"], given["num_importance_draws"])
    check_choice("moves", given["moves"], moves)
    check_num_delete(given["num_delete"], given["n_live"])
    check_termination(given["termination"])
    check_count("seed", given["seed"], minimum=0, maximum=2**63 - 1)


def check_folder(name: str, value: Any, *kinds: type) -> None:
    """Whether ``value`` is ``None``, or of one of these kinds and a path with which a folder can be made."""
    if value is None:
        return
    text = str(value)
    if not isinstance(value, kinds) or "\0" in text or any(len(os.fsencode(part)) > 255 for part in text.split("/")):
        raise ValueError(
            f"{name}={value!r} is not possible: give a text that can name a folder (255 bytes at most), or None."
        )


def check_session(value: Any) -> None:
    if value is not None and not hasattr(value, "query"):
        raise ValueError(f"session={value!r} is not possible: give what autofit.db.open_database returns, or None.")


def _is(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def check_count(name: str, value: Any, minimum: int = 1, maximum: int = 2**31 - 1) -> None:
    if not _is(numbers.Integral, value) or not minimum <= value <= maximum:
        raise ValueError(f"{name}={value!r} is not possible: give a whole number from {minimum} to {maximum:,}.")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r} is not possible: give one of {', '.join(map(repr, choices))}.")


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


def check_interval(name: str, value: Any) -> None:
    if value is None:
        return
    # A whole float passes: the host writes its cadences to search.json as floats, and "never" as 1e99.
    if not _is(numbers.Real, value) or not 1 <= value <= sys.float_info.max or value % 1 != 0:
        raise ValueError(f"{name}={value!r} is not possible: give a whole number of at least 1, or None.")


def check_seconds(name: str, value: Any) -> None:
    if value is not None and not (_is(numbers.Real, value) and 0.0 < value < 1e9):
        raise ValueError(f"{name}={value!r} is not possible: give a positive number of seconds below 1e9, or None.")


def check_importance(num_importance_draws: Any, n_eff: Any) -> None:
    if num_importance_draws is not None:
        check_count("num_importance_draws", num_importance_draws, minimum=0)
    if n_eff is not None:
        check_count("n_eff", n_eff, maximum=1_000_000)
        if num_importance_draws == 0:
            raise ValueError(
                f"n_eff={n_eff!r} is not possible with num_importance_draws=0: its samples are importance draws. "
                "Leave num_importance_draws out, or n_eff."
            )


def fits_in(value: Any) -> tuple[Any, ...]:
    """The fits whose results or samples were given as ``start_from``."""
    return () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (value,)


def check_start_from(value: Any, num_importance_draws: Any) -> None:
    known = fits_in(value)
    if known and num_importance_draws == 0:
        raise ValueError(
            "num_importance_draws=0 is not possible with start_from: the draws are what it is for. Leave one out."
        )
    for fit in known:
        samples = getattr(fit, "samples", fit)
        if samples is not None and not hasattr(samples, "parameter_lists"):
            raise ValueError(
                f"start_from={fit!r} is not possible: give the result that a fit of the same parameters returned, or "
                "its samples, or a list of them."
            )


def check_num_delete(num_delete: int, n_live: int) -> None:
    if num_delete >= n_live:
        raise ValueError(
            f"num_delete={num_delete!r} is not possible with n_live={n_live!r}: at least one live point must "
            "survive each iteration. Lower num_delete or raise n_live."
        )


def check_termination(termination: float) -> None:
    if not _is(numbers.Real, termination) or not -sys.float_info.max <= termination <= 0.0:
        raise ValueError(
            f"termination={termination!r} is not possible: it is the log of a ratio of evidences to fall below. "
            "Give a finite number that is zero or negative, such as -3.0."
        )
