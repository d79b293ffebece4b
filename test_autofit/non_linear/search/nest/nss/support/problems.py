"""Problems with known answers, as PyAutoFit models and JAX analyses."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from unittest import mock

import autofit as af
import jax.numpy as jnp
import numpy as np
from autofit.non_linear.search.nest.nss.saving.resume import RunCheckpoint
from autofit.non_linear.search.nest.nss.showing.schedule import Schedule
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm


class VectorAnalysis(af.Analysis):
    """A likelihood given as a function of the vector of the model's parameters, in order of their names."""

    def __init__(self, log_likelihood):
        super().__init__(use_jax=True)
        self.log_likelihood = log_likelihood

    def log_likelihood_function(self, instance):
        return self.log_likelihood(jnp.stack([value for _, value in sorted(instance.dict.items())]))


@dataclass
class Problem:
    """
    ``mean`` and ``variance`` are those of the posterior of ``compared(x)``, ``(n_dim,)``; ``settings`` are arguments
    of ``af.NSS`` that suit the problem.
    """

    priors: list
    log_likelihood: Callable
    log_evidence: float = np.nan
    mean: np.ndarray = None
    variance: np.ndarray = None
    compared: Callable = staticmethod(lambda x: x)
    settings: dict = field(default_factory=dict)

    @property
    def model(self):
        return af.Collection(**{f"x{i}": prior for i, prior in enumerate(self.priors)})

    @property
    def analysis(self):
        return VectorAnalysis(self.log_likelihood)

    def search(self, **settings):
        return af.NSS(**{**self.settings, **settings})


def leave_at(search, problem, iteration):
    """Begin the fit, or go on with it, and leave it after an iteration and what is due then, as a SIGKILL does."""

    def until_next(_schedule, at, _pace):
        if at >= iteration:
            raise KeyboardInterrupt
        return 1

    search.paths.model = problem.model
    left = mock.patch.object(Schedule, "until_next", until_next)
    with nothing_saved(), left, contextlib.suppress(KeyboardInterrupt):
        search._fit(problem.model, problem.analysis)
        raise AssertionError("the fit ended before it could be left")


def nothing_saved():
    """Within, an error ends a fit as a SIGKILL does."""
    return mock.patch.object(RunCheckpoint, "save_and_leave")


def box(n_dim, half_width=5.0):
    return [af.UniformPrior(-half_width, half_width) for _ in range(n_dim)]


def gaussian_in_a_box(n_dim):
    centre, sigma = jnp.linspace(-1.0, 1.0, n_dim), 0.4
    return Problem(
        priors=box(n_dim),
        log_likelihood=lambda x: norm.logpdf(x, centre, sigma).sum(),
        log_evidence=-n_dim * np.log(10.0),
        mean=np.asarray(centre),
        variance=np.full(n_dim, sigma**2),
        settings=dict(n_live=300, num_delete=30, num_mcmc_steps=max(5, 2 * n_dim)),
    )


def two_modes():
    """Modes in opposite corners with 30% and 70% of the evidence, folded onto each other to compare their shape."""
    weights, centres, sigma = jnp.array([0.3, 0.7]), jnp.array([[-2.0, -2.0], [2.0, 2.0]]), 0.4
    return Problem(
        priors=box(2),
        log_likelihood=lambda x: logsumexp(jnp.log(weights) + norm.logpdf(x, centres, sigma).sum(axis=1)),
        log_evidence=-2.0 * np.log(10.0),
        mean=np.full(2, 2.0),
        variance=np.full(2, sigma**2),
        compared=np.abs,
        settings=dict(n_live=500, num_delete=50, num_mcmc_steps=5),
    )


def three_priors():
    """One uniform, one log-uniform (compared in its logarithm) and one Gaussian prior, each with its own datum."""
    return Problem(
        priors=[af.UniformPrior(0.0, 1.0), af.LogUniformPrior(0.01, 100.0), af.GaussianPrior(0.0, 1.0)],
        log_likelihood=lambda x: (
            norm.logpdf(x[0], 0.5, 0.05) + norm.logpdf(jnp.log(x[1]), 0.5, 0.4) + norm.logpdf(x[2], 1.0, 0.5)
        ),
        log_evidence=float(-np.log(np.log(1e4)) + norm.logpdf(1.0, 0.0, np.sqrt(1.25))),
        mean=np.array([0.5, 0.5, 0.8]),
        variance=np.array([0.05**2, 0.4**2, 0.2]),
        compared=lambda x: np.stack([x[:, 0], np.log(x[:, 1]), x[:, 2]], axis=1),
        settings=dict(n_live=300, num_delete=30, num_mcmc_steps=6),
    )


def upper_limit():
    """A parameter that is well measured, and an amplitude, compared in its logarithm, that is bound from above."""
    log_amplitude = np.linspace(-12.0, 3.0, 400_001)
    density = np.exp(-0.5 * (10.0**log_amplitude / 1e-3) ** 2)
    mean, square = (np.average(log_amplitude**power, weights=density) for power in (1, 2))
    return Problem(
        priors=[af.UniformPrior(0.0, 1.0), af.LogUniformPrior(1e-12, 1e3)],
        log_likelihood=lambda x: norm.logpdf(x[0], 0.5, 0.02) - 0.5 * (x[1] / 1e-3) ** 2,
        log_evidence=float(np.log(np.trapezoid(density, log_amplitude) / 15.0)),
        mean=np.array([0.5, mean]),
        variance=np.array([0.02**2, square - mean**2]),
        compared=lambda x: np.stack([x[:, 0], np.log10(x[:, 1])], axis=1),
        settings=dict(n_live=300, num_delete=30, num_mcmc_steps=6),
    )
