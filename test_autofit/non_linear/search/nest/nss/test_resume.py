"""What a run's checkpoint promises of the next run, and that a search can be pickled while its fit goes on."""

import logging
import pickle
import signal
from unittest import mock

import autofit as af
import jax.numpy as jnp
import pytest
from autofit.non_linear.search.nest.nss.showing.schedule import Schedule
from support.problems import Problem, VectorAnalysis, box, gaussian_in_a_box, leave_at

SETTINGS = dict(n_live=60, num_delete=20, num_mcmc_steps=3)


@pytest.fixture
def problem():
    return gaussian_in_a_box(2)


def said_when_told_to_stop(problem, iteration, caplog, **settings):
    """What is logged by a fit that gets a SIGTERM after an iteration."""

    def until_next(_schedule, at, _pace):
        if at == iteration:
            signal.raise_signal(signal.SIGTERM)
        return 1

    search = af.NSS(**settings, **SETTINGS)
    search.paths.model = problem.model
    told = mock.patch.object(Schedule, "until_next", until_next)
    with told, caplog.at_level(logging.INFO), pytest.raises(SystemExit):
        search._fit(problem.model, problem.analysis)
    return caplog.messages[-1]


@pytest.mark.parametrize(
    ("settings", "promise"),
    [
        (dict(name="n", checkpoint_interval=1000), "the same script goes on from the checkpoint of iteration 3"),
        (dict(name="n", checkpoint_interval=None), "the same script begins it again"),
        (dict(checkpoint_interval=1), "the same script begins it again"),
    ],
)
def test_a_signal_says_what_the_same_script_will_do(problem, settings, promise, caplog):
    said = said_when_told_to_stop(problem, 3, caplog, **settings)
    assert said == f"NSS stops after iteration 3; {promise}."


def test_a_checkpoint_of_an_earlier_session_is_what_is_gone_on_from(problem, caplog):
    leave_at(af.NSS(name="n", checkpoint_interval=2, **SETTINGS), problem, 5)
    said = said_when_told_to_stop(problem, 7, caplog, name="n", checkpoint_interval=None)
    assert said == "NSS stops after iteration 7; the same script goes on from the checkpoint of iteration 4."


class Drawing(VectorAnalysis):
    """Calls a function of the test at each quick update."""

    def __init__(self, log_likelihood, draw):
        super().__init__(log_likelihood)
        self.draw = draw

    def perform_quick_update(self, paths, instance):
        self.draw()


def test_a_search_can_be_pickled_while_its_fit_goes_on(problem):
    """The copy does not hold the folder: a fit of its own takes one."""
    copies = []
    search = af.NSS(name="n", iterations_per_quick_update=5, **SETTINGS)
    analysis = Drawing(problem.log_likelihood, lambda: copies.append(pickle.dumps(search)))
    search.fit(model=problem.model, analysis=analysis)
    copy = pickle.loads(copies[0])
    assert copy.n_live == search.n_live
    copy.paths = af.DirectoryPaths(name="copy")
    assert copy.fit(model=problem.model, analysis=problem.analysis).samples.samples_info["converged"]


@pytest.mark.slow
def test_chains_that_adapt_go_on_alike(caplog):
    """What they learned of their jumps is in the checkpoint."""
    valley = Problem(box(4), lambda x: -jnp.sum((1.0 - x[::2]) ** 2 + 1000.0 * (x[1::2] - x[::2] ** 2) ** 2))
    settings = dict(n_live=60, num_delete=10, num_importance_draws=0)
    whole, _ = af.NSS(**settings)._fit(valley.model, valley.analysis)
    assert whole.num_mcmc_steps > 10
    leave_at(af.NSS(name="n", checkpoint_interval=2, **settings), valley, 30)
    search = af.NSS(name="n", **settings)
    search.paths.model = valley.model
    with caplog.at_level(logging.INFO):
        again, _ = search._fit(valley.model, valley.analysis)
    assert "Resuming NSS from iteration 30" in caplog.text
    assert again.num_mcmc_steps == whole.num_mcmc_steps
    assert again.positions.tobytes() == whole.positions.tobytes()
    assert again.log_weights.tobytes() == whole.log_weights.tobytes()
