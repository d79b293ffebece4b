"""The second evidence: right with an honest error, or said to be unusable; and the same however it is interrupted."""

import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.evidence import importance
from autofit.non_linear.search.nest.nss.evidence.draws import Drawing, Draws, RunPoints, drawn
from autofit.non_linear.search.nest.nss.evidence.importance import (
    judged,
    posterior_samples,
    second_evidence,
    unknown_shares,
)
from autofit.non_linear.search.nest.nss.evidence.mixture import Mixture, fitted_mixture
from autofit.non_linear.search.nest.nss.evidence.weights import bridge_sampling, log_mean, log_standard_normal
from scipy.special import logsumexp
from scipy.stats import norm

N_DIM, SIGMA, CENTRE = 4, 0.2, 0.7


def gaussian(points):
    """A likelihood of which, under a standard normal prior, all is known."""
    return norm.logpdf(points, CENTRE, SIGMA).sum(axis=1)


LOG_EVIDENCE = N_DIM * norm.logpdf(CENTRE, 0.0, np.sqrt(1.0 + SIGMA**2))
POSTERIOR_VARIANCE = 1.0 / (1.0 + 1.0 / SIGMA**2)
POSTERIOR_MEAN = POSTERIOR_VARIANCE * CENTRE / SIGMA**2


def run_of(points, log_likelihood=gaussian):
    return RunPoints(points, log_likelihood(points), np.zeros(len(points)), float(len(points)))


def gaussian_run(seed, number=2000, narrower=1.0):
    rng = np.random.default_rng(seed)
    return run_of(rng.normal(POSTERIOR_MEAN, np.sqrt(POSTERIOR_VARIANCE) / narrower, (number, N_DIM)))


def noise(points):
    """A likelihood of nothing else, which no density can follow; its weights have no variance to speak of."""
    return 5.0 * np.random.default_rng(int(1e9 * abs(points[0, 0]))).standard_normal(len(points))


def asked(seed, run=None, log_likelihood=gaussian, n_draws=3000, n_eff=0, batches=None, at_once=10**6, known=()):
    """What the second evidence is, and its batches, evaluated so many at once."""

    def evaluate(batch):
        positions = batch.positions[:at_once]
        return batch._replace(positions=positions, log_likelihood=log_likelihood(positions))

    drawing = Drawing(evaluate, seed, [] if batches is None else batches)
    return second_evidence(run or gaussian_run(seed), drawing, n_draws, n_eff, seed, known), drawing.batches


def samples(seed, found, batches, run=None):
    _, kept = (run or gaussian_run(seed)).halves(seed)
    return posterior_samples(kept, drawn(batches)[-1], found.log_evidence)


def test_over_many_seeds_the_evidence_is_right_and_its_error_honest():
    found = [asked(seed)[0] for seed in range(60)]
    assert not any(one.unusable for one in found)
    for value, error in (("log_evidence", "error"), ("by_importance", "by_importance_error")):
        distances = np.array([(getattr(one, value) - LOG_EVIDENCE) / getattr(one, error) for one in found])
        assert abs(distances.mean()) < 4.0 / np.sqrt(60)
        assert 0.6 < distances.std() < 1.4
    assert max(one.error for one in found) < 0.03


def bent(points):
    """A thin arc; nothing else than a mixture of many follows it to its ends."""
    return norm.logpdf(points[:, 1], points[:, 0] ** 2 - 1.0, 0.05)


def bent_run(rng, number=1000):
    """Draws from the posterior of ``bent``, by rejection from the arc."""
    points = rng.normal(size=(50 * number, 2))
    points[:, 1] = points[:, 0] ** 2 - 1.0 + 0.05 * points[:, 1]
    kept = points[rng.random(len(points)) < np.exp(-0.5 * points[:, 1] ** 2)][:number]
    assert len(kept) == number
    return run_of(kept, bent)


def test_where_a_posterior_bends_the_tails_that_draws_miss_are_counted():
    x, y = np.linspace(-6.0, 6.0, 4001), np.linspace(-0.5, 0.5, 401)[:, None]
    prior = norm.logpdf(x) + norm.logpdf(x**2 - 1.0 + y) + norm.logpdf(y, 0.0, 0.05)
    truth = np.log(np.exp(prior).sum() * (x[1] - x[0]) * (y[1, 0] - y[0, 0]))
    found = [asked(seed, bent_run(np.random.default_rng(seed)), bent)[0] for seed in range(40)]
    assert not any(one.unusable for one in found)
    distances = np.array([(one.log_evidence - truth) / one.error for one in found])
    assert abs(distances.mean()) < 0.3 + 4.0 / np.sqrt(40)
    assert 0.6 < distances.std() < 1.4
    assert np.abs(distances).max() < 4.0


def modes(points):
    low, high = (norm.logpdf(points, centre, 0.1).sum(axis=1) for centre in (-0.8, 0.8))
    return logsumexp([low + np.log(1.0 / 3.0), high + np.log(2.0 / 3.0)], axis=0)


LOG_EVIDENCE_OF_MODES = N_DIM * norm.logpdf(0.8, 0.0, np.sqrt(1.01))


def run_of_modes():
    rng = np.random.default_rng(5)
    centres = np.where(rng.random((2000, 1)) < 1.0 / 3.0, -0.8, 0.8) / 1.01
    return run_of(rng.normal(centres, 0.1 / np.sqrt(1.01), (2000, N_DIM)), modes)


def test_two_modes_of_a_third_and_two_thirds_are_both_counted():
    run = run_of_modes()
    found, batches = asked(1, run, modes)
    assert not found.unusable
    assert found.log_evidence == pytest.approx(LOG_EVIDENCE_OF_MODES, abs=4.0 * found.error)
    positions, _, log_weights = samples(1, found, batches, run)
    share = np.average(positions[:, 0] < 0.0, weights=np.exp(log_weights - log_weights.max()))
    assert share == pytest.approx(1.0 / 3.0, abs=0.05)


def test_a_mode_that_no_draw_reaches_is_counted_from_the_run_s_points():
    """The importance weights alone look perfect, and lack two thirds."""
    rng, run = np.random.default_rng(1), run_of_modes()
    low = run.positions[run.positions[:, 0] < 0.0]
    density = Mixture(np.ones(1), low.mean(axis=0)[None], np.linalg.cholesky(np.cov(low.T))[None])
    positions = density.draw(5000, rng)
    found = judged(run, Draws(density, positions, modes(positions)))
    assert found.by_importance < LOG_EVIDENCE_OF_MODES - 20.0 * found.by_importance_error
    assert found.log_evidence == pytest.approx(LOG_EVIDENCE_OF_MODES, abs=4.0 * found.error)
    assert "knows 3" in found.unusable
    pooled = posterior_samples(run, Draws(density, positions, modes(positions)), found.log_evidence)
    assert unknown_shares([density], *pooled) == pytest.approx([2.0 / 3.0], abs=0.05)


def test_a_posterior_that_is_too_narrow_is_adapted_to():
    """As of a run that collapsed: a third as wide as it should be. The draws tell, and the error says it."""
    found, _ = asked(1, gaussian_run(1, narrower=3.0), n_draws=10_000)
    assert not found.unusable
    assert found.by_importance == pytest.approx(LOG_EVIDENCE, abs=4.0 * found.by_importance_error)
    assert found.log_evidence == pytest.approx(LOG_EVIDENCE, abs=2.0 * found.error)


@pytest.mark.parametrize("seed", range(3))
def test_what_no_mixture_can_follow_is_said_to_be_unusable_after_three_attempts(seed):
    found, batches = asked(seed, run_of(gaussian_run(seed).positions, noise), noise)
    assert found.unusable
    assert found.attempts == 3
    assert found.draws == sum(len(batch.positions) for batch in batches) <= 13 * 3000


def test_an_attempt_that_fails_is_followed_by_one_that_does_not(monkeypatch):
    monkeypatch.setattr(importance, "MIN_EFFECTIVE", 600.0)
    found, _ = asked(1, n_draws=700)
    assert (found.unusable, found.attempts) == ("", 2)
    assert found.log_evidence == pytest.approx(LOG_EVIDENCE, abs=4.0 * found.error)


@pytest.mark.parametrize("n_eff", [0, 4000])
def test_begun_anew_after_any_batch_it_draws_the_same_however_many_are_evaluated_at_once(n_eff):
    whole, of_whole = asked(1, n_eff=n_eff)
    _, kept = asked(1, n_eff=n_eff, at_once=700)
    for number in range(len(kept) + 1):
        again, of_again = asked(1, n_eff=n_eff, batches=kept[:number], at_once=1000)
        assert again == whole
        for one, other in zip(drawn(of_again), drawn(of_whole), strict=True):
            assert one.positions.tobytes() == other.positions.tobytes()


def test_no_density_is_fitted_again_for_draws_that_were_made(monkeypatch):
    _, batches = asked(1)
    monkeypatch.setattr(importance, "fitted_density", lambda *_: pytest.fail("a density was fitted"))
    asked(1, batches=batches)


@pytest.mark.slow
def test_as_many_effective_samples_as_asked_for_and_what_they_are_worth():
    """The posterior mean scatters over seeds as that of so many independent samples."""
    means, claimed = [], []
    for seed in range(60):
        found, batches = asked(seed, gaussian_run(seed, 200), n_eff=1000)
        assert found.n_eff >= 1000
        positions, _, log_weights = samples(seed, found, batches, gaussian_run(seed, 200))
        means.append(np.average(positions, weights=np.exp(log_weights - log_weights.max()), axis=0))
        claimed.append(found.n_eff)
    scatter = np.mean((np.array(means) - POSTERIOR_MEAN) ** 2)
    assert POSTERIOR_VARIANCE / scatter == pytest.approx(np.mean(claimed), rel=0.3)


def test_samples_that_are_out_of_reach_are_given_up_early(monkeypatch):
    monkeypatch.setattr(importance, "MAX_DRAWS_PER_EFFECTIVE", 1)
    found, _ = asked(1, n_eff=1000)
    assert found.n_eff < 3000
    assert found.draws < 6000


def test_an_easy_evidence_takes_few_draws():
    assert asked(1, n_draws=50_000)[0].draws < 20_000


def test_the_first_draws_are_from_what_is_known_too():
    rng = np.random.default_rng(1)
    known = fitted_mixture(rng.normal(2.0, 0.1, (500, N_DIM)), np.ones(500), rng)
    _, batches = asked(1, known=[known])
    assert np.mean(batches[0].positions[:, 0] > 1.5) == pytest.approx(0.5, abs=0.1)


def test_the_mean_of_weights_and_its_error():
    log_weights = np.random.default_rng(1).standard_normal(1000) - 500.0
    mean, error = log_mean(log_weights)
    weights = np.exp(log_weights + 500.0)
    assert mean == pytest.approx(np.log(weights.mean()) - 500.0)
    assert error == pytest.approx(weights.std() / weights.mean() / np.sqrt(1000))


def test_bridge_sampling_between_two_gaussians():
    ratio = lambda x: norm.logpdf(x) + 3.0 - norm.logpdf(x, 0.5, 0.7)  # noqa: E731
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        at_run, at_draws = rng.normal(0.0, 1.0, 1000), rng.normal(0.5, 0.7, 4000)
        found.append(bridge_sampling(ratio(at_run), np.full(1000, 1e-3), 1000.0, ratio(at_draws)))
    log_evidence, error = np.array(found).T
    assert abs(np.mean((log_evidence - 3.0) / error)) < 4.0 / np.sqrt(60)
    assert np.std((log_evidence - 3.0) / error) == pytest.approx(1.0, abs=0.3)


def test_the_prior_is_a_standard_normal():
    points = np.random.default_rng(1).normal(size=(10, 3))
    np.testing.assert_allclose(log_standard_normal(points), norm.logpdf(points).sum(axis=1))
