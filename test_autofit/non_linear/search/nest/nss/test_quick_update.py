"""Pictures and results before the end: what is drawn, by whom, and that sampling never depends on it."""

import csv
import json
import logging
import threading
import time

import autofit as af
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss import results
from autofit.non_linear.search.nest.nss.fit import Fit
from autofit.non_linear.search.nest.nss.showing import pictures, schedule
from support.problems import VectorAnalysis, gaussian_in_a_box, leave_at

QUICK = dict(n_live=60, num_delete=20, num_mcmc_steps=3)
pytestmark = pytest.mark.usefixtures("run_pictures")
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def problem():
    return gaussian_in_a_box(2)


class Drawing(VectorAnalysis):
    """Has both kinds of pictures, and remembers which was drawn in which thread."""

    def __init__(self, log_likelihood, seconds=0.0):
        super().__init__(log_likelihood)
        drawn = self.drawn = []

        class Visualizer(af.Visualizer):
            @staticmethod
            def visualize(analysis, paths, instance, during_analysis):
                if during_analysis:
                    time.sleep(seconds)
                    drawn.append(("visualize", threading.current_thread().name))

        self.Visualizer = Visualizer

    def perform_quick_update(self, paths, instance):
        self.drawn.append(("quick update", threading.current_thread().name))


@pytest.fixture
def background(monkeypatch):
    monkeypatch.setitem(af.conf.instance["general"]["updates"], "quick_update_background", True)


def run(problem, analysis, **settings):
    search = af.NSS(name="n", checkpoint_interval=None, **{**QUICK, **settings})
    search.paths.model = problem.model
    internal, _ = search._fit(problem.model, analysis)
    return search, internal


@pytest.fixture(scope="module")
def expected(problem):
    """The run of which nothing is shown."""
    return af.NSS(checkpoint_interval=None, **QUICK)._fit(problem.model, problem.analysis)[0]


def same(a, b):
    return np.array_equal(a.positions, b.positions) and np.array_equal(a.log_weights, b.log_weights)


@pytest.mark.slow
def test_a_quick_update_draws_what_there_is_and_writes_the_best_point(problem):
    analysis = Drawing(problem.log_likelihood)
    search, _ = run(problem, analysis, iterations_per_quick_update=5)
    assert analysis.drawn[:2] == [("quick update", "MainThread"), ("visualize", "MainThread")]
    assert (search.paths.image_path / "nss_run.png").read_bytes().startswith(PNG)
    text = (search.paths.output_path / "model.results").read_text()
    assert "Maximum Log Likelihood" in text
    assert "x0" in text


def test_the_run_is_drawn_at_the_end_without_any_quick_update(problem):
    search, _ = run(problem, Drawing(problem.log_likelihood))
    assert (search.paths.image_path / "nss_run.png").read_bytes().startswith(PNG)


def test_an_analysis_without_pictures_of_its_own_is_no_error(problem, caplog):
    with caplog.at_level(logging.ERROR):
        search, _ = run(problem, problem.analysis, iterations_per_quick_update=5)
    assert not caplog.records
    assert (search.paths.image_path / "nss_run.png").exists()


def test_in_the_background_sampling_does_not_wait(problem, expected, background, monkeypatch):
    """A picture takes as long as several iterations: those due meanwhile are left out, and the last is finished."""
    monkeypatch.setattr(pictures.QuickUpdates, "PATIENCE_SECONDS", 300.0)
    analysis = Drawing(problem.log_likelihood, seconds=1.0)
    _, internal = run(problem, analysis, iterations_per_quick_update=1)
    iterations = (len(internal.positions) - QUICK["n_live"]) // QUICK["num_delete"]
    assert {thread for _, thread in analysis.drawn} == {"quick-update-worker"}
    assert 1 <= len(analysis.drawn) / 2 < iterations / 2
    assert not any(thread.name == "quick-update-worker" for thread in threading.enumerate())
    assert same(internal, expected)


def test_a_failing_background_picture_is_logged_once_and_the_fit_goes_on(problem, background, caplog):
    analysis = Drawing(problem.log_likelihood)
    analysis.perform_quick_update = lambda paths, instance: 1 / 0
    with caplog.at_level(logging.ERROR):
        run(problem, analysis, iterations_per_quick_update=2)
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info[0] is ZeroDivisionError
    assert analysis.drawn  # the other picture is drawn all the same


def test_results_before_the_end_are_on_disk_and_say_what_they_are(problem):
    """A fit that is stopped for good leaves the posterior of the last full update."""
    search = af.NSS(name="n", iterations_per_full_update=6, checkpoint_interval=2, **QUICK)
    leave_at(search, problem, 10)
    files = search.paths._files_path
    info = json.loads((files / "samples_info.json").read_text())
    assert info["converged"] is False
    assert info["log_evidence_remaining"] > -3.0
    assert np.isfinite(info["log_evidence"])
    with open(files / "samples.csv") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    assert 0 < len(rows) <= QUICK["n_live"] + 6 * QUICK["num_delete"]
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(1.0)
    assert (search.paths.output_path / "search.summary").exists()


def test_full_updates_change_nothing_of_the_run(problem, expected):
    _, internal = run(problem, problem.analysis, iterations_per_full_update=5)
    assert same(internal, expected)


def test_a_failing_full_update_is_logged_and_the_fit_goes_on(problem, monkeypatch, caplog):
    monkeypatch.setattr(af.NSS, "perform_update", lambda *_, **__: 1 / 0)
    with caplog.at_level(logging.ERROR):
        _, internal = run(problem, problem.analysis, iterations_per_full_update=5)
    assert internal.trust["converged"]
    assert "could not be made" in caplog.text


def test_too_little_memory_for_what_is_shown_does_not_stop_the_fit(problem, monkeypatch, caplog):
    def internal_from(run, *arguments):
        if run.remaining >= run.settings["termination"]:
            raise MemoryError("for the results")
        return real(run, *arguments)

    def run_plot(*_):
        raise MemoryError("for the picture")

    real = results.internal_from
    monkeypatch.setattr(results, "internal_from", internal_from)
    monkeypatch.setattr(Fit, "run_plot", run_plot)
    with caplog.at_level(logging.ERROR):
        _, internal = run(problem, problem.analysis, iterations_per_quick_update=5, iterations_per_full_update=5)
    assert internal.trust["converged"]
    assert "for the results" in caplog.text
    assert "for the picture" in caplog.text


@pytest.mark.slow
def test_pictures_and_full_updates_never_draw_at_once(problem, background, monkeypatch):
    drawing = []

    def alone(*_, **__):
        drawing.append(1)
        time.sleep(0.05)
        assert drawing == [1]
        drawing.pop()

    analysis = Drawing(problem.log_likelihood)
    analysis.perform_quick_update = alone
    monkeypatch.setattr(af.NSS, "perform_update", alone)
    monkeypatch.setattr(schedule, "SECONDS_AT_ONCE", 0.0)
    run(problem, analysis, iterations_per_quick_update=5, iterations_per_full_update=5)
    assert not drawing
