"""The problem both smokes fit: a noisy 1D Gaussian profile on a flat background."""

import logging

import autofit as af
import jax.numpy as jnp
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

logging.getLogger("jax").setLevel(logging.ERROR)

PIXELS = np.arange(100.0)
NOISE = 0.1


class Profile:
    def __init__(self, centre=50.0, normalization=1.0, sigma=10.0, background=0.0):
        self.centre = centre
        self.normalization = normalization
        self.sigma = sigma
        self.background = background

    def __call__(self, xp=jnp):
        return self.background + self.normalization * xp.exp(-0.5 * ((PIXELS - self.centre) / self.sigma) ** 2)


class Visualizer(af.Visualizer):
    @staticmethod
    def visualize(analysis, paths, instance, during_analysis):
        paths.image_path.mkdir(parents=True, exist_ok=True)
        figure, axes = plt.subplots()
        axes.errorbar(PIXELS, analysis.data, NOISE, fmt=".", color="0.6")
        axes.plot(PIXELS, instance(np))
        axes.set(xlabel="pixel", ylabel="flux", title="best fit so far" if during_analysis else "best fit")
        figure.savefig(paths.image_path / f"fit_{analysis.pictures:03d}.png")
        plt.close(figure)
        analysis.pictures += 1


class Analysis(af.Analysis):
    Visualizer = Visualizer

    def __init__(self, data):
        super().__init__(use_jax=True)
        self.data = data
        self.pictures = 0

    def log_likelihood_function(self, instance):
        return -0.5 * jnp.sum(((self.data - instance()) / NOISE) ** 2)


def noisy_profile(seed=1):
    return Profile(52.0, 1.5, 8.0, 0.3)(np) + NOISE * np.random.default_rng(seed).normal(size=len(PIXELS))


def profile_model():
    return af.Model(
        Profile,
        centre=af.UniformPrior(0.0, 100.0),
        normalization=af.LogUniformPrior(0.01, 10.0),
        sigma=af.UniformPrior(1.0, 30.0),
        background=af.GaussianPrior(0.0, 1.0),
    )
