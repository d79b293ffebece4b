"""Pictures during a fit, and a posterior that is the prior where the data say nothing.

    python docs/searches_minimal/nss_first_class_gaussian.py

Fits a noisy 1D profile with a quick update every 3 iterations and checks that pictures were on disk before the
sampling ended. Then fits a flat likelihood and compares mean and variance of the posterior with those of the prior,
within their sampling error. Exit status 1 if either fails.
"""

import sys
import tempfile
import time
from pathlib import Path

import autofit as af
import jax.numpy as jnp
import numpy as np
from profile_1d import Analysis, noisy_profile, profile_model


class TimedNSS(af.NSS):
    """Notes when sampling ended, before the host processes the result and draws its own pictures."""

    def _fit(self, model, analysis):
        result = super()._fit(model, analysis)
        self.sampling_ended = time.time()
        return result


class FlatAnalysis(af.Analysis):
    def log_likelihood_function(self, instance):
        return jnp.zeros_like(instance.uniform)


def pictures_before_convergence() -> int:
    search = TimedNSS(name="gaussian", n_live=200, num_delete=50, iterations_per_quick_update=3)
    search.fit(model=profile_model(), analysis=Analysis(noisy_profile()))
    drawn = [p for p in search.paths.image_path.glob("*.png") if p.stat().st_mtime <= search.sampling_ended]
    print(f"pictures before convergence: {len(drawn)} in {search.paths.image_path}")
    return len(drawn)


def z_scores_of_a_flat_fit() -> dict[str, float]:
    model = af.Collection(
        uniform=af.UniformPrior(-1.0, 3.0),
        log_uniform=af.LogUniformPrior(0.01, 100.0),
        gaussian=af.GaussianPrior(2.0, 0.5),
    )
    search = af.NSS(n_live=2000, num_delete=500, num_mcmc_steps=1)
    samples = search.fit(model=model, analysis=FlatAnalysis(use_jax=True)).samples
    uniform, log_uniform, gaussian = np.array(samples.parameter_lists).T
    standardized = {
        "uniform": (uniform - 1.0) / np.sqrt(4.0**2 / 12.0),
        "log_uniform": np.log(log_uniform) / np.sqrt(np.log(1e4) ** 2 / 12.0),
        "gaussian": (gaussian - 2.0) / 0.5,
    }
    kurtosis = {"uniform": 1.8, "log_uniform": 1.8, "gaussian": 3.0}

    # On a plateau no chain can move: the points are copies of the initial draws, so draws are what counts.
    _, draw = np.unique(uniform, return_inverse=True)
    weight = np.bincount(draw, weights=samples.weight_list)
    n_effective = weight.sum() ** 2 / (weight**2).sum()

    scores = {}
    for name, value in standardized.items():
        mean, square = (np.average(power, weights=samples.weight_list) for power in (value, value**2))
        scores[f"{name} mean"] = mean * np.sqrt(n_effective)
        scores[f"{name} variance"] = (square - 1.0) * np.sqrt(n_effective / (kurtosis[name] - 1.0))
    print(f"flat likelihood: log evidence {samples.log_evidence:.4f} +- {samples.log_evidence_error:.4f} (truth 0)")
    print(f"posterior against prior, in standard errors of {n_effective:.0f} independent draws:")
    for name, score in scores.items():
        print(f"  {name:22}{score:6.2f}")
    return scores


if __name__ == "__main__":
    af.conf.instance.output_path = Path(tempfile.mkdtemp(prefix="nss_first_class_gaussian_"))
    drawn = pictures_before_convergence()
    worst = max(abs(score) for score in z_scores_of_a_flat_fit().values())
    passed = drawn > 0 and worst < 4.0
    print("\npassed" if passed else "\nFAILED")
    sys.exit(0 if passed else 1)
