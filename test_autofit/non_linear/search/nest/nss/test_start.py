"""Fits that start from what is known: fewer evaluations, the evidence under the priors, and bad starts told of."""

import json
import shutil
from types import SimpleNamespace
from unittest import mock

import autofit as af
import numpy as np
import pytest
from autofit import exc
from autofit.non_linear.search.nest.nss import opinion
from autofit.non_linear.search.nest.nss.evidence import importance, start
from autofit.non_linear.search.nest.nss.results import Ending
from autofit.non_linear.search.nest.nss.saving import checkpoint
from autofit.non_linear.search.nest.nss.showing.schedule import Schedule
from support.comparing import same_run
from support.problems import gaussian_in_a_box, leave_at, nothing_saved, two_modes

SETTINGS = dict(n_live=400, num_delete=100)


def posterior(problem, number=4000, keep=lambda x: np.ones(len(x), bool)):
    """Samples of a Gaussian of known mean, or of both its mirror images, as a fit would return them."""
    rng = np.random.default_rng(0)
    x = rng.normal(problem.mean, np.sqrt(problem.variance), (number, len(problem.mean)))
    if problem.compared is np.abs:
        x *= np.where(rng.random((number, 1)) < 0.7, 1.0, -1.0)
    x = x[keep(x)]
    return SimpleNamespace(model=problem.model, parameter_lists=x.tolist(), weight_list=[1.0 / len(x)] * len(x))


def fit(problem, **settings):
    return af.NSS(**{**SETTINGS, **settings}).fit(model=problem.model, analysis=problem.analysis).samples


def assert_evidence_is_right(info, problem):
    assert not info["importance_unusable"]
    assert info["log_evidence"] == pytest.approx(problem.log_evidence, abs=4.0 * info["log_evidence_error"])
    assert info["log_evidence_error"] < 0.1


@pytest.mark.slow
def test_a_right_start_saves_evaluations_and_gives_the_same_posterior(caplog):
    problem = two_modes()
    first = fit(problem)
    samples = fit(problem, start_from=first, seed=1)
    info = samples.samples_info
    assert_evidence_is_right(info, problem)
    assert info["total_samples"] < first.samples_info["total_samples"] / 3
    assert info["number_live_points"] == 100
    assert info["ess"] >= 2000
    assert info["start_unknown"] == pytest.approx([0.0], abs=0.01)
    assert "does not know" not in caplog.text
    weights, positions = np.array(samples.weight_list), np.array(samples.parameter_lists)
    assert weights @ (positions[:, 0] > 0.0) == pytest.approx(0.7, abs=4.0 * 0.46 / np.sqrt(2000))
    assert weights @ np.abs(positions) == pytest.approx(problem.mean, abs=4.0 * 0.4 / np.sqrt(2000))


def test_a_start_that_lacks_a_mode_is_told_of_and_the_evidence_is_right(caplog):
    problem = two_modes()
    info = fit(problem, start_from=posterior(problem, keep=lambda x: x[:, 0] < 0.0)).samples_info
    assert_evidence_is_right(info, problem)
    assert info["start_unknown"] == pytest.approx([0.7], abs=0.05)
    assert "start_from[0] does not know 7" in caplog.text


@pytest.mark.slow
def test_of_several_starts_each_is_judged():
    problem = two_modes()
    starts = [posterior(problem, keep=lambda x: x[:, 0] < 0.0), posterior(problem)]
    info = fit(problem, start_from=starts).samples_info
    assert_evidence_is_right(info, problem)
    assert info["start_unknown"] == pytest.approx([0.7, 0.0], abs=0.05)


@pytest.fixture
def in_vain(monkeypatch):
    """No draws that begin with a start are of use, as where few points miss the best fit and the start is off."""
    ask = opinion.Opinion.ask

    def unusable_with_a_start(self, *arguments):
        found = ask(self, *arguments)
        return found._replace(unusable="they are of no use") if arguments[-1] else found

    monkeypatch.setattr(opinion.Opinion, "ask", unusable_with_a_start)


@pytest.mark.slow
def test_after_a_start_in_vain_the_result_is_that_without_it(in_vain, caplog):
    problem = gaussian_in_a_box(2)
    settings = dict(n_live=120, num_delete=40, n_eff=600)
    without, _ = af.NSS(**settings)._fit(problem.model, problem.analysis)
    assert "A full run from the prior begins" not in caplog.text
    search = af.NSS(start_from=posterior(problem), **settings)
    found, _ = search._fit(problem.model, problem.analysis)
    assert "they are of no use. A full run from the prior begins" in caplog.text
    for name in ("positions", "loglikelihoods", "log_weights", "logZs"):
        assert getattr(found, name).tobytes() == getattr(without, name).tobytes()
    assert found.trust == {**without.trust, "start_unknown": found.trust["start_unknown"]}
    assert found.trust["start_unknown"] == pytest.approx([0.0], abs=0.01)
    assert found.n_live == 120
    assert found.evals > without.evals
    assert found.sampling_time > 0.0
    assert search.start_from


@pytest.mark.slow
def test_draws_that_are_too_few_are_in_vain_too(monkeypatch, caplog):
    monkeypatch.setattr(importance, "MAX_DRAWS_PER_EFFECTIVE", 0)
    problem = gaussian_in_a_box(2)
    info = fit(problem, n_live=120, num_delete=40, n_eff=50_000, start_from=posterior(problem)).samples_info
    assert "the draws and the run are worth" in caplog.text
    assert "A full run from the prior begins" in caplog.text
    assert not info["importance_unusable"]
    assert info["number_live_points"] == 120


def leave_in_the_whole_run(search, problem, iteration):
    begun, original = [], Ending.given_up

    def given_up(ending, logger):
        begun.append(True)
        return original(ending, logger)

    def until_next(_schedule, at, _pace):
        if begun and at >= iteration:
            raise KeyboardInterrupt
        return 1

    search.paths.model = problem.model
    with (
        mock.patch.object(Ending, "given_up", given_up),
        mock.patch.object(Schedule, "until_next", until_next),
        nothing_saved(),
        pytest.raises(KeyboardInterrupt),
    ):
        search._fit(problem.model, problem.analysis)


@pytest.mark.slow
def test_a_whole_run_after_a_start_in_vain_is_gone_on_from(in_vain, caplog):
    problem = gaussian_in_a_box(2)
    settings = dict(n_live=120, num_delete=40, checkpoint_interval=2, start_from=posterior(problem, 2000))
    whole, _ = af.NSS(**settings)._fit(problem.model, problem.analysis)
    leave_in_the_whole_run(af.NSS(name="n", **settings), problem, 9)
    caplog.clear()
    again = af.NSS(name="n", **settings)
    again.paths.model = problem.model
    again, _ = again._fit(problem.model, problem.analysis)
    assert "Resuming NSS from iteration 8" in caplog.text
    assert "A full run from the prior begins" not in caplog.text
    assert same_run(again, whole)
    assert again.trust == whole.trust
    assert again.evals == whole.evals


@pytest.mark.slow
def test_killed_while_the_whole_run_takes_the_place_of_the_other_it_ends_alike(in_vain):
    problem = gaussian_in_a_box(2)
    settings = dict(n_live=120, num_delete=40, checkpoint_interval=2, start_from=posterior(problem, 2000))
    whole, _ = af.NSS(**settings)._fit(problem.model, problem.analysis)
    original = checkpoint._save_checkpoint

    def killed_after_the_history(path, state, dead, run_key, iteration, notes):
        if "scouted" in notes:
            dead.flush()
            raise KeyboardInterrupt
        original(path, state, dead, run_key, iteration, notes)

    search = af.NSS(name="n", **settings)
    search.paths.model = problem.model
    with (
        mock.patch.object(checkpoint, "_save_checkpoint", killed_after_the_history),
        pytest.raises(KeyboardInterrupt),
    ):
        search._fit(problem.model, problem.analysis)
    again, _ = search._fit(problem.model, problem.analysis)
    assert same_run(again, whole)
    assert again.evals == whole.evals


def test_a_damaged_checkpoint_of_a_whole_run_gives_way_to_the_one_before(in_vain, caplog):
    problem = gaussian_in_a_box(2)
    settings = dict(n_live=120, num_delete=40, checkpoint_interval=2, start_from=posterior(problem, 2000))
    search = af.NSS(name="n", **settings)
    leave_in_the_whole_run(search, problem, 9)
    search.checkpoint_file.write_bytes(search.checkpoint_file.read_bytes()[:-10])
    search._fit(problem.model, problem.analysis)
    assert "Resuming NSS from iteration 6" in caplog.text


def test_without_its_start_a_whole_run_is_not_gone_on_from(in_vain):
    problem = gaussian_in_a_box(2)
    settings = dict(name="n", n_live=120, num_delete=40, checkpoint_interval=2)
    leave_in_the_whole_run(af.NSS(start_from=posterior(problem, 2000), **settings), problem, 9)
    search = af.NSS(**settings)
    search.paths.model = problem.model
    with pytest.raises(
        exc.SearchException, match=r"start_from was 1 fit\(s\) and is nothing; in_vain was True and is False"
    ):
        search._fit(problem.model, problem.analysis)


@pytest.mark.slow
def test_interrupted_it_ends_with_the_same_bytes_though_its_start_was_loaded_anew():
    """A fit that is loaded lacks the samples without weight, which the one that was just made has."""
    problem = gaussian_in_a_box(2)
    settings = dict(n_live=120, num_delete=40, checkpoint_interval=2)
    known, loaded = posterior(problem, 2000), posterior(problem, 2000)
    for of in (known.parameter_lists, loaded.parameter_lists):
        of[0] = [4.0, 4.0]
    known.weight_list[0] = 1e-12
    del loaded.parameter_lists[0], loaded.weight_list[0]
    whole, _ = af.NSS(start_from=known, **settings)._fit(problem.model, problem.analysis)
    leave_at(af.NSS(name="n", start_from=known, **settings), problem, 15)
    again = af.NSS(name="n", start_from=loaded, **settings)
    again.paths.model = problem.model
    again, _ = again._fit(problem.model, problem.analysis)
    assert same_run(again, whole)
    assert again.trust == whole.trust


def moved(samples, by):
    return SimpleNamespace(
        model=samples.model,
        parameter_lists=(np.array(samples.parameter_lists) + by).tolist(),
        weight_list=samples.weight_list,
    )


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        (0.0, None, r"start_from was 1 fit\(s\) and is nothing|n_live was"),
        (None, 0.0, "start_from was nothing"),
        (0.0, 0.3, r"Since the checkpoint start_from\[0\] changed: .* parameter"),
    ],
)
def test_another_start_is_refused(before, now, says):
    problem = gaussian_in_a_box(2)
    starts = [None if by is None else moved(posterior(problem), by) for by in (before, now)]
    settings = dict(name="n", n_live=120, num_delete=40, checkpoint_interval=2)
    leave_at(af.NSS(start_from=starts[0], **settings), problem, 9)
    search = af.NSS(start_from=starts[1], **settings)
    search.paths.model = problem.model
    with pytest.raises(exc.SearchException, match=says):
        search._fit(problem.model, problem.analysis)


def test_a_checkpoint_of_a_run_without_a_start_is_refused():
    problem = gaussian_in_a_box(2)
    settings = dict(name="n", n_live=120, num_delete=40, checkpoint_interval=2)
    before = af.NSS(**settings)
    leave_at(before, problem, 9)
    search = af.NSS(start_from=posterior(problem), **{**settings, "n_live": 480, "num_delete": 160})
    search.paths.model = problem.model
    assert start.scouts(480, 160, 2) == (120, 40)
    shutil.copytree(before.checkpoint_file.parent, search.checkpoint_file.parent, dirs_exist_ok=True)
    with pytest.raises(exc.SearchException, match="start_from was nothing"):
        search._fit(problem.model, problem.analysis)


def test_parameters_are_matched_by_their_names():
    problem = gaussian_in_a_box(3)
    given = posterior(problem)
    other = af.Collection(**{name: af.UniformPrior(-5.0, 5.0) for name in ("x2", "x0", "x1")})
    order = [[".".join(other.path_for_prior(p)) for p in other.priors_ordered_by_id].index(f"x{i}") for i in range(3)]
    turned = np.empty((len(given.parameter_lists), 3))
    turned[:, order] = given.parameter_lists
    turned = SimpleNamespace(model=other, parameter_lists=turned.tolist(), weight_list=given.weight_list)
    (a,), (b,) = (start.densities_of(problem.model, [fit], 1) for fit in (given, turned))
    assert order != [0, 1, 2]
    assert np.array_equal(a.means, b.means)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda of: SimpleNamespace(samples=None), r"start_from\[0\] holds no samples"),
        (lambda _: posterior(gaussian_in_a_box(3)), "one of the two models alone has x2"),
        (lambda of: posterior(of, number=4), "worth 4 independent ones, and 6 are needed"),
        (lambda of: moved(posterior(of), 100.0), "within the priors of this model are worth 0"),
    ],
)
def test_starts_that_are_of_no_use(given, says):
    problem = gaussian_in_a_box(2)
    with pytest.raises(exc.SearchException, match=says):
        af.NSS(start_from=given(problem))._fit(problem.model, problem.analysis)


def test_what_is_no_start_is_refused_at_once():
    with pytest.raises(ValueError, match="start_from='fit' is not possible: give the result"):
        af.NSS(start_from="fit")
    with pytest.raises(ValueError, match="num_importance_draws=0 is not possible with start_from"):
        af.NSS(start_from=posterior(gaussian_in_a_box(2)), num_importance_draws=0)


def test_a_chain_of_two_fits_run_twice_returns_the_same():
    problem = gaussian_in_a_box(2)

    def script():
        first = af.NSS(name="first", n_live=120, num_delete=40).fit(model=problem.model, analysis=problem.analysis)
        search = af.NSS(name="second", n_live=120, num_delete=40, start_from=first)
        return search.fit(model=problem.model, analysis=problem.analysis), search

    (once, search), (twice, _) = script(), script()
    assert once.samples.log_evidence == twice.samples.log_evidence
    assert once.samples.samples_info["start_unknown"] == twice.samples.samples_info["start_unknown"]
    (saved,) = search.paths.output_path.rglob("search.json")
    assert "start_from" not in json.loads(saved.read_text())["arguments"]
