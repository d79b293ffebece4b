"""Settings of JAX that a fit needs, whatever the user's are."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import jax

NEEDED = {
    # A NaN is a point without likelihood, or one born without a contour. It is no error.
    "debug_nans": False,
    "debug_infs": False,
    # They ask more of code than JAX does, and the code here and in the libraries is written for JAX.
    "numpy_rank_promotion": "allow",
    "numpy_dtype_promotion": "standard",
    "transfer_guard": "allow",
    # The random numbers of a seed, and of a checkpoint, are the same under all settings.
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
    "enable_custom_prng": False,
    "legacy_prng_key": "allow",
    # A run that is not compiled takes days.
    "disable_jit": False,
    "no_tracing": False,
    "no_execution": False,
}


@contextmanager
def needed_settings(x64: bool | None = None) -> Iterator[None]:
    """
    Within, and in this thread alone, JAX has the settings that a fit needs.

    Parameters
    ----------
    x64
        Whether arrays have double precision, where the thread is not the one that the user chose it in.
    """
    with ExitStack() as settings:
        for name, value in NEEDED.items():
            settings.enter_context(getattr(jax, name)(value))
        if x64 is not None:
            settings.enter_context(jax.enable_x64(x64))
        yield


def overridden() -> str:
    """What a user should know of settings that do not hold within a fit; empty if all do."""
    found = {name: getattr(jax.config, f"jax_{name}") for name in NEEDED}
    unlike = [
        f"jax_{name}={value!r}"
        for name, value in found.items()
        if value is not None and getattr(value, "value", value) != NEEDED[name]
    ]
    if not unlike:
        return ""
    return (
        f"Within the fit these settings of JAX do not hold: {', '.join(unlike)}. To use them on the likelihood, call "
        "analysis.log_likelihood_function(instance) outside of a fit."
    )
