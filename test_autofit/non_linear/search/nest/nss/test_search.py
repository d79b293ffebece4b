"""What a user of ``af.NSS`` and the host rely on: arguments, attributes, results, quick updates."""

import inspect
import json
import logging
import pickle
import re

import autofit as af
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit import exc
from autofit.aggregator.aggregator import Aggregator
from autofit.non_linear.checkpoint import Checkpointer
from autofit.non_linear.search import capabilities, registry
from autofit.non_linear.search.nest.nss import checks
from autofit.non_linear.search.nest.nss import search as search_module
from autofit.non_linear.search.nest.nss.evidence.prior_space import space_of
from autofit.non_linear.search.nest.nss.evidence.trust import worth_of_a_point
from autofit.non_linear.search.nest.nss.plan import plans_of
from autofit.non_linear.search.nest.nss.results import why_evidence_is_lost
from autofit.non_linear.search.nest.nss.sampling import kernel, slices
from autofit.non_linear.search.nest.nss.saving import checkpoint
from support.analyses import Recording
from support.problems import Problem, VectorAnalysis, box, gaussian_in_a_box, three_priors

QUICK = dict(n_live=60, num_delete=20, num_mcmc_steps=3)


@pytest.fixture(scope="module")
def problem():
    return gaussian_in_a_box(2)


def fit(search, problem, analysis=None):
    return search.fit(model=problem.model, analysis=analysis or problem.analysis)


# The contract of the host


def test_signature():
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(af.NSS.__init__).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self"
    }
    assert defaults == dict(
        name=None,
        path_prefix=None,
        unique_tag=None,
        n_live=200,
        num_mcmc_steps=None,
        num_delete=50,
        chunk_size=None,
        termination=-3.0,
        checkpoint_interval=100,
        iterations_per_quick_update=None,
        iterations_per_full_update=None,
        number_of_cores=1,
        seed=42,
        silence=False,
        session=None,
        stalled_after=600.0,
        num_importance_draws=None,
        n_eff=None,
        start_from=None,
        moves="shrink",
    )


def test_class_attributes_are_those_of_the_registry():
    entry = registry.entry("NSS")
    assert entry.resolve() is af.NSS
    assert capabilities.capabilities_from(af.NSS) == dict(entry.capabilities)


def test_identifier_knows_what_changes_the_posterior_and_nothing_else(problem):
    def identifier(**settings):
        search = af.NSS(name="n", **settings)
        search.paths.model = problem.model
        return search.paths.identifier

    assert af.NSS.__identifier_fields__ == ("n_live", "num_mcmc_steps", "num_delete", "termination", "seed")
    default = identifier()
    same = dict(checkpoint_interval=7, chunk_size=10, iterations_per_quick_update=3, silence=True)
    assert all(identifier(**{name: value}) == default for name, value in same.items())
    other = dict(n_live=201, num_mcmc_steps=6, num_delete=51, termination=-2.0, seed=43)
    assert all(identifier(**{name: value}) != default for name, value in other.items())


def test_helpers_are_reachable_and_the_path_is_where_the_host_looks(output_path):
    assert callable(search_module._save_checkpoint)
    assert callable(search_module._load_checkpoint)
    search = af.NSS(name="n")
    search.paths.model = gaussian_in_a_box(2).model
    expected = search.paths.search_internal_path / "nss_checkpoint.pkl"
    assert search._nss_checkpoint_path == search.checkpoint_file == expected
    assert af.NSS()._nss_checkpoint_path is None


def test_search_json_round_trip():
    search = af.NSS(name="n", n_live=77, num_delete=7, checkpoint_interval=None, chunk_size=5, seed=3)
    again = af.from_dict(json.loads(json.dumps(af.to_dict(search))))
    assert type(again) is af.NSS
    names = (
        "n_live",
        "num_delete",
        "checkpoint_interval",
        "chunk_size",
        "seed",
        "iterations_per_quick_update",
    )
    assert all(getattr(again, name) == getattr(search, name) for name in names)


def test_a_search_can_be_pickled():
    again = pickle.loads(pickle.dumps(af.NSS(n_live=77, num_delete=7)))
    assert (again.n_live, again.num_delete) == (77, 7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 3),
        ("name", "a" * 256),
        ("name", "a\0b"),
        ("path_prefix", 5),
        ("unique_tag", 5),
        ("session", "results.sqlite"),
        ("n_live", 0),
        ("n_live", 1),
        ("n_live", 200.5),
        ("n_live", "200"),
        ("num_mcmc_steps", 0),
        ("moves", "jump"),
        ("moves", None),
        ("moves", ["shrink"]),
        ("num_delete", 0),
        ("num_delete", -5),
        ("num_delete", 200),
        ("num_delete", 201),
        ("chunk_size", 0),
        ("termination", 0.5),
        ("termination", float("nan")),
        ("termination", float("-inf")),
        ("termination", "-3"),
        ("checkpoint_interval", 0),
        ("checkpoint_interval", 2.5),
        ("checkpoint_interval", True),
        ("iterations_per_quick_update", 0),
        ("iterations_per_quick_update", 1.5),
        ("iterations_per_full_update", -1),
        ("number_of_cores", 0),
        ("stalled_after", 0.0),
        ("stalled_after", "ten minutes"),
        ("seed", 1.5),
        ("seed", None),
        ("seed", -1),
        ("seed", 2**63),
        ("n_live", 2**31),
        ("n_eff", 10**12),
        ("checkpoint_interval", 10**309),
        ("stalled_after", 1e300),
        ("stalled_after", 10**309),
        ("termination", -(10**309)),
    ],
)
def test_impossible_arguments_are_named_with_value_and_remedy(name, value):
    with pytest.raises(ValueError, match=f"{name}={re.escape(repr(value))} is not possible.*") as error:
        af.NSS(**{name: value})
    assert any(word in str(error.value) for word in ("give", "Give", "Lower"))


def test_more_cores_than_devices_are_warned_of_with_the_remedy(caplog):
    af.NSS(name="n", number_of_cores=2)
    assert "number_of_cores=2, and JAX has 1 CPU device(s)" in caplog.text
    assert "export JAX_NUM_CPU_DEVICES=2 before Python starts" in caplog.text


def test_as_many_cores_as_devices_are_no_cause_for_a_warning():
    assert checks.doubt_about_cores(2, 2 * jax.local_devices()) == ""


# Fits


@pytest.mark.parametrize(
    ("moves", "number", "expected"), [("shrink", None, 12), ("step_out", None, 24), ("shrink", 4, 4)]
)
def test_without_a_number_of_slices_it_follows_from_the_parameters(moves, number, expected):
    """As many as parameters, or the recommended number with blackjax's moves."""
    (plan,) = plans_of(af.NSS(num_mcmc_steps=number, moves=moves), 12)
    assert plan.slices == expected
    more = " or more" if (moves, number) == ("shrink", None) else ""
    assert f"num_mcmc_steps={expected}{more}, moves={moves!r}" in str(plan)


def test_a_fit_ends_with_results_and_without_a_checkpoint(problem, monkeypatch, caplog):
    monkeypatch.setitem(af.conf.instance["output"], "latent_after_fit", True)
    monkeypatch.setitem(af.conf.instance["visualize"]["plots_search"]["nest"], "corner_anesthetic", True)
    search = af.NSS(name="n", checkpoint_interval=5, **QUICK)
    result = fit(search, problem)
    assert "num_mcmc_steps=3 is few for 2 parameters" in caplog.text

    info = result.samples.samples_info
    assert set(info) >= {
        "log_evidence",
        "log_evidence_error",
        "total_samples",
        "total_accepted_samples",
        "time",
        "sampling_time",
        "number_live_points",
        "num_mcmc_steps",
        "num_delete",
        "termination",
        "ess",
    }
    assert type(result.samples).__name__ == "NSSamples"
    assert result.samples.log_evidence == info["log_evidence"]
    assert result.samples.log_evidence_error == info["log_evidence_error"] > 0.0
    assert np.sum(result.samples.weight_list) == pytest.approx(1.0)
    assert info["ess"] == int(worth_of_a_point(info["jump"]) / np.sum(np.square(result.samples.weight_list)))
    search.paths.restore()
    assert (search.paths.image_path / "search" / "corner_anesthetic.png").exists()
    assert not search.checkpoint_file.exists()
    assert search.paths.is_complete


def test_every_likelihood_evaluation_is_counted(problem):
    counted = []

    class Counting(VectorAnalysis):
        def log_likelihood_function(self, instance):
            import jax

            value = super().log_likelihood_function(instance)
            jax.debug.callback(lambda _: counted.append(1), value)
            return value

    # One chain at a time, so that no chain is evaluated while it waits for another.
    search = af.NSS(n_live=20, num_delete=1, num_mcmc_steps=2, termination=-0.5)
    internal, _ = search._fit(problem.model, Counting(problem.log_likelihood))
    assert internal.evals == len(counted)


def test_samples_carry_the_priors_that_the_host_would_compute():
    problem = three_priors()
    samples = fit(af.NSS(**QUICK), problem).samples
    expected = problem.model.log_prior_list_from(parameter_lists=samples.parameter_lists)
    np.testing.assert_allclose(samples.log_prior_list, expected, rtol=1e-12, atol=1e-12)


def test_the_columns_of_samples_are_those_of_their_list(problem):
    samples = fit(af.NSS(**QUICK), problem).samples
    expected = np.array(samples.parameter_lists).T
    samples.parameters_extract[:] = 0.0
    assert np.array_equal(samples.parameters_extract, expected)
    assert np.array_equal(samples.minimise().parameters_extract, np.array(samples.minimise().parameter_lists).T)
    assert expected.tobytes() not in pickle.dumps(samples)
    assert np.array_equal(pickle.loads(pickle.dumps(samples)).parameters_extract, expected)


def test_completed_results_are_read_by_the_aggregator(problem, output_path):
    result = fit(af.NSS(name="n", **QUICK), problem)
    found = list(Aggregator.from_directory(output_path).values("samples"))
    assert type(found[0]).__name__ == "NSSamples"
    assert found[0].log_evidence == pytest.approx(result.samples.log_evidence)


def test_a_completed_fit_is_not_sampled_again(problem, monkeypatch):
    first = fit(af.NSS(name="n", **QUICK), problem)
    monkeypatch.setattr(af.NSS, "_fit", None)
    assert fit(af.NSS(name="n", **QUICK), problem).samples.log_evidence == first.samples.log_evidence


def test_the_archive_keeps_everything_when_the_config_asks_for_it(problem, monkeypatch):
    monkeypatch.setitem(af.conf.instance["output"], "search_internal", True)
    search = af.NSS(name="n", checkpoint_interval=5, **QUICK)
    result = fit(search, problem)
    assert result.search_internal.positions.shape == (len(result.samples), 2)
    search.paths.restore()
    assert search.samples_info_from() == search.samples_info_from(result.search_internal)
    assert not search.checkpoint_file.exists()


def test_test_mode_runs_with_a_reduced_budget(problem, monkeypatch):
    monkeypatch.setenv("PYAUTO_TEST_MODE", "1")
    assert af.NSS().termination == -1.0
    assert fit(af.NSS(name="n", **QUICK), problem).samples is not None


def test_without_a_name_nothing_is_written(problem, output_path):
    fit(af.NSS(checkpoint_interval=1, **QUICK), problem)
    assert not output_path.exists()


def test_never_checkpointing(problem, monkeypatch):
    monkeypatch.setattr(checkpoint, "_save_checkpoint", None)
    fit(af.NSS(name="n", checkpoint_interval=None, **QUICK), problem)


# Likelihoods that are invalid, flat or out of reach


def test_a_numpy_analysis_gets_the_host_s_error(problem):
    class NumpyAnalysis(af.Analysis):
        def log_likelihood_function(self, instance):
            return 0.0

    with pytest.raises(exc.SearchException, match="requires a JAX analysis"):
        fit(af.NSS(**QUICK), problem, NumpyAnalysis())
    with pytest.raises(exc.SearchException, match="requires a JAX analysis"):
        af.NSS(**QUICK)._fit(problem.model, NumpyAnalysis())


@pytest.mark.slow
def test_invalid_points_get_no_weight_and_are_reported(caplog):
    valid = gaussian_in_a_box(2)
    problem = Problem(valid.priors, lambda x: jnp.where(x[0] > 0.0, valid.log_likelihood(x), jnp.nan))
    with caplog.at_level(logging.INFO):
        samples = fit(af.NSS(**QUICK), problem).samples
    x0 = np.array(samples.parameter_lists)[:, 0]
    invalid = np.array(samples.log_likelihood_list) <= -1e30
    assert f"{invalid.sum()} of the n_live=60 points drawn from the prior are invalid" in caplog.text
    weights = np.array(samples.weight_list)
    assert np.any(x0 < 0.0)
    assert weights[x0 < 0.0].sum() == 0.0


def test_an_assertion_on_the_model_holds():
    problem = gaussian_in_a_box(2)
    model = problem.model
    model.add_assertion(model.x0 > model.x1)
    samples = af.NSS(**QUICK).fit(model=model, analysis=problem.analysis).samples
    x0, x1 = np.array(samples.parameter_lists).T
    assert np.array(samples.weight_list)[x0 <= x1].sum() == 0.0


def test_the_magnitude_ceiling_holds(monkeypatch):
    monkeypatch.setitem(af.conf.instance["general"]["test"], "log_likelihood_ceiling", 1e6)
    valid = gaussian_in_a_box(2)
    problem = Problem(valid.priors, lambda x: jnp.where(x[0] > 0.0, valid.log_likelihood(x), 3e30))
    assert fit(af.NSS(**QUICK), problem).samples.log_evidence < 0.0


@pytest.mark.slow
def test_a_plateau_at_the_top_ends():
    problem = Problem(box(2), lambda x: jnp.minimum(-jnp.sum(x**2), -1.0))
    assert np.isfinite(fit(af.NSS(**QUICK), problem).samples.log_evidence)


def test_a_likelihood_that_is_nowhere_valid_is_an_error():
    with pytest.raises(exc.SearchException, match="None of the n_live=60 points"):
        fit(af.NSS(**QUICK), Problem(box(2), lambda x: x[0] * jnp.nan))


def test_a_likelihood_too_large_to_resolve_is_an_error():
    with pytest.raises(exc.SearchException, match="cannot resolve the prior volume"):
        fit(af.NSS(**QUICK), Problem(box(2), lambda x: jnp.full_like(x[0], -1e25)))


def test_a_nan_evidence_is_an_error():
    sampler = kernel.nested_slice_sampler(lambda x: 0.0, lambda x: -jnp.sum(x**2), 2, 1, termination=-3.0)
    state = sampler.start(jnp.eye(4))
    state = state._replace(integrator=state.integrator._replace(logZ=jnp.nan))
    assert kernel.evidence_is_lost(state)
    space = space_of(gaussian_in_a_box(4).model, slices.STEPPING_OUT)
    assert "log evidence became NaN" in why_evidence_is_lost(state, space)


# Quick updates


def test_quick_updates_show_the_best_live_point_every_so_many_iterations(problem, monkeypatch):
    analysis = Recording(problem.log_likelihood)
    states = []
    fire = af.NSS._fire_quick_update
    monkeypatch.setattr(af.NSS, "_fire_quick_update", lambda *a: (states.append(a[1]), fire(*a))[1])
    search = af.NSS(name="n", iterations_per_quick_update=3, checkpoint_interval=None, **QUICK)
    samples = fit(search, problem, analysis).samples

    iterations = (len(samples) - QUICK["n_live"]) // QUICK["num_delete"]
    shown = [instance for instance, during_analysis in analysis.recorded if during_analysis]
    assert len(shown) == iterations // 3
    for instance, state in zip(shown, states, strict=True):
        best = np.asarray(state.particles.position)[np.argmax(state.particles.loglikelihood)]
        (shown_at,), _ = space_of(problem.model, slices.MOVES["shrink"]).described(best[None])
        assert [instance.x0, instance.x1] == shown_at.tolist()


def test_a_failing_picture_is_logged_once_with_its_traceback_and_the_fit_goes_on(problem, caplog):
    analysis = Recording(problem.log_likelihood, error=RuntimeError("no display"))
    search = af.NSS(name="n", iterations_per_quick_update=2, **QUICK)
    with caplog.at_level(logging.ERROR):
        assert fit(search, problem, analysis).samples.log_evidence < 0.0
    assert sum(during_analysis for _, during_analysis in analysis.recorded) > 2
    logged = [record for record in caplog.records if "picture" in record.message]
    assert len(logged) == 1
    assert "no display" in str(logged[0].exc_info[1])


def test_leaving_from_a_quick_update_leaves(problem):
    analysis = Recording(problem.log_likelihood, error=SystemExit(3))
    with pytest.raises(SystemExit):
        fit(af.NSS(name="n", iterations_per_quick_update=2, **QUICK), problem, analysis)


# Resume detection, without sampling


def test_a_checkpoint_is_looked_for_and_loaded(problem, monkeypatch):
    class Loaded(Exception):
        pass

    def load(path):
        assert path.name == "nss_checkpoint.pkl"
        raise Loaded

    monkeypatch.setattr(checkpoint, "_load_checkpoint", load)
    search = af.NSS(name="n", **QUICK)
    search.paths.model = problem.model
    search.checkpoint_file.parent.mkdir(parents=True, exist_ok=True)
    search.checkpoint_file.touch()
    with pytest.raises(Loaded):
        search._fit(problem.model, problem.analysis)


def test_the_host_knows_the_resume_state():
    assert isinstance(af.NSS.resume_state, Checkpointer)
    assert af.NSS.resume_state.filename == "nss_checkpoint.pkl"
    assert not af.NSS.resume_state.retain_after_completion
