"""The second evidence as a part of a fit: what the user gets, and that nothing of it is lost or mistaken."""

import json
import logging
import os
import re
import signal

import autofit as af
import jax.numpy as jnp
import numpy as np
import pytest
from autofit import exc
from autofit.non_linear.search.nest.nss import opinion
from autofit.non_linear.search.nest.nss.evidence import importance, mixture
from autofit.non_linear.search.nest.nss.evidence.prior_space import for_all_rows, parameters_at, to_standard_normal
from autofit.non_linear.search.nest.nss.saving import checkpoint, history
from autofit.non_linear.search.nest.nss.showing import progress
from jax.scipy.stats import norm
from support.comparing import same_run
from support.problems import Problem, box, gaussian_in_a_box, two_modes

SETTINGS = dict(n_live=60, num_delete=20, num_mcmc_steps=3, checkpoint_interval=2, num_importance_draws=600)


def new_search(problem, **settings):
    search = af.NSS(**{"name": "n", **SETTINGS, **settings})
    search.paths.model = problem.model
    return search


def correlated(n_dim):
    """A Gaussian in whose directions chains take long to get anywhere, with its log evidence."""
    covariance = 0.95 + 0.05 * np.eye(n_dim)
    precision, log_norm = jnp.asarray(np.linalg.inv(covariance)), 0.5 * np.linalg.slogdet(2.0 * np.pi * covariance)[1]
    return Problem(box(n_dim, 10.0), lambda x: -0.5 * x @ precision @ x - log_norm, -n_dim * np.log(20.0))


@pytest.mark.slow
def test_it_is_right_where_too_few_slices_make_nested_sampling_wrong(caplog):
    """By more than two errors, of which the insertion ranks see nothing."""
    problem = correlated(20)
    search = af.NSS(n_live=100, num_delete=25, num_mcmc_steps=20, moves="step_out")
    trust = search._fit(problem.model, problem.analysis)[0].trust
    assert trust["insertion_rank_p_value"] > 0.01
    assert trust["log_evidence"] == pytest.approx(problem.log_evidence, abs=4.0 * trust["log_evidence_error"])
    assert trust["log_evidence_error"] < 0.05
    assert (trust["log_evidence_nested"] - problem.log_evidence) / trust["log_evidence_nested_error"] > 2.0
    assert trust["log_evidence_distance"] > 2.0
    assert "expected to be too high" in caplog.text
    assert "num_mcmc_steps=40" in caplog.text


def test_what_is_said_of_it(caplog):
    problem = gaussian_in_a_box(3)
    caplog.set_level(logging.INFO)
    result = problem.search(name="n").fit(model=problem.model, analysis=problem.analysis)
    info = result.samples.samples_info
    assert "Believe the second (samples.log_evidence)" in caplog.text
    assert f"{info['log_evidence_nested']:.2f} ± {info['log_evidence_nested_error']:.2f}" in caplog.text
    assert result.samples.log_evidence == info["log_evidence"] == info["log_evidence_bridge"]
    assert info["log_evidence"] == pytest.approx(problem.log_evidence, abs=4.0 * info["log_evidence_error"])
    assert info["log_evidence_error"] < 0.4 * info["log_evidence_nested_error"]
    assert 0 < info["importance_draws"] <= 2_000
    assert info["importance_unusable"] == ""
    json.dumps(info, allow_nan=False)


def test_none_is_made_where_none_is_wanted(caplog):
    problem = gaussian_in_a_box(2)
    caplog.set_level(logging.INFO)
    internal, _ = new_search(problem, num_importance_draws=0)._fit(problem.model, problem.analysis)
    assert internal.trust["importance_draws"] == 0
    assert internal.trust["log_evidence_importance"] is None
    assert internal.trust["log_evidence"] == internal.trust["log_evidence_nested"] == np.mean(internal.logZs)
    assert "there is no second evidence: no draws were made" in caplog.text


def test_one_that_cannot_be_used_is_no_number(caplog):
    problem = gaussian_in_a_box(2)
    caplog.set_level(logging.INFO)
    internal, _ = new_search(problem, num_importance_draws=1)._fit(problem.model, problem.analysis)
    assert "are needed" in internal.trust["importance_unusable"]
    assert internal.trust["log_evidence_importance"] is None
    assert internal.trust["log_evidence_distance"] is None
    assert internal.trust["log_evidence"] == internal.trust["log_evidence_nested"]
    assert "there is no second evidence: its draws are worth" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ((mixture, "kmeans2"), np.linalg.LinAlgError("singular")),
        ((importance, "bridge_sampling"), FloatingPointError("overflow")),
        ((opinion.Opinion, "_draw"), exc.SearchException("The device ran out of memory with 1 likelihood(s)")),
        ((importance, "posterior_samples"), MemoryError("no room")),
    ],
)
def test_whatever_fails_the_run_stands(failing, error, monkeypatch, caplog):
    def fail(*_, **__):
        raise error

    problem = gaussian_in_a_box(2)
    monkeypatch.setattr(*failing, fail)
    search = new_search(problem, n_eff=1000)
    info = search.fit(model=problem.model, analysis=problem.analysis).samples.samples_info
    assert info["log_evidence"] == info["log_evidence_nested"]
    assert info["importance_unusable"] == f"they failed ({error!r})"
    assert f"there is no second evidence: they failed ({error!r})" in caplog.text
    assert "Traceback" in caplog.text
    json.dumps(info, allow_nan=False)


@pytest.mark.slow
def test_as_many_samples_as_asked_for(caplog):
    problem = two_modes()
    search = problem.search(name="n", n_eff=4000)
    samples = search.fit(model=problem.model, analysis=problem.analysis).samples
    info = samples.samples_info
    assert info["ess"] >= 4000
    assert "was not reached" not in caplog.text
    weights, positions = np.array(samples.weight_list), np.array(samples.parameter_lists)
    assert weights.sum() == pytest.approx(1.0)
    assert weights.sum() ** 2 / (weights**2).sum() >= 4000
    assert np.average(positions[:, 0] > 0.0, weights=weights) == pytest.approx(0.7, abs=4.0 * 0.46 / np.sqrt(4000))
    folded = np.abs(positions)
    assert np.average(folded, weights=weights, axis=0) == pytest.approx(problem.mean, abs=4.0 * 0.4 / np.sqrt(4000))
    best = np.argmax(samples.log_likelihood_list)
    assert samples.log_likelihood_list[best] == pytest.approx(float(problem.log_likelihood(positions[best])))
    expected = [sum(problem.model.log_prior_list_from_vector(row)) for row in positions[:5]]
    assert [sample.log_prior for sample in samples.sample_list[:5]] == pytest.approx(expected)


@pytest.mark.slow
def test_samples_that_cannot_be_had_are_told_of(monkeypatch, caplog):
    monkeypatch.setattr(importance, "MAX_DRAWS_PER_EFFECTIVE", 0)
    problem = gaussian_in_a_box(3)
    internal, _ = new_search(problem, n_eff=20_000)._fit(problem.model, problem.analysis)
    told = f"n_eff=20,000 was not reached. The result holds {internal.ess:,} effective samples, as many as can be had"
    assert told in caplog.text
    assert internal.ess == int(internal.trust["importance_n_eff"]) < 20_000


def test_without_a_second_evidence_the_result_holds_the_samples_of_the_run(monkeypatch, caplog):
    monkeypatch.setattr(importance, "MAX_ERROR", 0.0)
    problem = gaussian_in_a_box(3)
    internal, _ = new_search(problem, n_eff=2000)._fit(problem.model, problem.analysis)
    assert "effective samples, nested sampling's samples, since there are no others: its error is" in caplog.text
    nested, _ = new_search(problem, name=None, num_importance_draws=0)._fit(problem.model, problem.analysis)
    assert internal.positions.tobytes() == nested.positions.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_importance_draws": -1}, "num_importance_draws=-1 is not possible: give a whole number from 0"),
        ({"num_importance_draws": 0.5}, "num_importance_draws=0.5 is not possible"),
        ({"n_eff": 0}, "n_eff=0 is not possible: give a whole number from 1"),
        ({"n_eff": 10, "num_importance_draws": 0}, "num_importance_draws=0 is not possible with n_eff"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        af.NSS(**arguments)


def interrupted_while_drawing(monkeypatch, problem, at, number, **settings):
    """A search that was told to stop after so many batches of draws; its folder holds the checkpoint."""
    search, shown = new_search(problem, **settings), []

    def show_draws(*_):
        shown.append(True)
        if len(shown) == at:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(progress.Progress, "show_draws", show_draws)
        stop = KeyboardInterrupt if number == signal.SIGINT else SystemExit
        with pytest.raises(stop):
            search._fit(problem.model, problem.analysis)
    return search


@pytest.mark.slow
@pytest.mark.parametrize(("at", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT), (3, signal.SIGTERM)])
@pytest.mark.usefixtures("handlers")
def test_stopped_while_drawing_it_ends_with_the_same_bytes(monkeypatch, at, number):
    problem, settings = gaussian_in_a_box(3), dict(n_eff=1500)
    whole, _ = new_search(problem, name=None, **settings)._fit(problem.model, problem.analysis)
    search = interrupted_while_drawing(monkeypatch, problem, at, number, **settings)
    notes = checkpoint.load_notes(search.checkpoint_file)
    stored = history.History.load(
        checkpoint.draws_path(search.checkpoint_file), history.Extent(*notes["draws"]["extent"])
    )
    assert len(stored) == at
    again, _ = new_search(problem, **settings)._fit(problem.model, problem.analysis)
    assert same_run(again, whole)
    assert len(again.positions) == len(whole.positions)
    assert {**again.trust} == {**whole.trust}


def test_draws_on_disk_are_not_evaluated_again(monkeypatch):
    problem, made = gaussian_in_a_box(3), []
    draw = opinion.Opinion._draw

    def count(*arguments):
        batch = draw(*arguments)
        made.append(len(batch.positions))
        return batch

    monkeypatch.setattr(opinion.Opinion, "_draw", count)
    interrupted_while_drawing(monkeypatch, problem, 2, signal.SIGTERM, n_eff=1500)
    internal, _ = new_search(problem, n_eff=1500)._fit(problem.model, problem.analysis)
    assert sum(made) == internal.trust["importance_draws"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(path.read_bytes()[:-9]), lambda path: path.unlink()]
)
def test_damaged_draws_are_made_again_alike(monkeypatch, caplog, damage):
    problem = gaussian_in_a_box(3)
    whole, _ = new_search(problem, name=None)._fit(problem.model, problem.analysis)
    search = interrupted_while_drawing(monkeypatch, problem, 2, signal.SIGTERM)
    damage(checkpoint.draws_path(search.checkpoint_file))
    again, _ = new_search(problem)._fit(problem.model, problem.analysis)
    assert "The importance draws are made again." in caplog.text
    assert same_run(again, whole)
    assert again.trust == whole.trust


def test_draws_of_another_number_are_made_again(monkeypatch):
    problem = gaussian_in_a_box(3)
    whole, _ = new_search(problem, name=None, num_importance_draws=1200)._fit(problem.model, problem.analysis)
    interrupted_while_drawing(monkeypatch, problem, 2, signal.SIGTERM)
    again, _ = new_search(problem, num_importance_draws=1200)._fit(problem.model, problem.analysis)
    assert again.trust == whole.trust


def test_nothing_is_left_of_it_when_the_results_are_on_disk():
    problem = gaussian_in_a_box(2)
    search = new_search(problem)
    search.fit(model=problem.model, analysis=problem.analysis)
    assert not list(search.paths.output_path.rglob("nss_checkpoint*"))


@pytest.mark.slow
def test_a_prior_without_an_inverse_gets_no_second_evidence_where_chains_walk_in_parameters(monkeypatch, caplog):
    monkeypatch.setattr(af.UniformPrior, "unit_value_for", lambda self, value: 0.5 + 0.0 * value)
    problem = gaussian_in_a_box(2)
    internal, _ = new_search(problem, moves="step_out")._fit(problem.model, problem.analysis)
    assert "there is no second evidence: they failed (ValueError(" in caplog.text
    assert "unit_value_for of the prior UniformPrior of the parameter 'x0' is not the inverse" in caplog.text
    assert internal.trust["log_evidence"] == internal.trust["log_evidence_nested"]
    internal, _ = new_search(problem, name="m")._fit(problem.model, problem.analysis)
    assert internal.trust["log_evidence"] == internal.trust["log_evidence_bridge"]


def test_every_prior_there_and_back():
    priors = dict(
        a=af.UniformPrior(1.0, 3.0),
        b=af.LogUniformPrior(0.01, 100.0),
        c=af.GaussianPrior(1.0, 2.0),
        d=af.TruncatedGaussianPrior(mean=0.0, sigma=1.0, lower_limit=-1.0, upper_limit=2.0),
        e=af.LogGaussianPrior(mean=1.0, sigma=0.5),
    )
    model = af.Collection(**priors)
    points = np.random.default_rng(1).normal(size=(500, 5))
    parameters = for_all_rows(lambda z: parameters_at(model, z))(points)
    np.testing.assert_allclose(to_standard_normal(model, parameters), points, atol=1e-6)


def test_a_finished_fit_of_other_data_is_refused():
    problem = gaussian_in_a_box(2)
    search = new_search(problem)
    search.fit(model=problem.model, analysis=problem.analysis)
    again = new_search(problem).fit(model=problem.model, analysis=problem.analysis)
    other = Problem(problem.priors, lambda x: norm.logpdf(x, 0.3, 0.4).sum())
    with pytest.raises(exc.SearchException, match="is of other data, or of another likelihood") as error:
        new_search(problem).fit(model=problem.model, analysis=other.analysis)
    best = again.samples.max_log_likelihood(as_instance=False)
    named = [float(number) for number in re.findall(r"-?\d+\.\d+(?:e[+-]?\d+)?", str(error.value))]
    for likelihood in (problem.log_likelihood, other.log_likelihood):
        assert any(number == pytest.approx(float(likelihood(jnp.array(best))), rel=1e-4) for number in named)
    assert "Nothing was deleted" in str(error.value)
    assert list(search.paths.output_path.rglob("samples.csv"))
    third = new_search(problem).fit(model=problem.model, analysis=problem.analysis)
    assert third.samples.log_evidence == again.samples.log_evidence
