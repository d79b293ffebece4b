"""Errors people can act on: each says what happened, and what to do."""

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import autofit as af
import jax.numpy as jnp
import pytest
from autofit import exc
from autofit.non_linear.search.nest.nss.device_sampler import DeviceSampler
from autofit.non_linear.search.nest.nss.plan import plans_of
from support.problems import VectorAnalysis, box

MODEL = af.Collection(**{f"x{i}": prior for i, prior in enumerate(box(2))})


class NumPyAnalysis(af.Analysis):
    def __init__(self):
        super().__init__(use_jax=False)

    def log_likelihood_function(self, instance):
        return -(instance.x0**2)


class WithoutDensity(af.UniformPrior):
    def log_prior_from_value(self, value, xp=None):
        return float(value)


class WithoutTransform(af.UniformPrior):
    def value_for(self, unit, xp=None):
        return float(unit)


def fit(model, analysis, **settings):
    return af.NSS(name="n", **settings).fit(model=model, analysis=analysis)


@pytest.mark.parametrize(
    ("analysis", "says"),
    [
        (NumPyAnalysis(), "use_jax=True"),
        (VectorAnalysis(lambda x: -(float(x[0]) ** 2)), "jax.numpy"),
        (VectorAnalysis(lambda x: -1.0 if x[0] > 0.0 else 0.0), "a Python if on an array"),
        (VectorAnalysis(lambda x: None), "must be traceable"),
        (VectorAnalysis(lambda x: -(x**2)), r"array of shape \(2,\) and type float64.*jnp.sum over all pixels"),
        (VectorAnalysis(lambda x: jnp.nan * x[0]), "None of the n_live=200 points drawn .* check the priors"),
    ],
    ids=["NumPy", "float()", "if", "None", "vector", "NaN"],
)
def test_a_likelihood_that_cannot_be_used(analysis, says):
    with pytest.raises(exc.SearchException, match=f"(?s){says}"):
        fit(MODEL, analysis)


@pytest.mark.parametrize(
    ("prior", "method"), [(WithoutDensity, "log_prior_from_value"), (WithoutTransform, "value_for")]
)
def test_a_prior_that_jax_cannot_use_is_named(prior, method):
    model = af.Collection(x0=box(1)[0], x1=prior(-1.0, 1.0))
    with pytest.raises(exc.SearchException, match=f"{prior.__name__} of the parameter 'x1'.*write {method}"):
        fit(model, VectorAnalysis(lambda x: -jnp.sum(x**2)))


@pytest.mark.slow
def test_where_memory_runs_out_the_fit_goes_on_with_half_as_many_likelihoods_at_once():
    if not Path("/proc/self/statm").exists():
        pytest.skip("nothing tells how much memory there is")
    script = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import autofit as af
import jax.numpy as jnp
from jax.lax import optimization_barrier
from support.problems import VectorAnalysis
def of_numbers(n):
    return VectorAnalysis(lambda x: optimization_barrier(x[0] * jnp.ones(int(n)))[0])
af.conf.instance["output"]["latent_after_fit"] = False
settings = dict(n_live=9, num_delete=8, num_mcmc_steps=1, termination=0.0, num_importance_draws=0)
for n in (1e3, 2e7, 1e11):
    result = af.NSS(**settings).fit(af.Collection(x0=af.UniformPrior(-1.0, 1.0)), of_numbers(n))
    print(f"Samples: {len(result.samples.weight_list)}")
    with open("/proc/self/statm") as status:  # what there is, and little more
        limit = int(status.read().split()[0]) * resource.getpagesize() + 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
"""
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = "ran out of memory with {} likelihoods at once"
    assert done.stdout.count("Samples: ") == 2, done.stderr
    assert done.stdout.count(told.format(8)) == 2
    assert done.stdout.count(told.format(2)) == 1
    assert "SearchException: The device ran out of memory with 1 likelihood(s) at once" in done.stderr


@pytest.mark.parametrize(
    ("platform", "n_live", "chunk_size", "at_once", "idle"),
    [
        ("gpu", 150, None, 150, True),
        ("gpu", 1000, None, 200, False),
        ("gpu", 150, 50, 50, False),
        ("cpu", 150, None, 50, False),
    ],
)
def test_a_device_with_little_to_do_is_told_of(platform, n_live, chunk_size, at_once, idle, caplog):
    """With a stand-in for a GPU, on which nothing is computed."""
    search = af.NSS(n_live=n_live, chunk_size=chunk_size)
    device = SimpleNamespace(platform=platform, device_kind="stand-in", process_index=0)
    functions, plan = (lambda position: jnp.sum(position),) * 2, plans_of(search, 2)[0]
    with caplog.at_level("INFO"):
        DeviceSampler(*functions, plan, chunk_size, n_live, [device], None, None, logging.getLogger())
    assert f"Likelihoods evaluated at once: {at_once} on each of 1 {platform.upper()} (stand-in)" in caplog.text
    assert ("mostly idle with n_live=150. With n_live=1000 and num_delete=250" in caplog.text) == idle


def test_a_device_that_is_not_there_is_named():
    script = "import os; os.environ['JAX_PLATFORMS'] = 'cuda'; import autofit as af; af.NSS()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "JAX could not start on JAX_PLATFORMS='cuda'" in done.stderr
    assert "unset JAX_PLATFORMS to run on the CPU" in done.stderr
