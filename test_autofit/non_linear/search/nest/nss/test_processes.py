"""What one process tells the others of a run and of a result: as arrays they are the same."""

import contextlib

import autofit as af
import jax
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.evidence.draws import drawn
from autofit.non_linear.search.nest.nss.fit import Fit
from autofit.non_linear.search.nest.nss.opinion import Opinion
from autofit.non_linear.search.nest.nss.saving.resume import RunCheckpoint
from autofit.non_linear.search.nest.nss.sharing import (
    COLUMNS,
    arrays_of_result,
    arrays_of_run,
    finished_from,
    run_from,
)
from autofit.non_linear.search.nest.nss.stopping.processes import Processes
from support.comparing import same_bytes
from support.problems import gaussian_in_a_box, leave_at, nothing_saved

SETTINGS = dict(n_live=60, num_mcmc_steps=4, num_delete=10, checkpoint_interval=1)


@pytest.fixture
def problem():
    return gaussian_in_a_box(2)


@pytest.fixture
def loaded(monkeypatch):
    """The runs that fits of a test went on with, their arrays, and the samplers they were given to."""
    load, make, found = RunCheckpoint.load, Fit._sampler, ([], [], [])

    def loaded(checkpoint):
        run = load(checkpoint)
        found[0].append(run and run._replace(draws=list(run.draws)))
        found[1].append(arrays_of_run(run) if run else [])
        return run

    monkeypatch.setattr(RunCheckpoint, "load", loaded)
    monkeypatch.setattr(Fit, "_sampler", lambda *given: found[2].append(make(*given)) or found[2][-1])
    return found


def leave_after_three_batches(search, problem, monkeypatch):
    draw, made = Opinion._draw, []

    def leave(*arguments):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(draw(*arguments))
        return made[-1]

    search.paths.model = problem.model
    with monkeypatch.context() as patch, nothing_saved(), contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Opinion, "_draw", leave)
        search._fit(problem.model, problem.analysis)


@pytest.mark.slow
@pytest.mark.parametrize("moves", ["shrink", "step_out"])
@pytest.mark.parametrize("amid", ["the run", "the draws of a run with a start"])
def test_a_checkpointed_run_is_the_same_from_its_arrays(amid, moves, problem, loaded, monkeypatch):
    start = af.NSS(**SETTINGS).fit(problem.model, problem.analysis) if amid != "the run" else None
    search = lambda: af.NSS(name="fit", moves=moves, start_from=start, **SETTINGS)  # noqa: E731
    if amid == "the run":
        leave_at(search(), problem, 7)
    else:
        leave_after_three_batches(search(), problem, monkeypatch)
    search().fit(problem.model, problem.analysis)

    run, arrays, sampler = (of_fits[-1] for of_fits in loaded)
    found = run_from(arrays, sampler.init)
    assert same_bytes(found.state, run.state)
    assert type(found.state) is type(run.state)
    assert same_bytes(found.points, run.points)
    assert same_bytes(found.chains, run.chains)
    assert same_bytes(found.densities, run.densities)
    assert same_bytes(drawn(found.draws), drawn(run.draws))
    for name in ("run_key", "iteration", "seconds", "fingerprint", "scouted"):
        assert np.array_equal(getattr(found, name), getattr(run, name))
    assert (len(found.densities), bool(found.draws)) == ((0, False) if amid == "the run" else (1, True))


def test_there_is_no_run_without_arrays():
    assert run_from([], None) is None


def test_a_finished_fit_is_the_same_from_its_arrays(problem):
    for _ in range(2):  # of which the second loads the first
        result = af.NSS(name="fit", **SETTINGS).fit(problem.model, problem.analysis)
    summary, samples = finished_from(arrays_of_result(result), problem.model)
    for name in COLUMNS:
        assert np.array_equal(getattr(samples, name), getattr(result.samples, name))
    assert samples.samples_info == result.samples.samples_info
    assert samples.log_evidence == result.samples.log_evidence
    assert summary.median_pdf(as_instance=False) == result.samples_summary.median_pdf(as_instance=False)
    assert summary.values_at_sigma_3 == result.samples_summary.values_at_sigma_3
    assert summary.log_evidence == result.samples_summary.log_evidence


def test_one_process_tells_nothing_and_leaves_its_arrays_on_the_device():
    processes, array = Processes(), jax.numpy.ones(3)
    assert processes.devices == jax.local_devices()
    assert processes.agree(5) == 5
    assert processes.same([array])[0] is array
    assert processes.compute(lambda x: x, array) is array
