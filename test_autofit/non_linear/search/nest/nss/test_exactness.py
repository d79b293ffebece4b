"""Bit for bit: against a plain loop over ``blackjax.nss``, and against itself after interruptions."""

import logging
import operator

import autofit as af
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.evidence.prior_space import draw_parameters
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.saving.checkpoint import _load_checkpoint, _save_checkpoint
from jax.experimental.compilation_cache import compilation_cache
from support.comparing import same_bytes, same_run
from support.problems import Problem, box, gaussian_in_a_box, leave_at, three_priors, two_modes


def plain_blackjax(problem, settings, termination=-3.0):
    """The loop of blackjax's own documentation, on the model's prior and likelihood as they stand."""
    model, log_likelihood = problem.model, problem.log_likelihood
    algorithm = blackjax.nss(
        logprior_fn=lambda x: sum(model.log_prior_list_from_vector(x, xp=jnp)),
        loglikelihood_fn=log_likelihood,
        num_delete=settings["num_delete"],
        num_inner_steps=settings["num_mcmc_steps"],
    )

    @jax.jit
    def one_step(carry, _):
        state, key = carry
        key, subkey = jax.random.split(key, 2)
        state, dead_point = algorithm.step(subkey, state)
        return (state, key), dead_point

    _, init_key, key = jax.random.split(jax.random.PRNGKey(42), 3)
    positions = draw_parameters(init_key, settings["n_live"], model)
    state, dead = jax.jit(algorithm.init)(positions), []
    while not state.integrator.logZ_live - state.integrator.logZ < termination:
        (state, key), info = one_step((state, key), None)
        dead.append(jax.device_get(info))
    evaluations = sum(int((i.update_info.num_expansions + i.update_info.num_shrink + 2).sum()) for i in dead)
    return [i.particles for i in dead] + [jax.device_get(state.particles)], evaluations


def test_a_fit_is_blackjax_s_own_run(optimised):
    problem = three_priors()
    settings = {**problem.settings, "n_live": 100}
    points, evaluations = plain_blackjax(problem, settings)
    found, _ = af.NSS(**settings, moves="step_out")._fit(problem.model, problem.analysis)
    assert same_bytes(found.positions, np.concatenate([block.position for block in points]))
    assert same_bytes(found.loglikelihoods, np.concatenate([block.loglikelihood for block in points]))
    assert found.evals == 100 + evaluations + found.trust["importance_draws"]


def test_a_fit_is_the_research_package_s_own_run():
    nss = pytest.importorskip("nss.ns", reason="the research package is not on PyPI")
    problem, settings = gaussian_in_a_box(2), dict(n_live=100, num_delete=10, num_mcmc_steps=5)
    model = problem.model
    key, init_key, _ = jax.random.split(jax.random.PRNGKey(42), 3)
    positions = draw_parameters(init_key, 100, model)
    final, _ = nss.run_nested_sampling(
        jax.random.split(jax.random.PRNGKey(42), 3)[2],
        loglikelihood_fn=problem.log_likelihood,
        prior_logprob=lambda x: sum(model.log_prior_list_from_vector(x, xp=jnp)),
        num_mcmc_steps=5,
        initial_samples=positions,
        num_delete=10,
        termination=-3.0,
    )
    found, _ = af.NSS(**settings, moves="step_out")._fit(model, problem.analysis)
    assert same_bytes(found.positions, final.particles.position)


@pytest.fixture(scope="module")
def sampler_and_start():
    problem = gaussian_in_a_box(3)
    model = problem.model
    sampler = kernel.nested_slice_sampler(
        lambda x: sum(model.log_prior_list_from_vector(x, xp=jnp)),
        problem.log_likelihood,
        num_delete=10,
        num_mcmc_steps=4,
        termination=-3.0,
    )
    return sampler, (sampler.start(draw_parameters(jax.random.PRNGKey(0), 80, model)), jax.random.PRNGKey(1))


def advance(sampler, carry, dead, *blocks):
    for iterations in blocks:
        carry, block, done = sampler.advance(carry, iterations)
        dead = dead + [jax.tree.map(operator.itemgetter(slice(done)), jax.device_get(block))]
    return carry, jax.tree.map(lambda *x: np.concatenate(x), *dead)


def test_fifty_iterations_are_twenty_five_saved_loaded_and_twenty_five_more(sampler_and_start, tmp_path):
    sampler, start = sampler_and_start
    expected = advance(sampler, start, [], 50)

    (state, key), dead = advance(sampler, start, [], 25)
    _save_checkpoint(tmp_path / "c.pkl", state, [dead], key, 25)
    state, dead, key, iteration = _load_checkpoint(tmp_path / "c.pkl")
    found = advance(sampler, (state, key), dead, 25)

    assert iteration == 25
    assert same_bytes(found, expected)


def test_blocks_of_any_length_end_where_single_iterations_end(sampler_and_start):
    """Asked for more, a block stops at convergence, or where its dead points are as many as it can hold."""
    sampler, start = sampler_and_start
    single, count = start, 0
    while not kernel.has_converged(single[0], -3.0):
        single, _, done = sampler.advance(single, 1)
        assert done == 1
        count += 1
    expected = advance(sampler, start, [], *[1] * count)
    assert same_bytes(advance(sampler, start, [], 1, 7, 30, 10_000), expected)
    assert same_bytes(advance(sampler, start, [], 10_000), expected)
    assert sampler.advance(expected[0], 10)[2] == 0

    capacity = kernel.BLOCK_POINTS // 10
    endless = sampler_without_end()
    assert endless.advance((endless.start(start[0].particles.position), start[1]), 10_000)[2] == capacity


def sampler_without_end():
    return kernel.nested_slice_sampler(
        lambda x: jnp.zeros_like(x[0]),
        lambda x: -jnp.sum(x**2),
        num_delete=10,
        num_mcmc_steps=1,
        termination=-1e9,
    )


@pytest.fixture
def programs_compiled(tmp_path):
    """Counts programs that were not in JAX's compilation cache on disk, which is empty at first and takes all."""
    misses = []

    def count(event, **_):
        if event == "/jax/compilation_cache/cache_misses":
            misses.append(event)

    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path / "cache"), 0.0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    jax.monitoring.register_event_listener(count)
    yield misses
    jax.monitoring.unregister_event_listener(count)
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.mark.slow
def test_a_resumed_fit_compiles_nothing_that_is_in_the_cache(programs_compiled):
    problem = gaussian_in_a_box(2)
    settings = dict(name="n", n_live=60, num_delete=20, num_mcmc_steps=3, checkpoint_interval=2)
    leave_at(af.NSS(**settings), problem, 4)
    assert programs_compiled
    leave_at(af.NSS(**settings), problem, 6)
    af.NSS(**{**settings, "name": None})._fit(problem.model, problem.analysis)  # so that its end is in the cache too
    programs_compiled.clear()
    leave_at(af.NSS(**settings), problem, 13)
    search = af.NSS(**settings, iterations_per_quick_update=5)
    search.paths.model = problem.model
    search._fit(problem.model, problem.analysis)
    assert not programs_compiled


@pytest.mark.slow
def test_the_size_of_chunks_is_felt_only_in_rounding():
    """XLA contracts a * b + c to one operation, rounded once, in some shapes and not in others."""
    problem = gaussian_in_a_box(3)
    settings = dict(n_live=70, num_delete=30, num_mcmc_steps=4, num_importance_draws=0)
    default, _ = af.NSS(**settings)._fit(problem.model, problem.analysis)
    for chunk_size in (8, 1000):
        chunked, _ = af.NSS(chunk_size=chunk_size, **settings)._fit(problem.model, problem.analysis)
        assert chunked.evals == default.evals
        np.testing.assert_allclose(chunked.positions, default.positions, rtol=0.0, atol=1e-12)
        assert chunk_size < 30 or same_run(default, chunked)


@pytest.mark.slow
def test_no_more_likelihoods_than_a_chunk_are_in_memory_at_once(caplog):
    sizes = set()

    def log_likelihood(x):
        def evaluate(x):
            sizes.add(len(x))
            return -np.sum(x**2, axis=-1)

        return jax.pure_callback(evaluate, jax.ShapeDtypeStruct((), x.dtype), x, vmap_method="expand_dims")

    problem = Problem(box(2), log_likelihood)
    caplog.set_level(logging.INFO)
    settings = dict(n_live=50, num_delete=20, num_mcmc_steps=2, num_importance_draws=0)
    af.NSS(chunk_size=7, **settings)._fit(problem.model, problem.analysis)
    assert sizes == {7}
    assert "Likelihoods evaluated at once: 7 on each of 1 CPU (cpu)." in caplog.text


@pytest.mark.slow
def test_a_fit_interrupted_again_and_again_ends_with_the_same_bytes(caplog):
    """Each session is left at another iteration, between and on checkpoints."""
    problem = two_modes()
    settings = dict(n_live=100, num_delete=20, num_mcmc_steps=4)
    expected, _ = af.NSS(**settings)._fit(problem.model, problem.analysis)

    search = af.NSS(name="n", checkpoint_interval=4, **settings)
    for iteration in (2, 7, 8, 13, 21):
        leave_at(search, problem, iteration)

    caplog.set_level(logging.INFO)
    found, _ = search._fit(problem.model, problem.analysis)
    assert "Resuming NSS from iteration 20" in caplog.text
    assert same_run(found, expected)
    assert found.wall_time > 0.0


def test_a_crash_after_convergence_resumes_without_sampling_again(monkeypatch):
    problem = gaussian_in_a_box(2)
    settings = dict(n_live=60, num_delete=20, num_mcmc_steps=3)
    expected, _ = af.NSS(**settings)._fit(problem.model, problem.analysis)

    search = af.NSS(name="n", checkpoint_interval=1000, **settings)
    perform_update = af.NSS.perform_update
    monkeypatch.setattr(af.NSS, "perform_update", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        search.fit(model=problem.model, analysis=problem.analysis)
    assert search.checkpoint_file.exists()

    monkeypatch.setattr(af.NSS, "perform_update", perform_update)
    real = kernel.nested_slice_sampler
    monkeypatch.setattr(kernel, "nested_slice_sampler", lambda **k: real(**k)._replace(advance=None))
    again = af.NSS(name="n", checkpoint_interval=1000, **settings)
    samples = again.fit(model=problem.model, analysis=problem.analysis).samples
    assert same_bytes(np.array(samples.parameter_lists), expected.positions)
    assert samples.samples_info["total_samples"] == expected.evals
    assert samples.samples_info["time"] > 0.0
    assert not again.checkpoint_file.exists()
