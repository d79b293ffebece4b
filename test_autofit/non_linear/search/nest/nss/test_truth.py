"""Evidence and posterior of problems with a known answer, over several seeds, in one go and after resuming."""

from functools import cache

import numpy as np
import pytest
from support.problems import gaussian_in_a_box, leave_at, three_priors, two_modes, upper_limit

SEEDS = range(4)

PROBLEMS = {
    "Gaussian in a box, 2D": lambda: gaussian_in_a_box(2),
    "Gaussian in a box, 6D": lambda: gaussian_in_a_box(6),
    "two modes": two_modes,
    "uniform, log-uniform and Gaussian prior": three_priors,
    "an upper limit over 15 decades": upper_limit,
}


def resumed(problem, seed):
    """A search whose first session was left in the middle of the run."""
    search = problem.search(seed=seed, name=f"seed_{seed}", checkpoint_interval=10)
    leave_at(search, problem, 35)
    assert search.checkpoint_file.exists()
    return search


def run(problem, search):
    """The samples_info of a run, and its ``(n, n_dim)`` positions and ``(n,)`` weights."""
    internal, _ = search._fit(problem.model, problem.analysis)
    raw = search.raw_samples_from(problem.model, internal)
    return raw.info, raw.parameters, raw.weights


def z_scores(problem, info, positions, weights):
    """Of the log evidence, and of mean and variance of each parameter."""
    x = problem.compared(positions)
    squared = (x - problem.mean) ** 2
    mean, variance = (np.average(value, weights=weights, axis=0) for value in (x, squared))
    spread = np.average((squared - variance) ** 2, weights=weights, axis=0)
    return (
        (info["log_evidence"] - problem.log_evidence) / info["log_evidence_error"],
        (mean - problem.mean) * np.sqrt(info["ess"] / problem.variance),
        (variance - problem.variance) * np.sqrt(info["ess"] / spread),
    )


@cache
def runs_in_one_go(name):
    problem = PROBLEMS[name]()
    return [run(problem, problem.search(seed=seed)) for seed in SEEDS]


@pytest.mark.parametrize(
    "name", [name if name == "two modes" else pytest.param(name, marks=pytest.mark.slow) for name in PROBLEMS]
)
def test_evidence_and_moments(name):
    assert_true(PROBLEMS[name](), runs_in_one_go(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_evidence_and_moments_after_a_resume(name):
    problem = PROBLEMS[name]()
    assert_true(problem, [run(problem, resumed(problem, seed)) for seed in (11, 12)])


def assert_true(problem, runs):
    scores = [z_scores(problem, *run) for run in runs]
    evidence, means, variances = map(np.array, zip(*scores, strict=True))
    assert np.max(np.abs(evidence)) < 4.0
    assert abs(evidence.mean()) * np.sqrt(len(runs)) < 4.0
    assert np.max(np.abs(means)) < 4.5
    assert np.max(np.abs(variances)) < 4.5


def test_modes_share_the_posterior_as_they_share_the_evidence():
    """The share of a mode is as uncertain as that of the live points in it when the modes part."""
    shares = [weights[positions[:, 0] > 0.0].sum() for _, positions, weights in runs_in_one_go("two modes")]
    error = np.sqrt(0.7 * 0.3 / PROBLEMS["two modes"]().settings["n_live"])
    assert np.max(np.abs(np.array(shares) - 0.7)) < 4.0 * error
    assert abs(np.mean(shares) - 0.7) < 4.0 * error / np.sqrt(len(shares))
