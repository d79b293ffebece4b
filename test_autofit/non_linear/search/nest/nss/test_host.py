"""``af.NSS`` inside the host's larger machinery: chained searches, grids, factor graphs, aggregator, modes, paths."""

import json
import logging
import threading

import autofit as af
import numpy as np
import pytest
from autofit.aggregator.aggregator import Aggregator
from autofit.non_linear.search.nest.nss.saving import checkpoint
from autofit.non_linear.search.nest.nss.showing import progress
from jax.scipy.stats import norm
from support.problems import VectorAnalysis, gaussian_in_a_box

QUICK = dict(n_live=60, num_delete=20, num_mcmc_steps=3)


@pytest.fixture(scope="module")
def problem():
    return gaussian_in_a_box(2)


def fit(search, problem, model=None):
    return search.fit(model=model or problem.model, analysis=problem.analysis)


def peak_at(centre):
    return lambda x: norm.logpdf(x[0], 0.0, 0.4) + norm.logpdf(x[1], centre, 0.4)


class Killed(KeyboardInterrupt):
    pass


@pytest.fixture
def killed_once(monkeypatch):
    """Lets the nth checkpoint of the process be the last thing it does."""

    def arm(nth):
        save, count = checkpoint._save_checkpoint, iter(range(1, 10_000))

        def save_and_die(*arguments):
            save(*arguments)
            if next(count) == nth:
                raise Killed

        monkeypatch.setattr(checkpoint, "_save_checkpoint", save_and_die)

    return arm


def same(found, expected):
    return np.array_equal(found.samples.parameter_lists, expected.samples.parameter_lists)


@pytest.mark.slow
def test_the_next_search_of_a_chain_takes_the_first_one_s_posterior_as_its_prior(problem):
    first = fit(af.NSS(name="first", **QUICK), problem)
    model = first.model_centred_absolute(a=0.5)
    assert isinstance(model.x0, af.TruncatedGaussianPrior)
    second = fit(af.NSS(name="second", **QUICK), problem, model=model)
    assert second.samples.log_evidence > first.samples.log_evidence  # of a narrower prior
    means = np.average(second.samples.parameter_lists, axis=0, weights=second.samples.weight_list)
    assert means == pytest.approx(problem.mean, abs=0.3)


@pytest.mark.slow
def test_a_grid_search_that_is_killed_in_a_cell_goes_on_to_the_same_cells(problem, killed_once, output_path, caplog):
    def grid(name):
        model = problem.model
        search = af.SearchGridSearch(
            search=af.NSS(name=name, checkpoint_interval=3, **QUICK), number_of_steps=2, number_of_cores=1
        )
        return search.fit(model=model, analysis=problem.analysis, grid_priors=[model.x0])

    expected = grid("in_one_go").log_evidences()
    killed_once(9)
    with pytest.raises(Killed):
        grid("killed")
    caplog.set_level(logging.INFO)
    assert np.array_equal(grid("killed").log_evidences(), expected)
    assert "Resuming NSS" in caplog.text


@pytest.mark.slow
def test_several_analyses_in_a_factor_graph_killed_once(killed_once):
    """Two data sets of one shared and one own parameter each: the evidence of the product is known."""

    def graph_fit(name):
        shared = af.UniformPrior(-5.0, 5.0)
        factors = []
        for centre in (-1.0, 1.0):
            model = af.Collection(x0=shared, x1=af.UniformPrior(-5.0, 5.0))
            factors.append(af.AnalysisFactor(prior_model=model, analysis=VectorAnalysis(peak_at(centre))))
        graph = af.FactorGraphModel(*factors, use_jax=True)
        search = af.NSS(name=name, n_live=200, num_delete=20, num_mcmc_steps=8, checkpoint_interval=5)
        return search.fit(model=graph.global_prior_model, analysis=graph)[0].samples

    expected = graph_fit("in_one_go")
    product_at_peak = norm.logpdf(0.0, 0.0, 0.4 * np.sqrt(2.0))
    error = expected.samples_info["log_evidence_error"]
    assert abs(expected.log_evidence - (product_at_peak - 3.0 * np.log(10.0))) < 4.0 * error
    killed_once(4)
    with pytest.raises(Killed):
        graph_fit("killed")
    assert np.array_equal(graph_fit("killed").parameter_lists, expected.parameter_lists)


@pytest.mark.slow
def test_a_fit_in_a_database_that_is_killed_goes_on(problem, killed_once, tmp_path, caplog):
    def search(name):
        session = af.db.open_database(str(tmp_path / f"{name}.sqlite"))
        return af.NSS(name=name, session=session, checkpoint_interval=3, **QUICK)

    expected = fit(search("in_one_go"), problem)
    killed_once(2)
    with pytest.raises(Killed):
        fit(search("killed"), problem)
    caplog.set_level(logging.INFO)
    resumed = search("killed")
    assert same(fit(resumed, problem), expected)
    assert "Resuming NSS from iteration 6" in caplog.text
    assert resumed.paths.is_complete
    assert not list(resumed.checkpoint_file.parent.iterdir())


def test_the_aggregator_reads_an_interrupted_fit(problem, output_path, monkeypatch):
    show = af.NSS._show

    def show_and_leave(search, fit, *arguments):
        show(search, fit, *arguments)
        if fit.run.iteration == 4:
            raise Killed

    monkeypatch.setattr(af.NSS, "_show", show_and_leave)
    with pytest.raises(Killed):
        fit(af.NSS(name="n", checkpoint_interval=2, iterations_per_full_update=4, **QUICK), problem)
    (found,) = list(Aggregator.from_directory(output_path, completed_only=False).values("samples"))
    assert found.samples_info["converged"] is False
    assert len(found) > QUICK["n_live"]
    assert list(Aggregator.from_directory(output_path, completed_only=True).values("samples")) == []


def test_a_search_is_loaded_from_its_output_and_gives_the_same_fit(problem, output_path):
    result = fit(af.NSS(name="n", seed=5, **QUICK), problem)
    (path,) = output_path.rglob("search.json")
    again = af.from_dict(json.loads(path.read_text()))
    again.paths = type(result.paths)(name="again")
    assert same(fit(again, problem), result)


@pytest.mark.parametrize("mode", ["1", "2"])
def test_test_modes_end_at_once(problem, monkeypatch, mode):
    whole = len(fit(af.NSS(name="whole", **QUICK), problem).samples)
    monkeypatch.setenv("PYAUTO_TEST_MODE", mode)
    assert 0 < len(fit(af.NSS(name="n", **QUICK), problem).samples) < whole


def test_hpc_mode_is_silent_and_takes_its_own_intervals(problem, monkeypatch, caplog):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO)
    fit(af.NSS(name="watched", **QUICK), problem)
    assert "Iteration" in caplog.text
    caplog.clear()
    hpc = af.conf.instance["general"]["hpc"]
    monkeypatch.setitem(hpc, "hpc_mode", True)
    monkeypatch.setitem(hpc, "iterations_per_quick_update", 7)
    search = af.NSS(name="n", iterations_per_quick_update=2, **QUICK)
    assert search.silence
    assert search.iterations_per_quick_update == 7
    fit(search, problem)
    assert "Iteration" not in caplog.text


def test_a_zipped_fit_is_read_again_without_sampling(problem, monkeypatch, output_path):
    monkeypatch.setitem(af.conf.instance["general"]["output"], "remove_files", True)
    first = fit(af.NSS(name="n", **QUICK), problem)
    assert list(output_path.rglob("*.zip"))
    monkeypatch.setattr(af.NSS, "_fit", lambda *_: pytest.fail("sampled again"))
    again = fit(af.NSS(name="n", **QUICK), problem)
    assert again.samples.log_evidence == first.samples.log_evidence
    assert again.samples.max_log_likelihood(as_instance=False) == first.samples.max_log_likelihood(as_instance=False)


def test_folders_are_where_they_are_asked_for(problem, output_path):
    fit(af.NSS(name="n", path_prefix="survey/lens_7", unique_tag="night_3", **QUICK), problem)
    assert list((output_path / "survey" / "lens_7" / "night_3" / "n").iterdir())


def test_a_fit_in_a_thread_as_in_a_web_service(problem):
    """No signal handlers can be installed there; all else works."""
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(af.NSS(name="n", **QUICK), problem)))
    thread.start()
    thread.join()
    assert same(found[0], fit(af.NSS(name="in_main", **QUICK), problem))
