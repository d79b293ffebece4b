"""Evidence and posterior of problems with a known answer, over several seeds."""

import numpy as np
import pytest
from support.problems import gaussian_in_a_box, three_priors, two_modes, upper_limit

SEEDS = range(4)

PROBLEMS = {
    "Gaussian in a box, 2D": lambda: gaussian_in_a_box(2),
    "Gaussian in a box, 6D": lambda: gaussian_in_a_box(6),
    "two modes": two_modes,
    "uniform, log-uniform and Gaussian prior": three_priors,
    "an upper limit over 15 decades": upper_limit,
}


def run(problem, search):
    """The samples_info of a run, and its ``(n, n_dim)`` positions and ``(n,)`` weights."""
    internal, _ = search._fit(problem.model, problem.analysis)
    raw = search.raw_samples_from(problem.model, internal)
    return raw.info, raw.parameters, raw.weights


def z_scores(problem, info, positions, weights):
    """Of both log evidences, and of mean and variance of each parameter."""
    x = problem.compared(positions)
    squared = (x - problem.mean) ** 2
    mean, variance = (np.average(value, weights=weights, axis=0) for value in (x, squared))
    spread = np.average((squared - variance) ** 2, weights=weights, axis=0)
    evidences = [
        (info[f"log_evidence_{kind}"] - problem.log_evidence) / info[f"log_evidence_{kind}_error"]
        for kind in ("bridge", "nested")
    ]
    return (
        evidences,
        (mean - problem.mean) * np.sqrt(info["ess"] / problem.variance),
        (variance - problem.variance) * np.sqrt(info["ess"] / spread),
    )


def runs(name):
    problem = PROBLEMS[name]()
    return [run(problem, problem.search(seed=seed)) for seed in SEEDS]


def assert_as_far_from_the_truth_as_errors_say(name, runs):
    """No value is far off, and together they scatter as their errors say: neither more, nor by far less."""
    scores = [z_scores(PROBLEMS[name](), *run) for run in runs]
    for found, least in zip(map(np.array, zip(*scores, strict=True)), (0.2, 0.1, 0.1), strict=True):
        assert np.max(np.abs(found)) < 4.0
        assert least < np.sqrt(np.mean(found**2)) < 2.0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "two modes"])
def test_evidence_and_moments(name):
    assert_as_far_from_the_truth_as_errors_say(name, runs(name))


def test_evidence_and_moments_of_two_modes_and_their_shares():
    """The share of a mode is as uncertain as that of the live points in it when the modes part."""
    found = runs("two modes")
    assert_as_far_from_the_truth_as_errors_say("two modes", found)
    shares = [weights[positions[:, 0] > 0.0].sum() for _, positions, weights in found]
    error = np.sqrt(0.7 * 0.3 / PROBLEMS["two modes"]().settings["n_live"])
    assert np.max(np.abs(np.array(shares) - 0.7)) < 4.0 * error
    assert abs(np.mean(shares) - 0.7) < 4.0 * error / np.sqrt(len(shares))
