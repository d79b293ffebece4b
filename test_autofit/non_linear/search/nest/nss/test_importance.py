"""The second evidence: right with an honest error, or said to be unusable; and the same however it is interrupted."""

import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.density import fitted_mixture
from autofit.non_linear.search.nest.nss.importance import (
    MAX_DRAWS_PER_EFFECTIVE,
    ImportanceSampler,
    RunPoints,
    SecondEvidence,
    _why_unusable,
    bridge_sampling,
    default_draws,
    log_mean,
    log_standard_normal,
    pareto_k,
)
from scipy.special import logsumexp
from scipy.stats import genpareto, norm

N_DIM, SIGMA, CENTRE = 4, 0.2, 0.7


def gaussian(points):
    """A likelihood of which, under a standard normal prior, all is known."""
    return norm.logpdf(points, CENTRE, SIGMA).sum(axis=1)


LOG_EVIDENCE = N_DIM * norm.logpdf(CENTRE, 0.0, np.sqrt(1.0 + SIGMA**2))
POSTERIOR_VARIANCE = 1.0 / (1.0 + 1.0 / SIGMA**2)
POSTERIOR_MEAN = POSTERIOR_VARIANCE * CENTRE / SIGMA**2


def posterior_draws(rng, number=2000):
    points = rng.normal(POSTERIOR_MEAN, np.sqrt(POSTERIOR_VARIANCE), (number, N_DIM))
    return RunPoints(points, gaussian(points), np.zeros(number), float(number))


def noise(points):
    """A likelihood of nothing else, which no density can follow; its weights have no variance to speak of."""
    return 5.0 * np.random.default_rng(int(1e9 * abs(points[0, 0]))).standard_normal(len(points))


def finished(sampler, log_likelihood=gaussian):
    while not sampler.finished:
        sampler.take(log_likelihood(sampler.next_positions()))
    return sampler


def sampler_of(seed, batches=None, n_draws=3000, n_eff=0, run=None, batch_size=100, known=()):
    run = run or posterior_draws(np.random.default_rng(seed))
    return ImportanceSampler(run, n_draws, n_eff, batch_size, seed, [] if batches is None else batches, known)


def test_over_many_seeds_the_evidence_is_right_and_its_error_honest():
    found = [finished(sampler_of(seed)).evidence() for seed in range(60)]
    assert not any(one.unusable for one in found)
    distances = np.array([(one.log_evidence - LOG_EVIDENCE) / one.error for one in found])
    assert abs(distances.mean()) < 4.0 / np.sqrt(60)
    assert 0.6 < distances.std() < 1.2
    bridges = np.array([(one.bridge - LOG_EVIDENCE) / one.bridge_error for one in found])
    assert 0.5 < bridges.std() < 2.0
    assert max(one.error for one in found) < 0.06


def test_two_modes_of_a_third_and_two_thirds_are_both_counted():
    def modes(points):
        low, high = (norm.logpdf(points, centre, 0.1).sum(axis=1) for centre in (-0.8, 0.8))
        return logsumexp([low + np.log(1.0 / 3.0), high + np.log(2.0 / 3.0)], axis=0)

    truth = N_DIM * norm.logpdf(0.8, 0.0, np.sqrt(1.01))
    rng = np.random.default_rng(1)
    centres = np.where(rng.random((2000, 1)) < 1.0 / 3.0, -0.8, 0.8)
    points = rng.normal(centres, 0.1, (2000, N_DIM))
    sampler = finished(sampler_of(1, run=RunPoints(points, modes(points), np.zeros(2000), 2000.0)), modes)
    found = sampler.evidence()
    assert not found.unusable
    assert found.log_evidence == pytest.approx(truth, abs=4.0 * found.error)
    positions, _, log_weights = sampler.last_draws()
    share = np.average(positions[:, 0] < 0.0, weights=np.exp(log_weights - log_weights.max()))
    assert share == pytest.approx(1.0 / 3.0, abs=0.05)


def test_a_posterior_that_is_too_narrow_is_adapted_to():
    """As of a run that collapsed: a third as wide as it should be."""
    rng = np.random.default_rng(1)
    points = rng.normal(POSTERIOR_MEAN, np.sqrt(POSTERIOR_VARIANCE) / 3.0, (2000, N_DIM))
    run = RunPoints(points, gaussian(points), np.zeros(2000), 2000.0)
    found = finished(sampler_of(1, run=run, n_draws=10_000)).evidence()
    assert not found.unusable
    assert found.log_evidence == pytest.approx(LOG_EVIDENCE, abs=4.0 * found.error)


@pytest.mark.parametrize("seed", range(3))
def test_what_no_mixture_can_follow_is_said_to_be_unusable(seed):
    found = finished(sampler_of(seed), noise).evidence()
    assert found.unusable


def test_a_mode_that_the_draws_never_reach_is_found_at_the_run_s_points():
    """The importance weights alone look perfect: only the run's points tell of what the density lacks."""

    def missed(points):
        return np.where(points[:, 0] > -3.0, gaussian(points), norm.logpdf(points, -6.0, 0.05).sum(axis=1) + 60.0)

    rng = np.random.default_rng(1)
    here = rng.normal(POSTERIOR_MEAN, np.sqrt(POSTERIOR_VARIANCE), (1000, N_DIM))
    run = RunPoints(here, gaussian(here), np.zeros(1000), 1000.0)
    sampler = finished(sampler_of(1, run=run), missed)
    there = rng.normal(-6.0, 0.05, (1000, N_DIM))
    both = np.concatenate([here, there])
    sampler._kept_from_fits = RunPoints(both, missed(both), np.zeros(2000), 2000.0)
    assert "misses a part of the posterior" in sampler.evidence().unusable


@pytest.mark.parametrize("n_eff", [0, 4000])
def test_begun_anew_after_any_batch_it_draws_the_same(n_eff):
    run = posterior_draws(np.random.default_rng(1))
    whole = finished(sampler_of(1, run=run, n_eff=n_eff))
    for kept in range(0, len(whole.batches), 3):
        resumed = finished(sampler_of(1, batches=whole.batches[:kept], run=run, n_eff=n_eff))
        assert len(resumed.batches) == len(whole.batches)
        for one, other in zip(resumed.batches, whole.batches, strict=True):
            assert one.positions.tobytes() == other.positions.tobytes()
            assert one.round == other.round
        assert resumed.evidence() == whole.evidence()


def test_as_many_effective_samples_as_asked_for_and_what_they_are_worth():
    """The posterior mean scatters over seeds as that of so many independent samples."""
    means = []
    for seed in range(60):
        sampler = finished(sampler_of(seed, n_eff=1000))
        assert sampler.n_eff >= 1000
        positions, _, log_weights = sampler.last_draws()
        means.append(np.average(positions, weights=np.exp(log_weights - log_weights.max()), axis=0))
    scatter = np.mean((np.array(means) - POSTERIOR_MEAN) ** 2)
    assert POSTERIOR_VARIANCE / scatter == pytest.approx(1100, rel=0.4)


def test_samples_that_are_out_of_reach_are_given_up_early():
    sampler = finished(sampler_of(1, n_draws=500, n_eff=1000), noise)
    assert sampler.draws < 0.5 * MAX_DRAWS_PER_EFFECTIVE * 1000
    assert sampler.n_eff < 50


def test_with_a_density_that_was_known_no_sample_is_given_up_early():
    rng = np.random.default_rng(1)
    known = fitted_mixture(posterior_draws(rng).positions, np.ones(2000), rng)
    sampler = finished(sampler_of(1, n_draws=500, n_eff=50, known=[known]), noise)
    assert sampler.draws == 500 + MAX_DRAWS_PER_EFFECTIVE * 50


def test_draws_that_are_seldom_where_the_posterior_is_are_unusable():
    """There are enough effective ones, and their weights have a variance: they are too few of so many."""
    found = SecondEvidence(0.0, 0.1, 0.0, 0.1, 20_000, 150.0, 0.5, "")
    weights = np.random.default_rng(1).normal(size=20_000)
    assert "worth 0.75% of as many" in _why_unusable(found, 0.1, weights)
    assert not _why_unusable(found._replace(n_eff=250.0), 0.1, weights)


def test_an_easy_evidence_takes_few_draws():
    assert finished(sampler_of(1, n_draws=50_000)).draws < 5000
    assert default_draws(1_000_000) < 0.035 * 1_000_000
    assert default_draws(100_000_000) == 50_000


def test_the_mean_of_weights_and_its_error():
    log_weights = np.random.default_rng(1).standard_normal(1000) - 500.0
    mean, error = log_mean(log_weights)
    weights = np.exp(log_weights + 500.0)
    assert mean == pytest.approx(np.log(weights.mean()) - 500.0)
    assert error == pytest.approx(weights.std() / weights.mean() / np.sqrt(1000))


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_the_shape_of_the_tail_is_found(shape):
    found = [pareto_k(np.log1p(genpareto.rvs(shape, size=20_000, random_state=seed))) for seed in range(20)]
    assert np.mean(found) == pytest.approx(shape, abs=0.1)


def test_bridge_sampling_between_two_gaussians():
    rng = np.random.default_rng(1)
    at_run, at_draws = rng.normal(0.0, 1.0, 20_000), rng.normal(0.5, 1.5, 20_000)
    ratio = lambda x: norm.logpdf(x) + 3.0 - norm.logpdf(x, 0.5, 1.5)  # noqa: E731
    log_evidence, error = bridge_sampling(ratio(at_run), 20_000.0, ratio(at_draws))
    assert log_evidence == pytest.approx(3.0, abs=4.0 * error)
    assert error < 0.01


def test_the_prior_is_a_standard_normal():
    points = np.random.default_rng(1).normal(size=(10, 3))
    np.testing.assert_allclose(log_standard_normal(points), norm.logpdf(points).sum(axis=1))
