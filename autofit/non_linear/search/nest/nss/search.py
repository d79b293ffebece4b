"""``af.NSS``: nested slice sampling as a search of PyAutoFit."""

from __future__ import annotations

import math
import numbers
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from autofit import exc
from autofit.non_linear.checkpoint import NativeFileCheckpointer
from autofit.non_linear.objective import SCALAR
from autofit.non_linear.samples.adapter import RawSamples
from autofit.non_linear.search import capabilities as cap
from autofit.non_linear.search.abstract_search import NonLinearSearch
from autofit.non_linear.search.posterior_kind import WEIGHTED
from autofit.non_linear.search.seed import child_seed

from .posterior import posterior_from
from .samples import NSSamples

try:
    import jax
    import jax.numpy as jnp

    from . import kernel
    from .checkpoint import _load_checkpoint, _load_seconds, _save_checkpoint
except ImportError as error:  # jax and blackjax are optional dependencies of the host
    kernel = _load_checkpoint = _load_seconds = _save_checkpoint = None
    _import_error = error

if TYPE_CHECKING:
    from autofit.database.sqlalchemy_ import sa


@dataclass
class _NSSInternal:
    """
    What the host archives of a finished run. Its name and fields are those of the host's own class, so that an
    archive of either can be read by both.

    ``positions`` is ``(n, n_dim)``; ``loglikelihoods`` and ``log_weights`` are ``(n,)``; ``logZs`` holds the log
    evidence under each simulation of the prior volumes; ``evals`` counts likelihood evaluations; times are in
    seconds, over all sessions of the run.
    """

    positions: np.ndarray
    loglikelihoods: np.ndarray
    log_weights: np.ndarray
    logZs: np.ndarray  # noqa: N815
    wall_time: float
    sampling_time: float
    evals: int
    ess: int
    n_live: int
    num_mcmc_steps: int
    num_delete: int
    termination: float
    seed: int


class NSS(NonLinearSearch):
    """
    Nested slice sampling (Yallup, Kroupa & Handley 2026, arXiv:2601.23252) with ``blackjax.nss``.

    A run is checkpointed as it goes and, interrupted at any moment, continues from its last checkpoint when the
    same script is run again; it ends with the same bytes as a run that was not interrupted. Sampling is done in
    physical parameters, on whatever device JAX uses.

    Parameters
    ----------
    name, path_prefix, unique_tag
        Where the results go, as for every search. Without a name or prefix nothing is written.
    n_live
        Number of live points.
    num_mcmc_steps
        Slices of the chain that finds each new point. ``max(5, 2 * n_dim)`` is recommended.
    num_delete
        Points replaced in each iteration, by as many chains at once. Below ``n_live``.
    chunk_size
        The most likelihoods held in memory at once, ``None`` for no bound.
    termination
        The run ends when the log of the live points' share of the evidence, relative to that of the dead points,
        is below this. Zero or negative.
    checkpoint_interval
        Iterations between checkpoints, ``None`` for never.
    iterations_per_quick_update
        Iterations between visualizations of the best live point, made while sampling waits: choose it so that
        the time of one picture is a small part of that of so many iterations. ``None`` takes the host's config.
    iterations_per_full_update
        Accepted for all searches alike; without effect here.
    number_of_cores
        Accepted for all searches alike; JAX decides, and a value above 1 is ignored with a warning.
    seed
        Seeds the initial live points and the sampling.
    silence
        If ``True``, no progress is shown.
    session
        A database session, to which results go instead of to a folder.

    Raises
    ------
    ImportError
        If jax or blackjax is not installed.
    ValueError
        If an argument has a value with which no run is possible.
    """

    samples_cls = NSSamples

    jax_use = cap.JaxUse.REQUIRED
    gradient = cap.Gradient.NONE
    batched = True
    honours_gradient_mode = False
    posterior_kind = cap.PosteriorKind.WEIGHTED
    produces_evidence = True
    resumable = True
    warm_start = cap.WarmStart.PROVIDER
    install_extra = "optional"
    upstream_url = "https://github.com/blackjax-devs/blackjax"
    citation_keys = ("blackjax",)
    status = cap.Status.EXPERIMENTAL
    test_mode_budget = {"termination": -1.0}
    objective_target = cap.ObjectiveTarget(cap.ObjectiveQuantity.LOG_LIKELIHOOD, cap.CoordinateSpace.PHYSICAL)
    # Finite, unlike -inf: a whole shell of invalid points then has an evidence that arithmetic can use.
    invalid_value = -1e30
    resume_state = NativeFileCheckpointer("nss_checkpoint.pkl", loader=_load_checkpoint)

    __identifier_fields__ = ("n_live", "num_mcmc_steps", "num_delete", "termination", "seed")

    def __init__(
        self,
        name: str | None = None,
        path_prefix: str | None = None,
        unique_tag: str | None = None,
        n_live: int = 200,
        num_mcmc_steps: int = 5,
        num_delete: int = 50,
        chunk_size: int | None = None,
        termination: float = -3.0,
        checkpoint_interval: int | None = 100,
        iterations_per_quick_update: int | None = None,
        iterations_per_full_update: int | None = None,
        number_of_cores: int = 1,
        seed: int = 42,
        silence: bool = False,
        session: sa.orm.Session | None = None,
        **kwargs,
    ):
        if kernel is None:
            raise ImportError(
                f"af.NSS needs jax and blackjax: pip install 'blackjax>=1.7.1' ({_import_error})"
            ) from _import_error

        _check_count("n_live", n_live, minimum=2)
        _check_count("num_mcmc_steps", num_mcmc_steps)
        _check_count("num_delete", num_delete)
        _check_count("number_of_cores", number_of_cores)
        if chunk_size is not None:
            _check_count("chunk_size", chunk_size)
        _check_interval("checkpoint_interval", checkpoint_interval)
        _check_interval("iterations_per_quick_update", iterations_per_quick_update)
        _check_interval("iterations_per_full_update", iterations_per_full_update)
        _check_num_delete(num_delete, n_live)
        _check_termination(termination)
        _check_seed(seed)

        super().__init__(
            name=name,
            path_prefix=path_prefix,
            unique_tag=unique_tag,
            initializer=WEIGHTED.nested_initializer_for(kwargs.pop("initializer", None)),
            iterations_per_quick_update=iterations_per_quick_update,
            iterations_per_full_update=iterations_per_full_update,
            number_of_cores=number_of_cores,
            silence=silence,
            session=session,
            seed=seed,
            **kwargs,
        )
        self.n_live = n_live
        self.num_mcmc_steps = num_mcmc_steps
        self.num_delete = num_delete
        self.chunk_size = chunk_size
        self.termination = termination
        self.checkpoint_interval = checkpoint_interval
        self._logged_quick_update_errors = set()

        if number_of_cores > 1:
            self.logger.warning("number_of_cores=%d is ignored: JAX decides what af.NSS runs on.", number_of_cores)

    def _fit(self, model, analysis) -> tuple[_NSSInternal, Any]:
        """
        Sample until the live points hold a negligible share of the evidence.

        Returns
        -------
        The run's ``_NSSInternal`` and the ``Fitness`` its likelihood went through.
        """
        fitness = self.make_fitness(
            analysis=analysis, model=model, **self.execution_settings(analysis).fitness_overrides
        )
        sampler = kernel.nested_slice_sampler(
            log_prior=lambda vector: sum(model.log_prior_list_from_vector(vector, xp=jnp)),
            log_likelihood=fitness.objective(SCALAR, compile=False),
            num_delete=self.num_delete,
            num_mcmc_steps=self.num_mcmc_steps,
            chunk_size=self.chunk_size,
        )
        quick_update_interval = self._quick_update_interval(analysis)
        state, dead, run_key, iteration, seconds = self._resume() or self._start(sampler, model)

        started = time.perf_counter() - seconds
        while not self._has_converged(state):
            (state, run_key), info = sampler.one_step((state, run_key))
            dead.append(jax.device_get(info))
            iteration += 1

            if _is_due(iteration, self.checkpoint_interval):
                self._checkpoint(state, dead, run_key, iteration, time.perf_counter() - started)
            if _is_due(iteration, quick_update_interval):
                self._fire_quick_update(state, model, analysis)

        seconds = time.perf_counter() - started
        self._checkpoint(state, dead, run_key, iteration, seconds)
        self.logger.info("NSS converged after %d iterations, %.1f s.", iteration, seconds)
        return self._internal_from(state, dead, seconds), fitness

    def fitness_overrides(self, analysis) -> dict:
        """The host's per-evaluation quick updates are off: ``_fit`` makes its own, between iterations."""
        return {
            "iterations_per_quick_update": None,
            "background_quick_update": False,
            "live_visual_update": False,
        }

    @property
    def backend_seed(self) -> int:
        """The seed of the sampling: ``seed``, or for a cell of a grid search one of its own made from it."""
        return child_seed(self, self.seed)

    @property
    def checkpoint_file(self) -> Path | None:
        """Where the run is checkpointed, ``None`` where the paths store nothing."""
        return self.resume_state.path(self.paths)

    @property
    def _nss_checkpoint_path(self) -> Path | None:
        return self.checkpoint_file

    def _start(self, sampler, model) -> tuple:
        """The ``(state, dead, run_key, iteration, seconds)`` of a new run."""
        _, init_key, run_key = jax.random.split(jax.random.PRNGKey(self.backend_seed), 3)
        positions = kernel.draw_from_prior(
            init_key, self.n_live, model.prior_count, lambda unit: model.vector_from_unit_vector(unit, xp=jnp)
        )
        self.logger.info(
            "Starting NSS: %d parameters, n_live=%d, num_delete=%d, num_mcmc_steps=%d. The likelihood is compiled "
            "during the first iteration.",
            model.prior_count,
            self.n_live,
            self.num_delete,
            self.num_mcmc_steps,
        )
        state = sampler.init(positions)
        if not np.any(np.asarray(state.particles.loglikelihood) > self.invalid_value):
            raise exc.SearchException(
                f"None of the n_live={self.n_live} points drawn from the prior has a valid log likelihood: each is "
                "NaN, infinite, above the magnitude ceiling or ruled out by an assertion on the model. Evaluate "
                "the analysis's log_likelihood_function at a point you know, and check the priors."
            )
        return state, [], run_key, 0, 0.0

    def _resume(self) -> tuple | None:
        """The same of the checkpointed run, ``None`` if there is none."""
        path = self._nss_checkpoint_path
        if path is None or not path.exists():
            return None
        state, dead, run_key, iteration = _load_checkpoint(path)
        self.logger.info("Resuming NSS from iteration %d", iteration)
        return state, dead, run_key, iteration, _load_seconds(path)

    def _has_converged(self, state) -> bool:
        remaining = kernel.remaining_log_evidence(state)
        if math.isnan(remaining):
            raise exc.SearchException(
                "The log evidence became NaN, so the run can never converge: a log likelihood is infinite or NaN "
                "where the model is not invalid. Check the analysis's log_likelihood_function at "
                f"{np.asarray(state.particles.position[0]).tolist()}."
            )
        if remaining == 0.0 and kernel.prior_volume_is_lost(state):
            raise exc.SearchException(
                f"Every live point has the log likelihood {np.max(state.particles.loglikelihood):.3g}, which is so "
                "large in magnitude that its arithmetic cannot resolve the prior volume, so the run can never "
                "converge. Check the units of the noise map."
            )
        return remaining < self.termination

    def _checkpoint(self, state, dead, run_key, iteration, seconds) -> None:
        path = self._nss_checkpoint_path
        if path is None or self.checkpoint_interval is None:
            return
        _save_checkpoint(path, state, dead, run_key, iteration, seconds)

    def _quick_update_interval(self, analysis) -> float | None:
        """Iterations between quick updates, ``None`` if nothing of this fit is to be visualized."""
        if not (self._visualize_fit and analysis.should_visualize(paths=self.paths, during_analysis=True)):
            return None
        return self.iterations_per_quick_update

    def _fire_quick_update(self, state, model, analysis) -> None:
        """Visualize the best live point. A picture that fails is logged, and never stops the fit."""
        try:
            best = int(np.argmax(state.particles.loglikelihood))
            vector = np.asarray(state.particles.position[best]).tolist()
            analysis.visualize(paths=self.paths, instance=model.instance_from_vector(vector), during_analysis=True)
        except Exception as error:
            if repr(error) not in self._logged_quick_update_errors:
                self._logged_quick_update_errors.add(repr(error))
                self.logger.exception("A quick update failed; the fit goes on without this picture.")

    def _internal_from(self, state, dead, seconds) -> _NSSInternal:
        points = [info.particles for info in dead] + [jax.device_get(state.particles)]
        position, log_likelihood, birth = (
            np.concatenate([getattr(block, name) for block in points])
            for name in ("position", "loglikelihood", "loglikelihood_birth")
        )
        posterior = posterior_from(log_likelihood, birth, np.random.default_rng(self.backend_seed))
        return _NSSInternal(
            positions=position,
            loglikelihoods=log_likelihood,
            log_weights=posterior.log_weights,
            logZs=posterior.log_evidences,
            wall_time=seconds,
            sampling_time=seconds,
            evals=self.n_live + sum(int(info.update_info.sum()) for info in dead),
            ess=int(posterior.effective_sample_size),
            n_live=self.n_live,
            num_mcmc_steps=self.num_mcmc_steps,
            num_delete=self.num_delete,
            termination=self.termination,
            seed=self.seed,
        )

    def samples_info_from(self, search_internal: _NSSInternal | None = None) -> dict:
        """The entries of ``samples_info.json``; the archived run is loaded if none is given."""
        internal = search_internal or self.load_search_internal()
        return {
            "log_evidence": float(np.mean(internal.logZs)),
            "log_evidence_error": float(np.std(internal.logZs)),
            "total_samples": int(internal.evals),
            "total_accepted_samples": len(internal.positions),
            "time": float(internal.wall_time),
            "sampling_time": float(internal.sampling_time),
            "number_live_points": int(internal.n_live),
            "num_mcmc_steps": int(internal.num_mcmc_steps),
            "num_delete": int(internal.num_delete),
            "termination": float(internal.termination),
            "ess": int(internal.ess),
        }

    def raw_samples_from(self, model, search_internal: _NSSInternal) -> RawSamples:
        """The run's points with weights that sum to one, as the host turns them into samples."""
        weights = np.exp(search_internal.log_weights - np.max(search_internal.log_weights))
        return RawSamples(
            parameters=np.asarray(search_internal.positions),
            log_likelihood=np.asarray(search_internal.loglikelihoods),
            weights=weights / weights.sum(),
            info=self.samples_info_from(search_internal),
            label="NSS",
        )


def _is_due(iteration: int, interval: float | None) -> bool:
    return interval is not None and iteration % interval == 0


def _check_count(name: str, value, minimum: int = 1) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name}={value!r} is not possible: give a whole number of at least {minimum}.")


def _check_interval(name: str, value) -> None:
    if value is None:
        return
    # A whole float passes: the host writes its cadences to search.json as floats, and "never" as 1e99.
    whole = isinstance(value, numbers.Real) and not isinstance(value, bool) and float(value).is_integer()
    if not whole or value < 1:
        raise ValueError(f"{name}={value!r} is not possible: give a whole number of at least 1, or None.")


def _check_num_delete(num_delete: int, n_live: int) -> None:
    if num_delete >= n_live:
        raise ValueError(
            f"num_delete={num_delete!r} is not possible with n_live={n_live!r}: at least one live point must "
            "survive each iteration. Lower num_delete or raise n_live."
        )


def _check_termination(termination: float) -> None:
    if not isinstance(termination, numbers.Real) or not -math.inf < termination <= 0.0:
        raise ValueError(
            f"termination={termination!r} is not possible: it is the log of a ratio of evidences to fall below. "
            "Give a finite number that is zero or negative, such as -3.0."
        )


def _check_seed(seed: int) -> None:
    if not isinstance(seed, numbers.Integral):
        raise ValueError(f"seed={seed!r} is not possible: give a whole number.")
