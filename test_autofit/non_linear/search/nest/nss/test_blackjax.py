"""What the kernel needs of blackjax beyond what it exports, so that a release that changes it says what changed."""

import importlib
import inspect

import autofit  # noqa: F401 (switches float64 on)
import pytest


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("adaptive", "AdaptiveNSState", "particles integrator inner_kernel_params"),
        ("adaptive", "init", "positions init_state_fn loglikelihood_birth update_inner_kernel_params_fn rng_key"),
        ("base", "NSInfo", "particles update_info"),
        ("base", "NSState", "particles"),
        ("base", "StateWithLogLikelihood", "position logdensity loglikelihood loglikelihood_birth"),
        ("base", "delete_fn", "state num_delete"),
        ("base", "init_state_strategy", "position logprior_fn loglikelihood_fn loglikelihood_birth"),
        ("integrator", "NSIntegrator", "logX logZ logZ_live"),
        ("nss", "live_covariance_factor", "rng_key state info params"),
        ("nss", "sample_direction_from_covariance_factor", "rng_key position covariance_factor"),
    ],
)
def test_blackjax_has_what_the_kernel_takes_from_it(module, name, arguments):
    found = getattr(importlib.import_module(f"blackjax.ns.{module}"), name)
    assert list(inspect.signature(found).parameters) == arguments.split()


def test_blackjax_builds_a_sampler_from_an_update_of_ours():
    from blackjax.ns import nss

    wanted = {"num_delete", "num_inner_steps", "update_strategy", "inner_kernel_params"}
    assert wanted <= set(inspect.signature(nss.as_top_level_api).parameters)
