"""How far moves take live points that are held within a contour of a real run, and what it costs.

    python docs/benchmarks/nss/recorded_runs.py runs --problems sersic gaussian-10 rosenbrock
    python docs/benchmarks/nss/mixing.py runs --problems sersic gaussian-10 rosenbrock

At two contours of the first recorded run of each problem (recorded_runs.py), all live points walk ROUNDS times, each
time a chain of the problem's number of slices, or what costs about as much. Prints for each move the evaluations of a
chain (a gradient counted as GRADIENT of them), the jump (the mean squared distance from a chain's first point to its
last, relative to that of independent points), that of the slowest direction, how much of both a hundred evaluations
give, as ``jump / (1 - jump)``, which counts independent points, and by how many nats the region that the points fill
grew: half the log determinant of their covariance, after the first round and after the last. Chains that are steered
by the points that walk have no part in that growth being right: it is the sign of a region that had collapsed.

The moves: slices that step out, and slices in brackets that only shrink, of several widths (``slices.py``);
independent draws from a Student's t with the mean and covariance of the live points, accepted by Metropolis' rule;
and trajectories that reflect off the contour with the gradient of the likelihood (Skilling 2012, AIP Conf. Proc.
1443, 145), in the unit cube, of so many steps, each so long relative to the live points' covariance.
"""

import argparse
import logging
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import problems  # first: it switches float64 on
import recorded_runs

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.sampling.lanes import run_chains
from autofit.non_linear.search.nest.nss.sampling.run import Points
from autofit.non_linear.search.nest.nss.sampling.slices import SHRINKING, STEPPING_OUT, Moves, draw_slices
from blackjax.ns.base import StateWithLogLikelihood, init_state_strategy

ROUNDS = 6
CONTOURS = (0.5, 0.9)  # after these shares of the iterations of a run
GRADIENT = 2.2  # evaluations that a value with its gradient costs on the lens
DEGREES = 10.0  # of freedom of the independent draws


class Held(NamedTuple):
    """Live points in the unit cube, and the contour that holds them."""

    points: np.ndarray
    contour: float


class Walked(NamedTuple):
    """Points after a chain of each, with evaluations and gradients summed over all."""

    points: jax.Array
    evaluations: jax.Array
    gradients: jax.Array


def live_points(problem: problems.Problem, points: Points, share: float) -> Held:
    """The live points of a recorded run after this share of its iterations."""
    iteration = int(share * points.iterations)
    dead = np.arange(len(points.log_likelihood)) < iteration * points.num_delete
    alive = ~dead & (points.born_in <= iteration)
    cube = scipy.stats.norm.cdf(points.position[alive])
    return Held(cube, float(points.log_likelihood[dead].max()))


def by_slices(moves: Moves, log_likelihood: Callable, num_steps: int, lanes: int | None) -> Callable:
    new_particle = partial(init_state_strategy, logprior_fn=log_prior_of_cube, loglikelihood_fn=log_likelihood)

    def walk(rng_key, points, contour):
        above = jnp.full(len(points), jnp.inf)
        start = StateWithLogLikelihood(points, jnp.zeros(len(points)), above, -above)
        slices = moves.draw(rng_key, points, jnp.linalg.cholesky(jnp.cov(points.T)), num_steps)
        tick = jax.vmap(partial(moves.tick, new_particle, contour))
        particles, info = run_chains(moves.begin, tick, start, slices, lanes or len(points))
        return Walked(particles.position, info.evaluations.sum(), jnp.asarray(0))

    return walk


def by_independent_draws(log_likelihood: Callable, tries: int, lanes: int | None) -> Callable:
    def chain(contour, mean, factor, rng_key, x):
        def log_density(x):
            whitened = jax.scipy.linalg.solve_triangular(factor, x - mean, lower=True)
            return -0.5 * (DEGREES + len(x)) * jnp.log1p(whitened @ whitened / DEGREES)

        def step(carry, rng_key):
            x, evaluations = carry
            normal_key, scale_key, accept_key = jax.random.split(rng_key, 3)
            scale = jnp.sqrt(0.5 * DEGREES / jax.random.gamma(scale_key, 0.5 * DEGREES))
            y = mean + scale * factor @ jax.random.normal(normal_key, x.shape)
            log_ratio = log_density(x) - log_density(y)
            accepted = (log_likelihood(y) > contour) & (jnp.log(jax.random.uniform(accept_key)) < log_ratio)
            accepted &= in_cube(y)
            return (jnp.where(accepted, y, x), evaluations + in_cube(y)), None

        return jax.lax.scan(step, (x, 0), jax.random.split(rng_key, tries))[0]

    def walk(rng_key, points, contour):
        factor = jnp.linalg.cholesky(jnp.cov(points.T) * (DEGREES - 2.0) / DEGREES)
        keys = jax.random.split(rng_key, len(points))
        one = partial(chain, contour, points.mean(axis=0), factor)
        points, evaluations = jax.lax.map(lambda row: one(*row), (keys, points), batch_size=lanes or len(points))
        return Walked(points, evaluations.sum(), jnp.asarray(0))

    return walk


def by_reflection(log_likelihood: Callable, step_size: float, length: int, lanes: int | None) -> Callable:
    value_and_gradient = jax.value_and_grad(log_likelihood)

    def chain(contour, factor, rng_key, x):
        metric = factor @ factor.T

        def step(carry, _):
            x, velocity, evaluations, gradients = carry
            ahead = x + velocity
            value, gradient = value_and_gradient(ahead)
            straight = (value > contour) & in_cube(ahead)
            wall = jnp.where(ahead <= 0.0, 1.0, jnp.where(ahead >= 1.0, -1.0, 0.0))
            normal = jnp.where(in_cube(ahead), jnp.nan_to_num(gradient), wall)
            along = 2.0 * (normal @ velocity) / jnp.maximum(normal @ metric @ normal, 1e-300)
            bent = velocity - along * (metric @ normal)
            beyond = ahead + bent
            reflected = ~straight & (log_likelihood(beyond) > contour) & in_cube(beyond)
            x = jnp.where(straight, ahead, jnp.where(reflected, beyond, x))
            velocity = jnp.where(straight, velocity, jnp.where(reflected, bent, -velocity))
            evaluations += jnp.astype(in_cube(ahead), int) + (~straight & in_cube(beyond))
            return (x, velocity, evaluations, gradients + (~straight & in_cube(ahead))), None

        velocity = step_size * (factor @ jax.random.normal(rng_key, x.shape))
        (x, _, evaluations, gradients), _ = jax.lax.scan(step, (x, velocity, 0, 0), length=length)
        return x, evaluations, gradients

    def walk(rng_key, points, contour):
        one = partial(chain, contour, jnp.linalg.cholesky(jnp.cov(points.T)))
        keys = jax.random.split(rng_key, len(points))
        points, *counts = jax.lax.map(lambda row: one(*row), (keys, points), batch_size=lanes or len(points))
        return Walked(points, *(count.sum() for count in counts))

    return walk


def in_cube(u: jax.Array) -> jax.Array:
    return jnp.all((u > 0.0) & (u < 1.0))


def log_prior_of_cube(u: jax.Array) -> jax.Array:
    return jnp.where(in_cube(u), 0.0, -jnp.inf)


def row_of(walk: Callable, held: Held) -> str:
    """What the move did over all rounds, as cells of a table."""
    walk, rng_key, points = jax.jit(walk), jax.random.PRNGKey(3), jnp.asarray(held.points)
    before, after, cost, grown = [], [], 0.0, []
    for _ in range(ROUNDS):
        rng_key, key = jax.random.split(rng_key)
        before.append(np.asarray(points))
        points, evaluations, gradients = walk(key, points, held.contour)
        after.append(np.asarray(points))
        cost += (float(evaluations) + GRADIENT * float(gradients)) / (ROUNDS * len(points))
        grown.append(0.5 * np.linalg.slogdet(np.cov(after[-1].T))[1])
    start = 0.5 * np.linalg.slogdet(np.cov(held.points.T))[1]
    first, last = np.concatenate(before), np.concatenate(after)
    whitened = np.linalg.solve(np.linalg.cholesky(np.cov(last.T)), (last - first).T)
    jump, slowest = 0.5 * (whitened**2).mean(), 0.5 * np.linalg.eigvalsh(np.cov(whitened, ddof=0))[0]
    per_hundred = [100.0 * x / (1.0 - x) / cost for x in (jump, slowest)]
    return (
        f"{cost:.0f} | {jump:.2f} | {slowest:.2f} | {per_hundred[0]:.2f} | {per_hundred[1]:.2f} "
        f"| {grown[0] - start:+.1f} | {grown[-1] - start:+.1f}"
    )


def moves_of(log_likelihood: Callable, num_steps: int, lanes: int | None) -> dict[str, Callable]:
    """All that are compared, by name."""
    found = {"step out": by_slices(STEPPING_OUT, log_likelihood, num_steps, lanes)}
    for width in (1.0, 2.0, 3.0, 4.0, 6.0):
        moves = SHRINKING._replace(draw=partial(draw_slices, width))
        found[f"shrink, width {width:.0f}"] = by_slices(moves, log_likelihood, num_steps, lanes)
    found["independent draws"] = by_independent_draws(log_likelihood, 2 * num_steps, lanes)
    for step_size in (0.05, 0.1):
        found[f"reflect, steps of {step_size}"] = by_reflection(log_likelihood, step_size, num_steps, lanes)
    return found


def main() -> None:
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of recorded_runs.py")
    parser.add_argument("--problems", choices=recorded_runs.SETTINGS, nargs="+", default=["sersic", "gaussian-10"])
    arguments = parser.parse_args()
    print("| problem | contour | move | evaluations | jump | slowest | jump per 100 | slowest per 100 ", end="")
    print("| grown at first | at last |\n|---|---:|---|" + "---:|" * 7)
    for name in arguments.problems:
        setting = recorded_runs.SETTINGS[name]
        problem = setting.problem()
        _, in_parameters, transform = problem.functions()
        chunk_size = kernel.best_chunk_size_of_a_cpu(in_parameters, problem.model.prior_count)
        log_likelihood = jax.jit(
            lambda u, f=in_parameters, t=transform: f(t(jnp.clip(u, 1e-12, 1.0 - 1e-12))), inline=True
        )
        points = recorded_runs.load(arguments.folder, name, 0).points
        for share in CONTOURS:
            held = live_points(problem, points, share)
            for move, walk in moves_of(log_likelihood, setting.num_mcmc_steps, chunk_size).items():
                print(f"| {name} | {held.contour:.1f} | {move} | {row_of(walk, held)} |", flush=True)


if __name__ == "__main__":
    main()
