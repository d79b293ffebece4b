"""The moves of chains: that they leave the prior within a contour as it is, and which points they go through."""

from functools import partial

import autofit  # noqa: F401 (switches float64 on)
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.sampling import chains, lanes
from autofit.non_linear.search.nest.nss.sampling.chains import MAX_SHRINKAGE
from autofit.non_linear.search.nest.nss.sampling.slices import MOVES, SHRINKING, draw_slices
from blackjax.ns.base import init_state_strategy
from blackjax.ns.nss import live_covariance_factor
from scipy.stats import kstest, norm

N_CHAINS, N_STEPS, N_DIM = 4000, 10, 3
# Of all cases below together, a thousandth of the runs would fail by chance.
LEAST_P_VALUE = 1e-4


def in_ball(rng, radius=1.0, hole=0.0):
    """Uniform within a shell around the origin; a ball without a hole."""
    direction = rng.standard_normal((N_CHAINS, N_DIM))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    share = rng.random((N_CHAINS, 1))
    return direction * (hole**N_DIM + share * (radius**N_DIM - hole**N_DIM)) ** (1.0 / N_DIM)


def share_of_volume(x, radius=1.0, hole=0.0):
    """Uniform in (0, 1) for points that are uniform within the shell."""
    return (np.linalg.norm(x, axis=1) ** N_DIM - hole**N_DIM) / (radius**N_DIM - hole**N_DIM)


def height_on_sphere(x):
    """Uniform in (0, 1) for points whose direction is uniform in three dimensions (Archimedes)."""
    return 0.5 + 0.5 * x[:, 0] / np.linalg.norm(x, axis=1)


def within(inside):
    """A log likelihood of 1 where ``inside`` holds, else -1; the contour is 0."""
    return lambda x: jnp.where(inside(x), 1.0, -1.0)


CENTRE = np.array([1.5, 0.0, 0.0])

# For each region: its likelihood, uniform draws from it, and numbers that are then uniform in (0, 1).
REGIONS = {
    "ball": (within(lambda x: x @ x < 1.0), in_ball, lambda x: [share_of_volume(x), height_on_sphere(x)]),
    "box": (
        within(lambda x: jnp.all(jnp.abs(x) < 1.0)),
        lambda rng: rng.uniform(-1.0, 1.0, (N_CHAINS, N_DIM)),
        lambda x: 0.5 + 0.5 * x.T,
    ),
    "thin shell": (
        within(lambda x: (x @ x < 1.0) & (x @ x > 0.9**2)),
        partial(in_ball, hole=0.9),
        lambda x: [share_of_volume(x, hole=0.9), height_on_sphere(x)],
    ),
    "two balls": (
        within(lambda x: jnp.minimum((x - CENTRE) @ (x - CENTRE), 4.0 * (x + CENTRE) @ (x + CENTRE)) < 1.0),
        lambda rng: np.where(rng.random((N_CHAINS, 1)) < 8 / 9, CENTRE + in_ball(rng), -CENTRE + in_ball(rng, 0.5)),
        lambda x: [
            share_of_volume(x[x[:, 0] > 0.0] - CENTRE),
            share_of_volume(x[x[:, 0] < 0.0] + CENTRE, radius=0.5),
            # The eight ninths in the larger ball and the rest in the smaller, made uniform by chance.
            np.random.default_rng(0).random(len(x)) / np.where(x[:, 0] > 0.0, 9 / 8, 9.0)
            + np.where(x[:, 0] > 0.0, 0.0, 8 / 9),
        ],
    ),
}


def flat(x):
    return jnp.zeros_like(x[0])


def moved(moves, log_prior, log_likelihood, positions, seed=0):
    """The points after a chain from each, within the contour 0."""
    new_particle = partial(init_state_strategy, logprior_fn=log_prior, loglikelihood_fn=log_likelihood)

    @jax.jit
    def walk(positions, rng_key):
        start = jax.vmap(partial(new_particle, loglikelihood_birth=jnp.asarray(0.0)))(positions)
        factor = 0.5 * jnp.eye(N_DIM)
        slices = moves.draw(rng_key, positions, factor, N_STEPS)
        tick = jax.vmap(partial(moves.tick, new_particle, 0.0))
        return lanes.run_chains(moves.begin, tick, start, slices, len(positions))

    particles, info = walk(positions, jax.random.PRNGKey(seed))
    return np.asarray(particles.position), info


@pytest.mark.parametrize(
    "region", [name if name == "thin shell" else pytest.param(name, marks=pytest.mark.slow) for name in REGIONS]
)
def test_uniform_points_stay_uniform(region):
    log_likelihood, draw, uniform_numbers = REGIONS[region]
    start = draw(np.random.default_rng(1))
    end, info = moved(SHRINKING, flat, log_likelihood, start)
    assert np.all(jax.vmap(log_likelihood)(end) > 0.0)
    assert np.all(info.moved == N_STEPS)
    assert np.any(end != start, axis=1).all()
    for numbers in uniform_numbers(end):
        assert kstest(numbers, "uniform").pvalue > LEAST_P_VALUE


@pytest.mark.slow
def test_a_prior_that_is_not_flat_stays_as_it_is():
    """Half of a Gaussian, cut where a coordinate changes its sign."""
    rng = np.random.default_rng(1)
    start = rng.standard_normal((N_CHAINS, N_DIM))
    start[:, 0] = np.abs(start[:, 0])
    end, _ = moved(MOVES["shrink"], lambda x: -0.5 * x @ x, lambda x: x[0], start)
    assert kstest(2.0 * norm.cdf(end[:, 0]) - 1.0, "uniform").pvalue > LEAST_P_VALUE
    assert kstest(norm.cdf(end[:, 1]), "uniform").pvalue > LEAST_P_VALUE


@pytest.mark.slow
def test_a_bracket_that_is_cut_spends_no_evaluation_on_what_the_prior_refuses():
    """Without a contour every point within the cut bracket is in the slice: one evaluation a slice."""
    start = np.random.default_rng(1).standard_normal((N_CHAINS, N_DIM))
    per_slice = [
        moved(moves, lambda x: -0.5 * x @ x, lambda x: 1.0 + 0.0 * x[0], start)[1].evaluations.mean() / N_STEPS
        for moves in (MOVES["shrink"], SHRINKING)
    ]
    assert per_slice[0] == 1.0
    assert per_slice[1] > 1.1


@pytest.mark.slow
def test_a_bracket_that_only_shrinks_goes_through_blackjax_s_points(optimised):
    """Where blackjax may not expand its bracket, and its directions are as long; a power of two loses no bit."""

    def log_prior(x):
        return jnp.where(jnp.all(jnp.abs(x) < 1.0), 0.0, -jnp.inf)

    def log_likelihood(x):
        return -50.0 * jnp.sum((x - 0.1) ** 2) - 100.0 * (x[0] - x[1] ** 2) ** 2

    def wide(*arguments):
        return {"covariance_factor": 4.0 * live_covariance_factor(*arguments)["covariance_factor"]}

    new_particle = partial(init_state_strategy, logprior_fn=log_prior, loglikelihood_fn=log_likelihood)
    settings = dict(logprior_fn=log_prior, loglikelihood_fn=log_likelihood, num_delete=20, num_inner_steps=7)
    moves = SHRINKING._replace(draw=partial(draw_slices, 4.0), lineages=1)
    update = lanes.single_evaluation_update(new_particle, 20, moves)
    ours = blackjax.nss(**settings, update_strategy=update)
    theirs = blackjax.nss(**settings, max_steps=1, inner_kernel_params=wide)
    start = jax.random.uniform(jax.random.PRNGKey(0), (60, 4), minval=-1.0, maxval=1.0)
    ours_state, theirs_state = jax.jit(ours.init)(start), jax.jit(theirs.init)(start)
    for seed in range(5):
        ours_state, ours_info = jax.jit(ours.step)(jax.random.PRNGKey(seed), ours_state)
        theirs_state, theirs_info = jax.jit(theirs.step)(jax.random.PRNGKey(seed), theirs_state)
        for found, expected in zip(ours_state.particles, theirs_state.particles, strict=True):
            assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()
        info = theirs_info.update_info
        assert np.array_equal(ours_info.update_info.record.evaluations, info.num_shrink.sum(axis=-1))
        assert not np.any(info.num_expansions)


@pytest.mark.parametrize("max_shrinkage", [MAX_SHRINKAGE, pytest.param(5, marks=pytest.mark.slow)])
def test_several_candidates_in_a_tick_find_the_same_points_in_fewer_ticks(monkeypatch, max_shrinkage):
    """With the budget of a bracket spent too, amid the candidates of a tick."""
    monkeypatch.setattr(chains, "MAX_SHRINKAGE", max_shrinkage)
    start = np.random.default_rng(1).uniform(0.5, 0.6, (N_CHAINS, N_DIM))
    likelihood = lambda x: 0.01 - jnp.sum((x - 0.55) ** 2)  # noqa: E731
    moves = MOVES["shrink"]
    expected, one = moved(moves, lambda x: -0.5 * x @ x, likelihood, start)
    assert (one.moved < N_STEPS).any() == (max_shrinkage == 5)
    for candidates in (3, 8):
        end, info = moved(moves.trying(candidates), lambda x: -0.5 * x @ x, likelihood, start)
        np.testing.assert_allclose(end, expected, rtol=1e-12)  # XLA may round a fused product otherwise
        assert all(np.array_equal(getattr(info, name), getattr(one, name)) for name in info._fields if name != "made")
        assert np.all(info.made % candidates == 0)
        assert info.made.sum() / candidates < 0.75 * one.made.sum()
