"""Which density to draw the second evidence from: how much its draws are worth, and how long it takes to fit.

    pip install '.[benchmarks,densities]'
    python docs/benchmarks/nss/densities.py runs --problems sersic mge rosenbrock --seeds 4

For recorded runs (recorded_runs.py), every candidate is fitted in the space where the prior is a standard normal:
once to the run's points, and once to the draws that adaptive importance sampling left, with their weights.
Then 5,000 draws of it are evaluated. Prints the effective number of them as a share, mean and lowest over the seeds,
the largest distance of the evidence from the median over all candidates and seeds, and the seconds of the fit.
"""

import argparse
import logging
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import calibration  # first: it switches float64 on
import recorded_runs

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from autofit.non_linear.search.nest.nss import density
from autofit.non_linear.search.nest.nss.importance import log_mean, log_standard_normal
from autofit.non_linear.search.nest.nss.posterior import posterior_from
from sklearn.mixture import GaussianMixture

DRAWS, TRAINED_ON = 5_000, 10_000


def student_mixture(points, weights, rng) -> tuple[np.ndarray, np.ndarray]:
    """What af.NSS does: draws and their log density."""
    mixture = density.fitted_mixture(points, weights, rng)
    draws = mixture.draw(DRAWS, rng)
    return draws, mixture.log_density(draws)


def gaussian_mixture(n_components, points, weights, rng):
    """Gaussians of a fixed number, without a defensive part."""
    scale, resampled = whitening(points, weights, rng)
    found = GaussianMixture(n_components, reg_covar=1e-4, random_state=0).fit(resampled)
    draws, _ = found.sample(DRAWS)
    return unwhitened(scale, draws, found.score_samples(draws))


def population_monte_carlo(points, weights, rng):
    """pypmc: Student's t whose degrees are fitted too, begun from eight Gaussians of scikit-learn."""
    from pypmc.density.mixture import create_t_mixture
    from pypmc.mix_adapt.pmc import student_t_pmc

    scale, resampled = whitening(points, weights, rng)
    start = GaussianMixture(8, reg_covar=1e-4, random_state=0).fit(resampled)
    found = create_t_mixture(start.means_, start.covariances_, np.full(8, 10.0), start.weights_)
    for _ in range(20):
        found = student_t_pmc(resampled, found, mindof=3.0, maxdof=50.0)
        found.prune(1e-3)
    np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 (what pypmc draws from)
    draws = found.propose(DRAWS)
    return unwhitened(scale, draws, np.array([found.evaluate(row) for row in draws]))


def normalizing_flow(kind: str, points, weights, rng):
    """flowjax, trained on draws by their weights until those that were kept back get no better."""
    from flowjax.bijections import Affine, RationalQuadraticSpline
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow, masked_autoregressive_flow
    from flowjax.train import fit_to_data

    scale, resampled = whitening(points, weights, rng)
    flow_key, fit_key, draw_key = jax.random.split(jax.random.key(int(rng.integers(2**31))), 3)
    base = Normal(jnp.zeros(points.shape[1]))
    if kind == "affine":
        flow = masked_autoregressive_flow(flow_key, base_dist=base, flow_layers=4, nn_width=64, transformer=Affine())
    else:
        spline = RationalQuadraticSpline(knots=6, interval=4)
        flow = coupling_flow(flow_key, base_dist=base, flow_layers=6, nn_width=64, transformer=spline)
    options = dict(learning_rate=2e-3, max_patience=8, batch_size=256, show_progress=False)
    flow, _ = fit_to_data(fit_key, flow, data=jnp.asarray(resampled), **options)
    draws = flow.sample(draw_key, (DRAWS,))
    return unwhitened(scale, np.asarray(draws), np.asarray(flow.log_prob(draws)))


CANDIDATES = {
    "mixture of t, chosen by held-out points, defensive (used)": student_mixture,
    "one Gaussian": partial(gaussian_mixture, 1),
    "eight Gaussians": partial(gaussian_mixture, 8),
    "eight t, pypmc": population_monte_carlo,
    "affine autoregressive flow, flowjax": partial(normalizing_flow, "affine"),
    "spline coupling flow, flowjax": partial(normalizing_flow, "spline"),
}


def whitening(points, weights, rng):
    """Mean and Cholesky factor of the weighted points, and ``(TRAINED_ON, n_dim)`` of them, drawn and whitened."""
    mean, factor = np.average(points, axis=0, weights=weights), np.linalg.cholesky(np.cov(points.T, aweights=weights))
    drawn = points[rng.choice(len(points), TRAINED_ON, p=weights / weights.sum())]
    return (mean, factor), np.linalg.solve(factor, (drawn - mean).T).T


def unwhitened(scale, draws, log_density):
    mean, factor = scale
    return mean + draws @ factor.T, log_density - np.log(np.diag(factor)).sum()


def judged(candidate: Callable, points, weights, log_likelihoods: Callable, seed: int) -> tuple[float, float, float]:
    """The share of the draws that is effective, the log evidence, and the seconds of the fit."""
    started = time.perf_counter()
    draws, log_density = candidate(points, weights, np.random.default_rng(seed))
    seconds = time.perf_counter() - started
    log_weights = log_likelihoods(draws) + log_standard_normal(draws) - log_density
    log_weights = np.where(np.isfinite(log_weights), log_weights, -np.inf)
    weights = np.exp(log_weights - log_weights.max())
    return density.effective_number(weights) / DRAWS, log_mean(log_weights)[0], seconds


def compared(folder: Path, name: str, seeds: int) -> None:
    problem = recorded_runs.SETTINGS[name].problem()
    of_positions = calibration.log_likelihoods_of(problem)
    log_likelihoods = lambda draws: np.asarray(of_positions(draws))  # noqa: E731
    found = defaultdict(list)
    for seed in range(seeds):
        run = recorded_runs.load(folder, name, seed)
        posterior = posterior_from(run.points.log_likelihood, run.points.birth, np.random.default_rng(0))
        sampler = calibration.importance_sampler(run, problem, posterior, seed=seed)
        of_run = sampler.weighted_points()
        while not sampler.finished:
            sampler.take(log_likelihoods(sampler.next_positions()))
        adapted = sampler.weighted_points()
        for candidate, fit in CANDIDATES.items():
            for stage, points in (("run", of_run), ("adapted", adapted)):
                found[candidate, stage].append(judged(fit, *points, log_likelihoods, seed))
    centre = np.median([log_evidence for runs in found.values() for _, log_evidence, _ in runs])
    for candidate in CANDIDATES:
        cells = []
        for stage in ("run", "adapted"):
            share, log_evidence, seconds = np.array(found[candidate, stage]).T
            cells.append(f"{share.mean():.1%} | {share.min():.1%} | {np.abs(log_evidence - centre).max():.2f}")
        print(f"| {name} | {candidate} | {' | '.join(cells)} | {seconds.mean():.1f} s |", flush=True)


def main() -> None:
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of recorded_runs.py")
    problems = ["sersic", "mge", "gaussian-30", "modes", "rosenbrock", "funnel"]
    parser.add_argument("--problems", nargs="+", default=problems)
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    print("| | density | fitted to the run: mean | lowest | evidence off | to its draws: mean | lowest ", end="")
    print("| evidence off | fit |\n|---|---|" + "---:|" * 7)
    for name in arguments.problems:
        compared(arguments.folder, name, arguments.seeds)


if __name__ == "__main__":
    main()
