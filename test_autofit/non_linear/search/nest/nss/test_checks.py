"""Errors people can act on: each says what happened, and what to do."""

import subprocess
import sys
from pathlib import Path

import autofit as af
import jax.numpy as jnp
import pytest
from autofit import exc
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


def test_too_little_memory_says_how_to_need_less():
    pytest.importorskip("resource")
    script = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import autofit as af
import jax.numpy as jnp
from autofit import exc
from support.problems import VectorAnalysis
def large(x):
    return -jnp.sort(jnp.arange(2e8) * x[0])[3]
af.NSS(chunk_size=16)._fit  # imports all there is before memory is short
resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
try:
    af.NSS(chunk_size=16)._fit(af.Collection(x0=af.UniformPrior(-1.0, 1.0)), VectorAnalysis(large))
except exc.SearchException as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], capture_output=True, text=True, check=False
    )
    assert "smaller chunk_size to af.NSS than 16" in done.stdout, done.stderr


def test_a_device_that_is_not_there_is_named():
    script = "import os; os.environ['JAX_PLATFORMS'] = 'cuda'; import autofit as af; af.NSS()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "JAX could not start on JAX_PLATFORMS='cuda'" in done.stderr
    assert "unset JAX_PLATFORMS to run on the CPU" in done.stderr
