"""The single-evaluation update against blackjax's own, bit for bit."""

from functools import cache, partial
from types import SimpleNamespace

import autofit  # noqa: F401 (switches float64 on)
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.sampling import chains, kernel, slices, steering
from autofit.non_linear.search.nest.nss.sampling.lanes import single_evaluation_update
from blackjax.ns.base import init_state_strategy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# For tests that compare bits: XLA optimises as it does outside of the tests.
optimised = pytest.mark.usefixtures("optimised")


def profile(x):
    """Sums over many pixels, as a fit to data does."""
    pixels = jnp.linspace(-1.0, 1.0, 300)
    components = jnp.cos(jnp.arange(1, len(x) + 1)[:, None] * pixels)
    model = jnp.sum(x[:, None] * components, axis=0)
    return -0.5 * jnp.sum(((model - jnp.sin(3 * pixels)) / 0.1) ** 2)


LIKELIHOODS = {
    "flat": lambda x: jnp.zeros_like(x[0]),
    "peaked": lambda x: -1e4 * jnp.sum((x - 0.1) ** 2),
    "profile": profile,
    "modes": lambda x: jnp.logaddexp(-50.0 * jnp.sum((x - 0.5) ** 2), -80.0 * jnp.sum((x + 0.5) ** 2)),
    "plateaus": lambda x: jnp.floor(-5.0 * jnp.sum(x**2)),
    "partly invalid": lambda x: jnp.where(x[0] * x[-1] > 0.0, -jnp.sum(x**2), -1e30),
}


def log_prior(x):
    return jnp.where(jnp.all(jnp.abs(x) <= 1.0), -0.5 * jnp.sum(x**2), -jnp.inf)


def runs(
    log_likelihood,
    num_delete,
    num_steps,
    max_shrinkage=chains.MAX_SHRINKAGE,
    lanes=None,
    iterations=4,
):
    """The same iterations of blackjax's own algorithm and of ours, as compiled functions of the key."""
    arguments = dict(
        logprior_fn=log_prior,
        loglikelihood_fn=log_likelihood,
        num_delete=num_delete,
        num_inner_steps=num_steps,
        max_shrinkage=max_shrinkage,
    )
    new_particle = lambda position, loglikelihood_birth: blackjax.ns.base.init_state_strategy(  # noqa: E731
        position, arguments["logprior_fn"], arguments["loglikelihood_fn"], loglikelihood_birth
    )
    strategy = single_evaluation_update(new_particle, lanes or num_delete, slices.STEPPING_OUT)
    algorithms = blackjax.nss(**arguments), blackjax.nss(update_strategy=strategy, **arguments)

    def compiled_run(algorithm):
        def run(state, rng_key):
            keys = jax.random.split(rng_key, iterations)
            return jax.lax.scan(lambda state, key: algorithm.step(key, state), state, keys)

        return jax.jit(run)

    return jax.jit(algorithms[0].init), *map(compiled_run, algorithms)


def assert_same_bits(ours, theirs):
    (state, dead), (expected_state, expected_dead) = ours, theirs
    for found, expected in ((state.particles, expected_state.particles), (dead.particles, expected_dead.particles)):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    record, expected = dead.update_info.record, expected_dead.update_info
    assert np.array_equal(record.moved, expected.is_accepted.sum(axis=-1))
    assert np.array_equal(record.evaluations, (expected.num_expansions + expected.num_shrink + 2).sum(axis=-1))


CONFIGURATIONS = [
    # n_dim, n_live, num_delete, num_steps, lanes, likelihood
    pytest.param((1, 20, 1, 1, None, "flat"), marks=pytest.mark.slow),
    (2, 60, 30, 3, 1, "plateaus"),
    pytest.param((21, 150, 20, 42, None, "profile"), marks=pytest.mark.slow),
    pytest.param((2, 200, 100, 5, 32, "partly invalid"), marks=pytest.mark.slow),
]


@cache
def compiled(n_dim, n_live, num_delete, num_steps, lanes, likelihood):
    return runs(LIKELIHOODS[likelihood], num_delete, num_steps, lanes=lanes)


@optimised
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda configuration: "-".join(map(str, configuration)))
@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_same_bits_as_blackjax(configuration, seed):
    n_dim, n_live, *_ = configuration
    start_key, run_key = jax.random.split(jax.random.PRNGKey(seed))
    init, blackjax_run, our_run = compiled(*configuration)
    state = init(jax.random.uniform(start_key, (n_live, n_dim), minval=-1.0, maxval=1.0))
    assert_same_bits(our_run(state, run_key), blackjax_run(state, run_key))


@pytest.mark.slow
@optimised
def test_another_number_of_lanes_is_felt_only_in_the_rounding_of_the_likelihood():
    """XLA may order the sum over pixels differently for a batch of 8 than for one of 20."""
    init, blackjax_run, our_run = runs(LIKELIHOODS["profile"], 20, 5, lanes=8, iterations=1)
    state = init(jax.random.uniform(jax.random.PRNGKey(1), (60, 21), minval=-1.0, maxval=1.0))
    (ours, our_dead), (theirs, their_dead) = (run(state, jax.random.PRNGKey(2)) for run in (our_run, blackjax_run))
    assert np.array_equal(ours.particles.position, theirs.particles.position)
    theirs_made = their_dead.update_info.num_expansions + their_dead.update_info.num_shrink + 2
    assert np.array_equal(our_dead.update_info.record.made, theirs_made.sum(axis=-1))
    np.testing.assert_array_max_ulp(*(np.asarray(s.particles.loglikelihood) for s in (ours, theirs)), maxulp=8)


@pytest.mark.slow
@optimised
def test_same_bits_in_single_precision():
    with jax.enable_x64(False):
        init, blackjax_run, our_run = runs(LIKELIHOODS["profile"], 25, 6)
        state = init(jax.random.uniform(jax.random.PRNGKey(1), (80, 5), minval=-1.0, maxval=1.0))
        assert state.particles.position.dtype == jnp.float32
        assert_same_bits(our_run(state, jax.random.PRNGKey(2)), blackjax_run(state, jax.random.PRNGKey(2)))


@pytest.mark.slow
@optimised
def test_an_exhausted_budget_leaves_the_chain_in_place(monkeypatch):
    monkeypatch.setattr(chains, "MAX_SHRINKAGE", 3)
    init, blackjax_run, our_run = runs(LIKELIHOODS["peaked"], 20, 6, max_shrinkage=3, lanes=6)
    state = init(jax.random.uniform(jax.random.PRNGKey(1), (60, 4), minval=-1.0, maxval=1.0))
    ours = our_run(state, jax.random.PRNGKey(2))
    assert_same_bits(ours, blackjax_run(state, jax.random.PRNGKey(2)))
    assert np.any(ours[1].update_info.record.moved < 6)


def test_a_cpu_is_given_few_expensive_likelihoods_at_once():
    cheap, expensive = (lambda x, n=n: jnp.sum(jnp.outer(x, jnp.ones(n)) ** 2) for n in (10, 1_000_000))
    assert kernel.best_chunk_size_of_a_cpu(cheap, 3) is None
    assert kernel.best_chunk_size_of_a_cpu(expensive, 3) == 18


def test_a_chunk_is_no_larger_than_what_there_is():
    counted = []

    def counting(row):
        jax.debug.callback(lambda _: counted.append(1), row[0])
        return row[0]

    sampler = kernel.nested_slice_sampler(log_prior, counting, 7, 1, -3.0, chunk_size=1_000)
    assert sampler.log_likelihoods(np.ones((7, 2))).tolist() == [1.0] * 7
    jax.effects_barrier()
    assert len(counted) == 7


def test_lanes_are_at_most_a_chunk_and_have_about_the_same_number_of_chains_each():
    def lanes(num_delete, chunk_size):
        return kernel.nested_slice_sampler(log_prior, profile, num_delete, 1, -3.0, chunk_size).lanes

    assert [lanes(n, None) for n in (1, 20, 50)] == [1, 20, 50]
    assert [lanes(n, 18) for n in (1, 18, 19, 20, 50, 100)] == [1, 18, 10, 10, 17, 17]


def test_the_likelihood_is_compiled_at_one_place():
    traced = []

    def log_likelihood(x):
        traced.append(1)
        return -jnp.sum(x**2)

    sampler = kernel.nested_slice_sampler(log_prior, log_likelihood, 5, 3, termination=-3.0)
    state = jax.eval_shape(sampler.init, jnp.zeros((20, 2)), jnp.zeros(20))
    traced.clear()
    jaxpr = jax.make_jaxpr(sampler.advance)((state, jax.random.PRNGKey(0)), 1)
    assert len(traced) == 1
    assert str(jaxpr).count("while[") == 2  # over iterations, and over ticks


def iteration_of_two_clouds(moves, num_delete=4, spread=(0.3, 3.0)):
    """The state before an iteration and after it: in its first half of slots narrow points, far from wide ones."""

    def log_likelihood(x):
        return -1e-3 * jnp.sum(x**2)

    def log_prior(x):
        return 0.0 * x[0]

    rng = np.random.default_rng(0)
    centres, scales = np.repeat([-100.0, 100.0], 40), np.repeat(spread, 40)
    positions = centres[:, None] + scales[:, None] * rng.standard_normal((80, 2))
    sampler = kernel.nested_slice_sampler(log_prior, log_likelihood, num_delete, 1, -3.0, moves=moves)
    state = sampler.start(jnp.asarray(positions))
    (after, _), dead, _ = sampler.advance((state, jax.random.PRNGKey(1)), 1)
    return state, after, dead


@pytest.mark.parametrize(
    ("moves", "num_at_once", "chunk_size", "lanes", "candidates"),
    [
        (slices.SHRINKING, None, None, 20, 1),  # a CPU
        (slices.SHRINKING, 80, None, 20, 4),  # an accelerator, of which as much is used as by the first points
        (slices.SHRINKING, 400, None, 20, 4),  # at most
        (slices.SHRINKING, 80, 45, 20, 2),
        (slices.SHRINKING, 80, 8, 7, 1),
        (slices.STEPPING_OUT, 80, None, 20, 1),
    ],
)
def test_chains_try_as_many_points_at_once_as_memory_is_used_for_anyway(
    moves, num_at_once, chunk_size, lanes, candidates
):
    sampler = kernel.nested_slice_sampler(log_prior, profile, 20, 5, -3.0, chunk_size, moves, num_at_once=num_at_once)
    assert (sampler.lanes, sampler.candidates) == (lanes, candidates)


@pytest.mark.slow
def test_several_points_at_once_make_the_same_run():
    start, found = jax.random.uniform(jax.random.PRNGKey(0), (80, 4), minval=-1.0, maxval=1.0), []
    for num_at_once in (20, 80):
        sampler = kernel.nested_slice_sampler(
            log_prior, LIKELIHOODS["modes"], 20, 5, -3.0, moves=slices.SHRINKING, num_at_once=num_at_once
        )
        found.append(sampler.advance((sampler.start(start), jax.random.PRNGKey(1)), 3))
    ((one, _), dead_of_one, _), ((several, _), dead_of_several, _) = found
    np.testing.assert_allclose(several.particles.position, one.particles.position, rtol=1e-9)
    of_one, of_several = dead_of_one.update_info, dead_of_several.update_info
    assert np.array_equal(of_several.evaluations, of_one.evaluations)
    assert np.array_equal(of_one.made, of_one.evaluations)
    assert np.all(of_several.made >= of_several.evaluations)
    assert of_several.made.sum() / 4 < 0.6 * of_one.made.sum()


TWO_LINEAGES = slices.SHRINKING._replace(lineages=2)


def test_a_new_point_is_of_the_lineage_of_the_point_its_chain_began_at():
    """Whatever slot it takes: here the clouds are the lineages at first."""
    before, after, _ = iteration_of_two_clouds(TWO_LINEAGES, num_delete=40)
    position, lineages = np.asarray(after.particles.position), np.asarray(after.inner_kernel_params["lineages"])
    replaced = np.any(position != np.asarray(before.particles.position), axis=1)
    assert np.any(position[:40][replaced[:40], 0] > 0.0)
    assert np.array_equal(lineages[0], position[:, 0] > 0.0)
    assert np.array_equal(lineages[0], lineages[1])


@pytest.mark.parametrize(("spread", "far"), [((0.3, 3.0), True), ((0.3, 0.3), False), ((3.0, 0.3), False)])
def test_directions_come_from_the_covariance_of_the_other_lineages(spread, far):
    """So points move as far as those of the other lineage are apart, not as far as their own."""
    before, after, _ = iteration_of_two_clouds(TWO_LINEAGES, num_delete=40, spread=spread)
    old, new = np.asarray(before.particles.position), np.asarray(after.particles.position)
    moved = new[np.any(old != new, axis=1) & (new[:, 0] < 0.0)]
    from_centre = np.abs(moved - old[:40].mean(axis=0)) - 2.0 * spread[0]
    assert np.any(from_centre > 1.5) == far


def steered(moves, positions, lineages):
    """What ``steering_by_others`` makes of points of these lineages after an iteration."""
    state = SimpleNamespace(particles=SimpleNamespace(position=jnp.asarray(positions)))
    info = SimpleNamespace(update_info=SimpleNamespace(lineages=jnp.asarray(lineages)))
    return steering.steering_by_others(moves, jax.random.PRNGKey(0), state, info, {})


def test_a_lineage_that_has_outgrown_the_others_gives_way_to_younger_ones():
    positions = np.random.default_rng(0).standard_normal((90, 2))
    even, two_thirds, outgrown = np.arange(90) % 3, np.minimum(np.arange(90) // 30, 1), np.zeros(90, int)
    moves = slices.SHRINKING._replace(lineages=3)
    for old, young in ((even, two_thirds), (two_thirds, even)):
        assert np.array_equal(steered(moves, positions, [old, young])["lineages"], [old, young])
    old, young = steered(moves, positions, [outgrown, even])["lineages"]
    assert np.array_equal(old, even)
    assert np.array_equal(np.bincount(young), [30, 30, 30])
    for old_and_young in ([even, outgrown], [outgrown, outgrown]):
        for found in steered(moves, positions, old_and_young)["lineages"]:
            assert np.array_equal(np.bincount(found), [30, 30, 30])


def test_the_factor_of_a_lineage_is_that_of_all_points_outside():
    positions = np.random.default_rng(0).standard_normal((90, 2))
    lineage = np.arange(90) % 3
    found = steered(slices.SHRINKING._replace(lineages=3), positions, [lineage, lineage])["covariance_factor"]
    for of_lineage, factor in enumerate(found):
        assert np.allclose(factor @ factor.T, np.cov(positions[lineage != of_lineage].T))


def test_an_iteration_in_which_nearly_all_die_goes_on():
    _, after, dead = iteration_of_two_clouds(TWO_LINEAGES, num_delete=79)
    assert np.isfinite(after.particles.position).all()
    assert np.isfinite(after.inner_kernel_params["covariance_factor"]).all()
    assert np.all(np.asarray(dead.update_info.moved)[0] == 1)


def test_too_few_points_are_of_one_lineage():
    assert [slices.SHRINKING.lineages_of(n_live, 21) for n_live in (40, 125, 126, 210)] == [1, 1, 16, 16]
    assert slices.STEPPING_OUT.lineages_of(1000, 2) == 1


@pytest.mark.parametrize(
    ("jump_now", "rounds", "jump", "expected"),
    [
        (0.1, 1, 0.2, (2, 0.3)),  # on average 0.15: more
        (0.1, 4, 0.2, (4, 0.15)),  # no more than four
        (0.3, 2, 0.3, (2, 0.3)),
        (0.8, 4, 0.3, (2, 0.3)),  # on average 0.55: fewer
        (0.8, 1, 0.3, (1, 0.55)),
    ],
)
def test_rounds_follow_the_jump(jump_now, rounds, jump, expected):
    assert steering.rounds_after(jump_now, 0.5, rounds, jump) == pytest.approx(expected)


def adapting_run(log_likelihood, n_dim, num_mcmc_steps, iterations=200):
    """The state after so many iterations of chains that adapt, and their records."""

    def log_prior(x):
        return jnp.where(jnp.all(jnp.abs(x) <= 5.0), 0.0, -jnp.inf)

    sampler = kernel.nested_slice_sampler(log_prior, log_likelihood, 20, num_mcmc_steps, -3.0, adapts=True)
    start = jax.random.uniform(jax.random.PRNGKey(0), (100, n_dim), minval=-5.0, maxval=5.0)
    carry, records, done = (sampler.start(start), jax.random.PRNGKey(1)), [], 1
    while sum(map(len, records)) < iterations and done:
        carry, dead, done = sampler.advance(carry, iterations)
        records.append(np.asarray(dead.update_info.slices[: int(done)]))
    return carry[0], np.concatenate(records)


@pytest.mark.slow
def test_chains_make_more_slices_where_they_do_not_get_far():
    """In the bent valleys of Rosenbrock, and not in a Gaussian; all chains of an iteration alike."""

    def valleys(x):
        return -jnp.sum((1.0 - x[::2]) ** 2 + 100.0 * (x[1::2] - x[::2] ** 2) ** 2)

    _, in_valleys = adapting_run(valleys, 4, 5)
    assert np.all(in_valleys == in_valleys[:, :1])
    assert set(np.unique(in_valleys)) <= {5, 10, 20}
    assert in_valleys[0, 0] == 5
    assert in_valleys.max() >= 20
    _, in_a_ball = adapting_run(lambda x: -jnp.sum(x**2), 4, 5)
    assert np.all(in_a_ball == 5)


@pytest.mark.slow
def test_every_round_is_made_of_new_slices():
    """Where each slice moves its chain, one of two rounds moves it as often again, and further."""

    def flat(x):
        return 0.0 * x[0]

    new_particle = partial(init_state_strategy, logprior_fn=flat, loglikelihood_fn=lambda x: -jnp.sum(x**2))
    strategy = single_evaluation_update(new_particle, 20, slices.SHRINKING._replace(lineages=1))
    positions = jax.random.normal(jax.random.PRNGKey(0), (100, 2))
    state = SimpleNamespace(particles=jax.vmap(new_particle)(positions))
    contour = jnp.sort(state.particles.loglikelihood)[20]
    factor = jnp.linalg.cholesky(jnp.cov(positions.T))
    found = {}
    for rounds in (1, 2):
        found[rounds] = strategy(None, 3, 20)(
            jax.random.PRNGKey(1), state, contour, factor, None, jnp.asarray(rounds)
        )
    (once, info_once), (twice, info_twice) = found[1], found[2]
    assert np.all(np.asarray(info_once.record.slices) == 3)
    assert np.all(np.asarray(info_twice.record.slices) == 6)
    assert np.all(np.asarray(info_twice.record.moved) == 6)
    assert np.all(info_twice.record.evaluations >= info_once.record.evaluations + 3)
    assert not np.any(once.position == twice.position)
