"""Resuming what is not this run: refused with what differs and what to do, and every file left as it was."""

import logging
import os
import pickle
import shutil
from dataclasses import replace

import autofit as af
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit import exc
from autofit.non_linear.search.nest.nss import fit as fit_module
from autofit.non_linear.search.nest.nss.evidence.prior_space import draw_parameters
from autofit.non_linear.search.nest.nss.saving import checkpoint, fingerprint
from support.comparing import same_run
from support.problems import Problem, VectorAnalysis, box, gaussian_in_a_box, leave_at

SETTINGS = dict(n_live=60, num_delete=20, num_mcmc_steps=3, checkpoint_interval=2)


def new_search(problem, **settings):
    search = af.NSS(name="n", **{**SETTINGS, **settings})
    search.paths.model = problem.model
    return search


@pytest.fixture(scope="module")
def problem():
    return gaussian_in_a_box(2)


@pytest.fixture(scope="module")
def expected(problem):
    """The run that nobody interrupts."""
    return af.NSS(**SETTINGS)._fit(problem.model, problem.analysis)[0]


@pytest.fixture
def interrupted(problem):
    """A search left after 9 iterations, the last of them checkpointed at 8."""
    search = new_search(problem)
    leave_at(search, problem, 9)
    return search


def contents(folder):
    return {path: path.read_bytes() for path in folder.iterdir()}


def refusal(search, model, analysis):
    """The message of a refused resume, which changes no file."""
    before = contents(search.checkpoint_file.parent)
    with pytest.raises(exc.SearchException) as error:
        search._fit(model, analysis)
    assert contents(search.checkpoint_file.parent) == before
    for way_out in ("Restore", "move", "another name"):
        assert way_out in str(error.value)
    return str(error.value)


def moved_to(search, source):
    """The files of an interrupted search in the folder of another."""
    if search.checkpoint_file != source.checkpoint_file:
        shutil.copytree(source.checkpoint_file.parent, search.checkpoint_file.parent, dirs_exist_ok=True)
    return search


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_live", 61),
        ("num_mcmc_steps", 4),
        ("num_delete", 21),
        ("termination", -2.0),
        ("seed", 1),
        ("moves", "step_out"),
    ],
)
def test_other_settings(problem, interrupted, name, value):
    search = moved_to(new_search(problem, **{name: value}), interrupted)
    message = refusal(search, problem.model, problem.analysis)
    assert f"{name} was {getattr(interrupted, name)} and is {value}" in message


def test_settings_that_leave_the_samples_alone_may_change(problem, interrupted):
    search = new_search(problem, checkpoint_interval=5, chunk_size=7, iterations_per_quick_update=3)
    search._fit(problem.model, problem.analysis)


def test_another_prior(problem, interrupted):
    other = Problem([af.UniformPrior(-5.0, 5.0), af.UniformPrior(-5.0, 6.0)], problem.log_likelihood)
    search = moved_to(new_search(other), interrupted)
    message = refusal(search, other.model, other.analysis)
    assert "x1: UniformPrior(lower_limit = -5.0, upper_limit = 5.0)" in message
    assert "x1: UniformPrior(lower_limit = -5.0, upper_limit = 6.0)" in message


def test_parameters_in_another_order(problem, interrupted):
    a, b = problem.priors
    other = af.Collection(x0=b, x1=a)
    search = new_search(problem)
    search.paths.model = other
    moved_to(search, interrupted)
    assert "order" in refusal(search, other, problem.analysis)


def test_another_fixed_value(problem, interrupted):
    other = problem.model
    other.constant = 3.0
    search = new_search(problem)
    search.paths.model = other
    moved_to(search, interrupted)
    assert "model was" in refusal(search, other, problem.analysis)


def test_other_data(problem, interrupted):
    other = VectorAnalysis(lambda x: problem.log_likelihood(x + 0.05))
    message = refusal(new_search(problem), problem.model, other)
    assert "The log likelihood of a checkpointed live point was" in message
    was, now = message.split(" was ")[1].split(" now:")[0].split(" and is ")
    assert float(was) != float(now)


def test_other_data_after_convergence(problem, monkeypatch):
    search = new_search(problem)
    search._fit(problem.model, problem.analysis)
    assert search.checkpoint_file.exists()
    other = VectorAnalysis(lambda x: problem.log_likelihood(x) + 0.1)
    assert "log likelihood" in refusal(new_search(problem), problem.model, other)


def test_another_precision(problem, interrupted):
    path = interrupted.checkpoint_file
    state, dead, key, iteration = checkpoint._load_checkpoint(path)
    notes = checkpoint.load_notes(path)
    notes["fingerprint"]["precision"] = "float32"
    checkpoint._save_checkpoint(path, state, dead, key, iteration, notes)
    message = refusal(new_search(problem), problem.model, problem.analysis)
    assert "precision was float32 and is float64" in message

    single = jax.tree.map(lambda x: np.asarray(x, "f4") if x.dtype == "f8" else x, state)
    checkpoint._save_checkpoint(path, single, dead, key, iteration, {})
    assert "type float32" in refusal(new_search(problem), problem.model, problem.analysis)


def test_a_new_library_or_device_is_a_warning(problem, interrupted, expected, monkeypatch, caplog):
    real = fingerprint.fingerprint_of

    def elsewhere(settings, model, devices):
        found = real(settings, model, devices)
        return {**found, "device": "gpu, H100", "versions": {**found["versions"], "jax": "99.0"}}

    monkeypatch.setattr(fit_module, "fingerprint_of", elsewhere)
    with caplog.at_level(logging.WARNING):
        found, _ = new_search(problem)._fit(problem.model, problem.analysis)
    assert f"jax was {jax.__version__} and is 99.0" in caplog.text
    assert "is gpu, H100" in caplog.text
    assert same_run(found, expected)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(problem, interrupted, expected, caplog):
    path = interrupted.checkpoint_file
    path.write_bytes(path.read_bytes()[:-100])
    damaged = path.read_bytes()
    with caplog.at_level(logging.INFO):
        found, _ = new_search(problem)._fit(problem.model, problem.analysis)
    assert "is damaged" in caplog.text
    assert "Resuming NSS from iteration 6" in caplog.text
    assert path.with_suffix(".damaged.pkl").read_bytes() == damaged
    assert same_run(found, expected)


def test_damaged_beyond_repair(problem, interrupted):
    for path in (interrupted.checkpoint_file, checkpoint.previous_path(interrupted.checkpoint_file)):
        path.write_bytes(path.read_bytes()[:-100])
    message = refusal(new_search(problem), problem.model, problem.analysis)
    assert message.count("is damaged") == 2


def test_a_missing_history(problem, interrupted):
    checkpoint.history_path(interrupted.checkpoint_file).unlink()
    assert "its history cannot be read" in refusal(new_search(problem), problem.model, problem.analysis)


def test_a_pickle_that_would_run_code(problem, interrupted, tmp_path):
    class Gadget:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    for path in (interrupted.checkpoint_file, checkpoint.previous_path(interrupted.checkpoint_file)):
        path.write_bytes(pickle.dumps({"state": Gadget(), "dead": [], "run_key": 0, "iteration": 1}))
    assert "posix.system" in refusal(new_search(problem), problem.model, problem.analysis)
    assert not (tmp_path / "executed").exists()


def test_files_moved_away_start_anew(problem, interrupted, expected, tmp_path, caplog):
    for path in interrupted.checkpoint_file.parent.glob("nss_checkpoint.*"):
        path.rename(tmp_path / path.name)
    found, _ = new_search(problem)._fit(problem.model, problem.analysis)
    assert "Resuming" not in caplog.text
    assert same_run(found, expected)


@pytest.mark.slow
def test_a_checkpoint_of_the_host_s_own_class_resumes_to_the_same_bytes(problem, optimised, caplog):
    """Its format: a pickled dict of state, dead (with blackjax's diagnostics), run_key and iteration."""
    expected, _ = af.NSS(**SETTINGS, moves="step_out")._fit(problem.model, problem.analysis)
    search, model = new_search(problem), problem.model
    algorithm = blackjax.nss(
        logprior_fn=lambda x: sum(model.log_prior_list_from_vector(x, xp=jnp)),
        loglikelihood_fn=problem.log_likelihood,
        num_delete=SETTINGS["num_delete"],
        num_inner_steps=SETTINGS["num_mcmc_steps"],
    )
    _, init_key, key = jax.random.split(jax.random.PRNGKey(42), 3)
    state, dead, step = jax.jit(algorithm.init)(draw_parameters(init_key, 60, model)), [], jax.jit(algorithm.step)
    for _ in range(6):
        key, subkey = jax.random.split(key)
        state, info = step(subkey, state)
        dead.append(info)
    stock = {"state": state, "dead": dead, "run_key": key, "iteration": 6}
    search.checkpoint_file.write_bytes(pickle.dumps(jax.tree.map(np.asarray, stock)))

    caplog.set_level(logging.INFO)
    found, _ = search._fit(model, problem.analysis)
    assert "The checkpoint does not say how chains move: the run goes on with 'step_out'." in caplog.text
    assert "Resuming NSS from iteration 6" in caplog.text
    assert found.trust["moves"] == "step_out"
    # How far its chains jumped is not recorded, and so not what a point is worth.
    assert found.ess > expected.ess
    assert same_run(replace(found, ess=expected.ess), expected)


@pytest.mark.slow
def test_a_fit_of_another_likelihood_in_its_own_folder_is_no_concern(problem, interrupted):
    other = Problem(box(3), lambda x: -jnp.sum(x**2))
    new_search(other)._fit(other.model, other.analysis)
