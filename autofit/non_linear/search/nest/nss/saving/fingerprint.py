"""What makes a run the run it is, and what differs between the one that was checkpointed and the one that resumes, or
between those of two processes."""

import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import jax.numpy as jnp
import numpy as np
from autofit.mapper.identifier import Identifier

from ..evidence.mixture import Mixture
from ..sampling.run import Run
from .history import CheckpointError

#: Another value of these is another run; another value of the rest of a fingerprint is worth a warning.
MUST_MATCH = ("settings", "parameters", "model", "precision")
#: The square root of the precision of a double.
ROUNDING = math.sqrt(np.finfo(float).eps)
#: By how much the same log likelihood may differ between devices, or where it is noisy, as inversions are on GPUs:
#: the relative tolerance of the host's own check of a resumed fit, and what changes no posterior.
NOISE = {"relative": 1e-5, "absolute": 0.01}
# In standard deviations, by how much two fits of a density to the same samples may differ.
DENSITY_TOLERANCE = 0.2


def fingerprint_of(settings: dict[str, Any], model: Any, devices: Sequence[Any]) -> dict[str, Any]:
    """
    What makes a run the run it is, as strings, numbers, lists and dicts: the ``settings`` that change its samples,
    the parameters and priors of ``model``, the precision, the versions of the libraries and the devices.
    """
    return {
        "settings": settings,
        "parameters": [
            f"{'.'.join(map(str, model.path_for_prior(prior)))}: {type(prior).__name__}({prior.parameter_string})"
            for prior in (named.prior for named in model.prior_tuples_ordered_by_id)
        ],
        "model": str(Identifier(model)),
        "precision": str(jnp.result_type(float)),
        "versions": {name: version(name) for name in ("autofit", "blackjax", "jax", "numpy", "scipy")},
        "device": f"{devices[0].platform}, {devices[0].device_kind}",
        "number of devices": len(devices),
    }


def differences(saved: dict[str, Any], current: dict[str, Any]) -> tuple[list[str], list[str]]:
    """
    What differs between two fingerprints, as sentences: first what makes them different runs, then the rest.

    What ``saved`` does not record differs in nothing.
    """
    different_run, remarkable = [], []
    for name in current:
        found = _differences(name, saved.get(name, current[name]), current[name])
        (different_run if name in MUST_MATCH else remarkable).extend(found)
    return different_run, remarkable


def first_difference(
    before: Any, now: Any, relative: float = ROUNDING, absolute: float = ROUNDING
) -> tuple[str, float, float] | None:
    """
    Of which of log likelihood and log prior two sets of particles have two values that differ by more than the
    tolerances, and the first two.
    """
    for name, meaning in (("loglikelihood", "log likelihood"), ("logdensity", "log prior")):
        old, new = np.asarray(getattr(before, name)), np.asarray(getattr(now, name))
        if (index := first_unlike(old, new, relative, absolute)) is not None:
            return meaning, float(old[index]), float(new[index])
    return None


def first_unlike(before: np.ndarray, now: np.ndarray, relative: float, absolute: float) -> int | None:
    """The first index at which two ``(n,)`` arrays differ by more than the tolerances."""
    unlike = np.flatnonzero(~np.isclose(before, now, rtol=relative, atol=absolute))
    return int(unlike[0]) if len(unlike) else None


def _differences(name: str, saved: Any, current: Any) -> list[str]:
    if saved == current:
        return []
    if isinstance(current, dict):
        return [line for key in current for line in _differences(key, saved.get(key, current[key]), current[key])]
    if isinstance(current, list):
        gone = [entry for entry in saved if entry not in current]
        new = [entry for entry in current if entry not in saved]
        if not gone and not new:
            return [f"the {name} were in the order {', '.join(saved)}"]
        return [f"the {name} had {', '.join(gone) or 'nothing more'} and have {', '.join(new) or 'nothing more'}"]
    return [f"{name} was {saved} and is {current}"]


def check_shape(run: Run) -> None:
    position, settings = run.state.particles.position, run.fingerprint
    expected = (settings["settings"]["n_live"], len(settings["parameters"])), jnp.result_type(float)
    if (position.shape, position.dtype) != expected:
        raise CheckpointError(
            f"The checkpoint has live points of shape {position.shape} and type {position.dtype}; this fit needs "
            f"{expected[0]} and {expected[1]}."
        )


def check_densities(before: tuple[Mixture, ...], now: tuple[Mixture, ...]) -> None:
    """Whether densities are of the same samples, but for those without weight, which a loaded fit lacks."""
    for index, (old, new) in enumerate(zip(before, now, strict=True)):
        (mean, deviation), (mean_now, deviation_now) = old.mean_and_deviation, new.mean_and_deviation
        off = np.abs(mean_now - mean) / deviation + np.abs(np.log(deviation_now / deviation))
        if np.max(off) > DENSITY_TOLERANCE:
            worst = np.argmax(off)
            raise CheckpointError(
                f"Since the checkpoint start_from[{index}] changed: where the prior is a standard normal, parameter "
                f"{worst} was {mean[worst]:.3g} ± {deviation[worst]:.2g} and is {mean_now[worst]:.3g} ± "
                f"{deviation_now[worst]:.2g}."
            )


def check_values(before: Any, now: Any) -> None:
    """Whether live points have the values they had, but for noise in the likelihood."""
    if found := first_difference(before, now, **NOISE):
        meaning, was, is_now = found
        raise CheckpointError(
            f"The {meaning} of a checkpointed live point was {was:.10g} and is {is_now:.10g} now: the data, the "
            "analysis or the model changed since the checkpoint."
        )
