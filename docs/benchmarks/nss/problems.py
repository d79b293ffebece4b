"""The problems of the benchmarks, as PyAutoFit models and JAX analyses; where it is known, with the log evidence."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

# XLA's FFT on CPUs can deadlock when two of them run at once, as they may in a lens likelihood.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import autofit as af  # before jax: it switches float64 on
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from autofit.non_linear.objective import SCALAR
from jax.scipy.special import logsumexp, ndtri
from jax.scipy.stats import norm
from scipy.special import gammaln


class VectorAnalysis(af.Analysis):
    """A likelihood that is a function of the vector of parameters ``x0``, ``x1``, ...; to be pickled, no lambda."""

    def __init__(self, log_likelihood: Callable):
        super().__init__(use_jax=True)
        self.log_likelihood = log_likelihood

    def log_likelihood_function(self, instance):
        return self.log_likelihood(jnp.stack([getattr(instance, f"x{i}") for i in range(len(instance.dict))]))


@dataclass
class Problem:
    model: af.AbstractPriorModel
    analysis: af.Analysis
    log_evidence: float | None = None

    def functions(self, moves: Any = None) -> tuple[Callable, Callable, Callable]:
        """
        Log prior and log likelihood of one ``(n_dim,)`` position, as chains that make these moves see them: by
        default where the prior is a standard normal, traceable, and with the host's guards against invalid models.
        Third, the way from the unit cube to where the prior is a standard normal, for samplers that walk in the cube.
        """
        # Here, since PyAutoFit's own NSS has neither.
        from autofit.non_linear.search.nest.nss.evidence.prior_space import space_of
        from autofit.non_linear.search.nest.nss.sampling.slices import MOVES

        search, space = af.NSS(), space_of(self.model, moves or MOVES["shrink"])
        overrides = search.execution_settings(self.analysis).fitness_overrides
        fitness = search.make_fitness(analysis=self.analysis, model=self.model, **overrides)
        of_parameters = fitness.objective(SCALAR, compile=False)
        return space.log_prior, lambda position: of_parameters(space.to_parameters(position)), ndtri

    def draw(self, n: int, seed: int = 0) -> jax.Array:
        """``n`` draws from the prior, ``(n, n_dim)`` positions."""
        return jax.random.normal(jax.random.PRNGKey(seed), (n, self.model.prior_count))


def profile(components: int, pixels: int) -> Problem:
    """A noisy 1D profile of Gaussian components, three parameters each, with the same information for any pixels."""
    positions = jnp.linspace(0.0, 100.0, pixels)
    noise = 0.2 * np.sqrt(pixels / 100.0)
    truth = jnp.array([30.0, 1.0, 8.0, 65.0, 0.7, 5.0][: 3 * components])

    data = _components(positions, truth) + noise * np.random.default_rng(1).normal(size=pixels)
    priors = {}
    for i in range(components):
        low, high = 100.0 * i / components, 100.0 * (i + 1) / components
        bounds = (low, high), (0.0, 2.0), (1.0, 20.0)
        priors |= {f"x{3 * i + j}": af.UniformPrior(*limits) for j, limits in enumerate(bounds)}
    return Problem(
        af.Collection(**priors), VectorAnalysis(partial(_log_likelihood_of_profile, positions, data, noise))
    )


def _components(positions, x):
    centre, height, width = x.reshape(-1, 3, 1).swapaxes(0, 1)
    return jnp.sum(height * jnp.exp(-0.5 * ((positions - centre) / width) ** 2), axis=0)


def _log_likelihood_of_profile(positions, data, noise, x):
    return -0.5 * jnp.sum(((data - _components(positions, x)) / noise) ** 2)


def _box(n_dim: int, half_width: float) -> af.Collection:
    return af.Collection(**{f"x{i}": af.UniformPrior(-half_width, half_width) for i in range(n_dim)})


def correlated_gaussian(n_dim: int = 10, correlation: float = 0.95) -> Problem:
    """A Gaussian, every two of whose parameters are correlated alike, in a box."""
    covariance = correlation + (1.0 - correlation) * np.eye(n_dim)
    precision = jnp.asarray(np.linalg.inv(covariance))
    norm_constant = 0.5 * float(np.linalg.slogdet(2.0 * np.pi * covariance)[1])
    return Problem(
        _box(n_dim, 10.0),
        VectorAnalysis(partial(_log_likelihood_of_gaussian, precision, norm_constant)),
        log_evidence=-n_dim * np.log(20.0),
    )


def _log_likelihood_of_gaussian(precision, norm_constant, x):
    return -0.5 * x @ precision @ x - norm_constant


def two_modes(n_dim: int = 5) -> Problem:
    """Two Gaussians in opposite corners of a box, one with 30% and one with 70% of the evidence."""
    return Problem(_box(n_dim, 10.0), VectorAnalysis(_log_likelihood_of_modes), log_evidence=-n_dim * np.log(20.0))


def _log_likelihood_of_modes(x):
    centres = jnp.array([[-4.0], [4.0]])
    return logsumexp(jnp.log(jnp.array([0.3, 0.7])) + norm.logpdf(x, centres, 0.7).sum(axis=1))


def lens(pixels_across: int = 100) -> Problem:
    """Simulated imaging of a lens with more pixels, and the priors of autolens: 21 parameters."""
    import autolens as al

    imaging = _lens_imaging().simulated_imaging(pixels_across, 5.0 / pixels_across, 2.0, (11, 11), 0.08, 1000.0, 0.1)
    model = af.Collection(
        galaxies=af.Collection(
            lens=af.Model(
                al.Galaxy, redshift=0.5, bulge=al.lp.Sersic, mass=al.mp.Isothermal, shear=al.mp.ExternalShear
            ),
            source=af.Model(al.Galaxy, redshift=1.0, bulge=al.lp.Sersic),
        )
    )
    return Problem(model, al.AnalysisImaging(dataset=imaging, use_jax=True))


def small_lens(light: str = "sersic") -> Problem:
    """A lens of ``docs/searches_minimal/nss_lens.py``: fewer pixels, and priors of somebody who saw the image."""
    lens_imaging = _lens_imaging()
    return Problem(lens_imaging.lens_model(light), lens_imaging.analysis(light))


def _lens_imaging() -> ModuleType:
    sys.path.append(str(Path(__file__).parents[2] / "searches_minimal"))
    import lens_imaging

    return lens_imaging


def gaussian_shells(n_dim: int = 5) -> Problem:
    """Two thin shells of radius 2 around (-3.5, 0, ...) and (3.5, 0, ...), as MultiNest is tested on."""
    radius, width, half_width = 2.0, 0.1, 6.0
    centres = np.zeros((2, n_dim))
    centres[:, 0] = [-3.5, 3.5]
    area = np.log(2.0) + 0.5 * n_dim * np.log(np.pi) - gammaln(0.5 * n_dim)
    r = np.linspace(radius - 10.0 * width, radius + 10.0 * width, 4001)
    mass = np.trapezoid(r ** (n_dim - 1) * scipy.stats.norm.pdf(r, radius, width), r)
    return Problem(
        _box(n_dim, half_width),
        VectorAnalysis(partial(_log_likelihood_of_shells, jnp.asarray(centres), radius, width)),
        log_evidence=float(np.log(2.0) + area + np.log(mass) - n_dim * np.log(2.0 * half_width)),
    )


def _log_likelihood_of_shells(centres, radius, width, x):
    return logsumexp(norm.logpdf(jnp.linalg.norm(x - centres, axis=1), radius, width))


def rosenbrock(valleys: int = 2) -> Problem:
    """So many independent valleys of Rosenbrock, two parameters each."""
    x, y = np.linspace(-5.0, 5.0, 4001), np.linspace(-5.0, 5.0, 4001)[:, None]
    density = np.exp(-((1.0 - x) ** 2) - 100.0 * (y - x**2) ** 2)
    of_one = np.log(np.trapezoid(np.trapezoid(density, x, axis=1), y[:, 0])) - 2.0 * np.log(10.0)
    return Problem(
        _box(2 * valleys, 5.0), VectorAnalysis(_log_likelihood_of_valleys), log_evidence=float(valleys * of_one)
    )


def _log_likelihood_of_valleys(x):
    return -jnp.sum((1.0 - x[::2]) ** 2 + 100.0 * (x[1::2] - x[::2] ** 2) ** 2)


def upper_limit() -> Problem:
    """Four parameters that are well measured, and an amplitude of 15 decades that data only bound from above."""
    priors = {f"x{i}": af.UniformPrior(0.0, 1.0) for i in range(4)}
    log_amplitude = np.linspace(np.log(1e-12), np.log(1e3), 200_001)
    mean = np.trapezoid(np.exp(-0.5 * np.exp(2.0 * log_amplitude) * 1e6), log_amplitude)
    return Problem(
        af.Collection(**priors, x4=af.LogUniformPrior(1e-12, 1e3)),
        VectorAnalysis(_log_likelihood_of_limit),
        log_evidence=float(np.log(mean / np.ptp(log_amplitude))),
    )


def _log_likelihood_of_limit(x):
    return norm.logpdf(x[:4], 0.5, 0.02).sum() - 0.5 * (x[4] / 1e-3) ** 2


def edges(n_dim: int = 6) -> Problem:
    """Half of a Gaussian at an edge of each uniform prior, lower and upper in turn, of widths from 0.1 to 1e-4."""
    width = np.logspace(-1.0, -4.0, n_dim)
    edge = np.arange(n_dim) % 2.0
    return Problem(
        af.Collection(**{f"x{i}": af.UniformPrior(0.0, 1.0) for i in range(n_dim)}),
        VectorAnalysis(partial(_log_likelihood_of_edges, jnp.asarray(edge), jnp.asarray(width))),
        log_evidence=-n_dim * np.log(2.0),
    )


def _log_likelihood_of_edges(edge, width, x):
    return norm.logpdf(x, edge, width).sum()


def funnel(n_dim: int = 5) -> Problem:
    """Neal's funnel: the first parameter is the log variance of the others; its neck is thin and very likely."""
    half_width, spread = 10.0, 3.0
    v = np.linspace(-half_width, half_width, 20001)
    inside = scipy.special.erf(half_width * np.exp(-0.5 * v) / np.sqrt(2.0)) ** (n_dim - 1)
    mass = np.trapezoid(scipy.stats.norm.pdf(v, 0.0, spread) * inside, v)
    return Problem(
        _box(n_dim, half_width),
        VectorAnalysis(partial(_log_likelihood_of_funnel, spread)),
        log_evidence=float(np.log(mass) - n_dim * np.log(2.0 * half_width)),
    )


def _log_likelihood_of_funnel(spread, x):
    return norm.logpdf(x[0], 0.0, spread) + norm.logpdf(x[1:], 0.0, jnp.exp(0.5 * x[0])).sum()
