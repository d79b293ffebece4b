"""A start that lost: nested sampling under a prior that was repartitioned by what is known.

    python docs/benchmarks/nss/repartition.py [--problems ...] [--seeds 5]

The prior is one half the model's and one half a density fitted to an earlier run, and the likelihood is divided by
what that multiplied the prior with: their product, and so the evidence, stays what it was (Chen, Feroz & Hobson 2019,
Statistics and Computing 29, 835; Petrosyan & Handley 2022). Cases and problems are those of ``start_from.py``. Prints
for each nested sampling's log evidence minus the truth (on a lens itself) with its standard error over the seeds, the
scatter, the mean stated error, and the median of evaluations.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable

import problems  # first: it switches float64 on

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from autofit.non_linear.search.nest.nss.evidence.mixture import DEGREES_OF_FREEDOM, Mixture, fitted_mixture
from autofit.non_linear.search.nest.nss.evidence.nested import posterior_from
from autofit.non_linear.search.nest.nss.evidence.trust import error_with_memory, least_steps, measures
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.sampling.run import Run
from autofit.non_linear.search.nest.nss.sampling.slices import SHRINKING
from scipy.special import gammaln
from start_from import PROBLEMS

TERMINATION = -3.0


def log_standard_normal(point: jax.Array) -> jax.Array:
    return jax.scipy.stats.norm.logpdf(point).sum()


def log_density_of(mixture: Mixture) -> Callable[[jax.Array], jax.Array]:
    """``Mixture.log_density`` of one point, traceable."""
    degrees, n_dim = DEGREES_OF_FREEDOM, mixture.means.shape[1]
    whitening = np.linalg.inv(mixture.factors)
    heights = np.log(mixture.weights) - np.log(np.diagonal(mixture.factors, axis1=1, axis2=2)).sum(axis=1)
    heights += gammaln(0.5 * (degrees + n_dim)) - gammaln(0.5 * degrees) - 0.5 * n_dim * np.log(degrees * np.pi)

    def log_density(point: jax.Array) -> jax.Array:
        whitened = jnp.einsum("kij,kj->ki", whitening, point - mixture.means)
        tails = jnp.log1p((whitened**2).sum(axis=1) / degrees)
        return jax.scipy.special.logsumexp(heights - 0.5 * (degrees + n_dim) * tails)

    return log_density


def sampled(problem: problems.Problem, seed: int, known: Mixture | None, n_live: int, num_delete: int) -> dict:
    """A run where the model's prior is a standard normal, with the points of its posterior."""
    _, log_likelihood, _ = problem.functions()
    n_dim = problem.model.prior_count
    density = None if known is None else log_density_of(known)

    def log_prior(point: jax.Array) -> jax.Array:
        if density is None:
            return log_standard_normal(point)
        return jnp.logaddexp(log_standard_normal(point), density(point)) - np.log(2.0)

    def divided(point: jax.Array) -> jax.Array:
        multiplied_by = log_prior(point) - log_standard_normal(point)
        return log_likelihood(point) - multiplied_by

    sampler = kernel.nested_slice_sampler(
        log_prior, divided, num_delete, least_steps(n_dim), TERMINATION, moves=SHRINKING, adapts=True
    )
    rng = np.random.default_rng(seed)
    positions = rng.standard_normal((n_live, n_dim))
    if known is not None:
        positions = np.where(rng.random((n_live, 1)) < 0.5, known.draw(n_live, rng), positions)
    run = Run(sampler.start(jnp.asarray(positions)), [], jax.random.PRNGKey(seed), 0, 0.0, {}, [])
    while not kernel.has_converged(run.state, TERMINATION):
        run = run.after(*sampler.advance((run.state, run.run_key), 10**6), run.seconds + 1.0)
    points = run.points
    posterior = posterior_from(points.log_likelihood, points.birth, rng)
    doubts = measures(points, run.chains, SHRINKING.lineages_of(n_live, n_dim))
    counts = posterior.log_weights > posterior.log_weights.max() - 30.0
    return dict(
        log_evidence=posterior.log_evidences.mean(),
        error=error_with_memory(float(posterior.log_evidences.std()), doubts),
        evaluations=run.evaluations,
        rank_p_value=doubts["insertion_rank_p_value"],
        points=(points.position[counts], np.exp(posterior.log_weights[counts] - posterior.log_weights.max())),
    )


def starts_of(name: str, points: np.ndarray, weights: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    mean = weights @ points / weights.sum()
    deviation = np.sqrt(weights @ (points - mean) ** 2 / weights.sum())
    starts = {"right": (points, weights), "off": (points + 3.0 * deviation, weights)}
    if name.startswith("two modes"):
        kept = points[:, 0] > 0.0
        starts["lacks a mode"] = points[kept], weights[kept]
    return starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    for name in given.problems:
        make, settings = PROBLEMS[name]
        problem, found = make(), defaultdict(list)
        for seed in range(given.seeds):
            full = sampled(problem, 1000 + seed, None, **settings)
            runs = {"full": full}
            for case, start in starts_of(name, *full["points"]).items():
                runs[case] = sampled(problem, seed, fitted_mixture(*start, np.random.default_rng(seed)), **settings)
            for case, run in runs.items():
                found[case].append(run)
                print(name, case, seed, {key: run[key] for key in list(run)[:-1]}, file=sys.stderr, flush=True)
        print(f"### {name}\n\n| | off by | scatter | stated | evaluations |\n|---|---:|---:|---:|---:|")
        for case, runs in found.items():
            evidences = np.array([run["log_evidence"] for run in runs]) - (problem.log_evidence or 0.0)
            scatter = evidences.std(ddof=1) if len(runs) > 1 else np.nan
            print(
                f"| {case} | {evidences.mean():+.3f} ± {scatter / np.sqrt(len(runs)):.3f} | {scatter:.3f} "
                f"| {np.mean([run['error'] for run in runs]):.3f} "
                f"| {np.median([run['evaluations'] for run in runs]):,.0f} |"
            )
        print(flush=True)


if __name__ == "__main__":
    main()
