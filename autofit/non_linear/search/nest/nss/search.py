"""``af.NSS``: nested slice sampling as a search of PyAutoFit."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from autofit import exc
from autofit.non_linear.checkpoint import NativeFileCheckpointer
from autofit.non_linear.fitness import ITERATIONS_NEVER
from autofit.non_linear.objective import SCALAR
from autofit.non_linear.paths.database import DatabasePaths
from autofit.non_linear.samples.adapter import RawSamples
from autofit.non_linear.search import capabilities as cap
from autofit.non_linear.search.abstract_search import NonLinearSearch
from autofit.non_linear.search.posterior_kind import WEIGHTED
from autofit.non_linear.search.seed import child_seed
from autofit.text import text_util

from . import checks, diagnostics
from .posterior import Posterior, posterior_from
from .samples import NSSamples

try:
    import jax
    import jax.numpy as jnp

    from . import checkpoint, kernel, second_evidence
    from .checkpoint import CheckpointError, DamagedCheckpointError, History, _load_checkpoint, _save_checkpoint
    from .fingerprint import differences, fingerprint_of
    from .importance import ImportanceSampler, default_draws
    from .interrupt import Interruptions
    from .lock import FolderInUseError, only_process
    from .prior_space import from_standard_normal, log_prior
    from .progress import Progress, Standing
    from .quick_update import QuickUpdates
    from .run import Run
    from .run_plot import draw_run
    from .slices import MOVES

    _HAS_NSS, _import_error = True, None
# The host depends on none of them; and JAX without a device says so with the others, while blackjax is imported.
except (ImportError, AssertionError, RuntimeError) as error:
    kernel = _load_checkpoint = _save_checkpoint = None
    _HAS_NSS, _import_error = False, error

if TYPE_CHECKING:
    from autofit.database.sqlalchemy_ import sa


# Finite, unlike -inf: a whole shell of invalid points then has an evidence that arithmetic can use.
NSS_INVALID_LOG_LIKELIHOOD = -1e30
# About as long as the device is left alone: much longer than a dispatch, much shorter than a person's patience.
SECONDS_AT_ONCE = 0.5


class _ResumeState(NativeFileCheckpointer):
    """The checkpoint as the host knows it: what it looks for, and what it discards when the results are on disk."""

    def path(self, paths) -> Path | None:
        """Where it is; for a fit in a database too, in whose folder the searches of the host store nothing."""
        if isinstance(paths, DatabasePaths):
            return Path(paths.search_internal_path) / self.filename
        return super().path(paths)

    def discard(self, paths) -> None:
        path = self.path(paths)
        if path is not None:
            checkpoint.discard(path)


@dataclass
class _NSSInternal:
    """
    What the host archives of a finished run. Its name and fields are those of the host's own class, so that an
    archive of either can be read by both.

    ``positions`` is ``(n, n_dim)``; ``loglikelihoods``, ``log_weights`` and ``log_priors`` (ours alone, and so
    ``None`` in archives of the host's) are ``(n,)``; ``logZs`` holds the log
    evidence under each simulation of the prior volumes; ``evals`` counts likelihood evaluations; times are in
    seconds, over all sessions of the run. ``trust`` (ours alone too) holds those entries of ``samples_info`` that
    tell whether to believe the rest, the second evidence among them. Where ``n_eff`` samples were asked for, the
    points are the importance draws instead.
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
    log_priors: np.ndarray | None = None
    trust: dict | None = None


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
        Slices of the chain that finds each new point. ``None`` for the recommended ``max(5, 2 * n_dim)``.
    num_delete
        Points replaced in each iteration, by as many chains at once. Below ``n_live``.
    chunk_size
        The most likelihoods evaluated, and held in memory, at once. ``None`` for as many as there are chains or
        points; on a CPU, for 18 where the likelihood is expensive.
    termination
        The run ends when the log of the live points' share of the evidence, relative to that of the dead points,
        is below this. Zero or negative.
    checkpoint_interval
        Iterations between checkpoints, ``None`` for never.
    iterations_per_quick_update
        Iterations between pictures of the best live point and of the run. Sampling waits for them, unless the
        host's config says ``quick_update_background``: choose it so that the time of one picture is a small part
        of that of so many iterations. ``None`` takes the host's config.
    iterations_per_full_update
        Iterations between results of the run so far: samples, summary and plots. Sampling waits for them. ``None``
        takes the host's config.
    number_of_cores
        Accepted for all searches alike; JAX decides, and a value above 1 is ignored with a warning.
    seed
        Seeds the initial live points and the sampling.
    silence
        If ``True``, no progress is shown.
    session
        A database session, to which results go instead of to a folder.
    stalled_after
        Seconds without progress of the device after which a warning says so, ``None`` for never.
    num_importance_draws
        How many draws of a density that is fitted to the finished run are evaluated, at most, for a second,
        independent evidence; 0 for none. ``None`` for 3% of the run's evaluations, at most 50,000.
    n_eff
        Go on drawing until the posterior has so many effective samples, which the result then holds. ``None`` for
        the samples of nested sampling.
    moves
        How chains move: ``"shrink"`` on slices whose bracket only shrinks, steered by other lineages of live points,
        ``"step_out"`` on blackjax's own, bit for bit, which take up to twice as many evaluations.

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
    invalid_value = NSS_INVALID_LOG_LIKELIHOOD
    resume_state = _ResumeState("nss_checkpoint.pkl", loader=_load_checkpoint)

    __identifier_fields__ = ("n_live", "num_mcmc_steps", "num_delete", "termination", "seed")

    def __init__(
        self,
        name: str | None = None,
        path_prefix: str | None = None,
        unique_tag: str | None = None,
        n_live: int = 200,
        num_mcmc_steps: int | None = None,
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
        stalled_after: float | None = 600.0,
        num_importance_draws: int | None = None,
        n_eff: int | None = None,
        moves: str = "shrink",
        **kwargs,
    ):
        if not _HAS_NSS:
            raise checks.why_not_imported(_import_error) from _import_error

        checks.check_count("n_live", n_live, minimum=2)
        checks.check_count("num_delete", num_delete)
        checks.check_count("number_of_cores", number_of_cores)
        if num_mcmc_steps is not None:
            checks.check_count("num_mcmc_steps", num_mcmc_steps)
        if chunk_size is not None:
            checks.check_count("chunk_size", chunk_size)
        checks.check_interval("checkpoint_interval", checkpoint_interval)
        checks.check_interval("iterations_per_quick_update", iterations_per_quick_update)
        checks.check_interval("iterations_per_full_update", iterations_per_full_update)
        checks.check_seconds("stalled_after", stalled_after)
        checks.check_importance(num_importance_draws, n_eff)
        checks.check_choice("moves", moves, MOVES)
        checks.check_num_delete(num_delete, n_live)
        checks.check_termination(termination)
        checks.check_seed(seed)

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
        self.stalled_after = stalled_after
        self.num_importance_draws = num_importance_draws
        self.n_eff = n_eff
        self.moves = moves
        self._checkpoints_fail = False
        self._holds_folder = False

        if number_of_cores > 1:
            self.logger.warning("number_of_cores=%d is ignored: JAX decides what af.NSS runs on.", number_of_cores)

    def fit(self, model, analysis, info=None):
        """Fit ``model`` with ``analysis``, as every search does; no other process may do so in the same folder."""
        with ExitStack() as self._until_the_fit_ends:
            result = super().fit(model=model, analysis=analysis, info=info)
            if isinstance(self.paths, DatabasePaths):  # whose checkpoint the host does not know of
                self.resume_state.discard(self.paths)
            return result

    def pre_fit_output(self, analysis, model, info=None) -> None:
        """Take the folder before anything is written to it."""
        self._until_the_fit_ends.enter_context(self._only_process_in_folder())
        super().pre_fit_output(analysis=analysis, model=model, info=info)

    def _fit(self, model, analysis) -> tuple[_NSSInternal, Any]:
        """
        Sample until the live points hold a negligible share of the evidence.

        Returns
        -------
        The run's ``_NSSInternal`` and the ``Fitness`` its likelihood went through.
        """
        cap.check_jax_required(self, analysis)
        fitness = self.make_fitness(
            analysis=analysis, model=model, **self.execution_settings(analysis).fitness_overrides
        )
        with (
            self._only_process_in_folder(),
            Interruptions(self.logger, self.stalled_after) as interruptions,
            Progress(self.logger, self.termination, self.n_live / self.num_delete, self.silence) as progress,
            self._quick_updates(analysis) as quick_updates,
            checks.memory_errors_explained(self.chunk_size),
        ):
            saved = self._saved_run(model)
            sampler = self._sampler(model, fitness, self.moves if saved is None else saved.moves)
            evaluate = partial(interruptions.call, sampler.init)
            run = self._start(evaluate, model) if saved is None else self._resume(saved, evaluate, model)
            started = time.perf_counter() - run.seconds

            while not self._has_converged(run.state):
                carry, block, done = interruptions.call(
                    sampler.advance,
                    (run.state, run.run_key),
                    self._iterations_until_due(run, analysis),
                    save=partial(self._checkpoint_and_leave, run),
                )
                run = run.after(carry, block, done, time.perf_counter() - started)
                progress.show(run.seconds, run.iteration, run.remaining, partial(self._standing, run))

                if _is_due(run.iteration, self.checkpoint_interval):
                    self._checkpoint(run)
                with interruptions.answered_by(partial(self._checkpoint_and_leave, run)):
                    self._update(run, model, analysis, fitness, quick_updates)

            self._checkpoint(run)
            self.logger.info("NSS converged after %d iterations, %.1f s.", run.iteration, run.seconds)
            importance = self._importance_sampler(run, model)
            run = self._with_draws(run, importance, model, evaluate, progress)
            internal = self._internal_from(run, model, importance)
            self._draw_the_end(run, analysis, quick_updates, internal.trust)
        return self._judged(internal), fitness

    def result_via_completed_fit(self, analysis, model):
        """The result of the fit that ended in this folder; refused if ``analysis`` finds another likelihood there."""
        try:
            # The host compares the likelihood of the best point as soon as it has a fitness.
            self.make_fitness(analysis=analysis, model=model, **self.execution_settings(analysis).fitness_overrides)
        except exc.SearchException as error:
            raise exc.SearchException(
                f"The finished fit in {self.paths.output_path} is of other data, or of another likelihood. "
                f"{' '.join(str(error).split())} Nothing was deleted. Restore what differs, or move that folder and "
                "its .zip away to fit anew, or give this fit another name or unique_tag."
            ) from error
        return super().result_via_completed_fit(analysis=analysis, model=model)

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

    def num_mcmc_steps_of(self, model) -> int:
        """The slices of each chain in a fit of ``model``."""
        return self.num_mcmc_steps or diagnostics.recommended_steps(model.prior_count)

    @property
    def checkpoint_file(self) -> Path | None:
        """Where the run is checkpointed, ``None`` where the paths store nothing."""
        return self.resume_state.path(self.paths)

    @property
    def _nss_checkpoint_path(self) -> Path | None:
        return self.checkpoint_file

    @contextmanager
    def _only_process_in_folder(self):
        if self._holds_folder or self.paths.is_complete or self.checkpoint_file is None:
            yield
            return
        try:
            with only_process(self.checkpoint_file.with_suffix(".lock"), self.logger):
                self._holds_folder = True
                yield
        except FolderInUseError as error:
            raise exc.SearchException(str(error)) from error
        finally:
            self._holds_folder = False

    def _sampler(self, model, fitness, moves: str) -> kernel.NestedSliceSampler:
        checks.check_priors(model)
        # Traced once for all that calls it, which for a likelihood of many operations saves seconds.
        log_likelihood = jax.jit(fitness.objective(SCALAR, compile=False), inline=True)
        checks.check_log_likelihood(log_likelihood, model.prior_count)
        sampler = kernel.nested_slice_sampler(
            log_prior=lambda vector: sum(model.log_prior_list_from_vector(vector, xp=jnp)),
            log_likelihood=log_likelihood,
            num_delete=self.num_delete,
            num_mcmc_steps=self.num_mcmc_steps_of(model),
            termination=self.termination,
            chunk_size=self.chunk_size or kernel.best_chunk_size(log_likelihood, model.prior_count),
            moves=MOVES[moves],
        )
        self.logger.info("Likelihoods evaluated at once: %d.", sampler.lanes)
        return sampler

    def _start(self, evaluate, model) -> Run:
        _, init_key, run_key = jax.random.split(jax.random.PRNGKey(self.backend_seed), 3)
        positions = kernel.draw_from_prior(
            init_key, self.n_live, model.prior_count, lambda unit: model.vector_from_unit_vector(unit, xp=jnp)
        )
        self.logger.info(
            "Starting NSS: %d parameters, n_live=%d, num_delete=%d, num_mcmc_steps=%d, moves=%r. The likelihood is "
            "compiled during the first iteration.",
            model.prior_count,
            self.n_live,
            self.num_delete,
            self.num_mcmc_steps_of(model),
            self.moves,
        )
        for doubt in diagnostics.doubts_about_settings(model.prior_count, self.n_live, self.num_mcmc_steps_of(model)):
            self.logger.warning(doubt)
        state = evaluate(positions, save=self._leave_without_checkpoint)
        invalid = np.count_nonzero(np.asarray(state.particles.loglikelihood) <= self.invalid_value)
        if 0 < invalid < self.n_live:
            self.logger.info(
                "%d of the n_live=%d points drawn from the prior are invalid (NaN, infinite or ruled out by an "
                "assertion); they die first, and count as prior volume without likelihood.",
                invalid,
                self.n_live,
            )
        if invalid == self.n_live:
            raise exc.SearchException(
                f"None of the n_live={self.n_live} points drawn from the prior has a valid log likelihood: each is "
                "NaN, infinite, above the magnitude ceiling or ruled out by an assertion on the model. Evaluate "
                "the analysis's log_likelihood_function at a point you know, and check the priors."
            )
        return Run(state, self._history(), run_key, 0, 0.0, fingerprint_of(self, model), self._draws({}))

    def _saved_run(self, model) -> Run | None:
        """The checkpointed run, ``None`` if there is none; refused if it is of other settings or another model."""
        path = self._nss_checkpoint_path
        if path is None or not path.exists():
            return None
        with self._refusing_checkpoint():
            state, dead, run_key, iteration = self._load_newest_whole(path)
            notes = checkpoint.load_notes(path)
            fingerprint = fingerprint_of(self, model)
            recorded = notes.get("fingerprint", {})
            if "moves" not in recorded.get("settings", {}):
                fingerprint["settings"]["moves"] = "step_out"
                self.logger.info("The checkpoint does not say how chains move: the run goes on with 'step_out'.")
            self._check_fingerprint(recorded, fingerprint)
        if not isinstance(dead, History):
            dead = self._history(map(kernel.without_diagnostics, dead))
        return Run(state, dead, run_key, iteration, notes.get("seconds", 0.0), fingerprint, self._draws(notes))

    def _resume(self, saved: Run, evaluate, model) -> Run:
        with self._refusing_checkpoint():
            self._check_live_points(evaluate, model, saved.state)
        self.logger.info(
            "Resuming NSS from iteration %d (%d dead points, %.1f s of sampling so far).",
            saved.iteration,
            saved.iteration * self.num_delete,
            saved.seconds,
        )
        return saved

    @contextmanager
    def _refusing_checkpoint(self):
        """Turns what is wrong with a checkpoint into the host's error, with what to do. No file is touched."""
        try:
            yield
        except CheckpointError as error:
            path = self._nss_checkpoint_path
            raise exc.SearchException(
                f"{error} Nothing was deleted. Restore what differs, or move {path.parent / path.stem}.* away to "
                "start anew, or give this fit another name."
            ) from error

    def _load_newest_whole(self, path) -> tuple:
        try:
            return _load_checkpoint(path)
        except DamagedCheckpointError as damage:
            try:
                kept = checkpoint.restore_previous(path)
            except CheckpointError as error:
                raise CheckpointError(f"{damage} {error}") from damage
            self.logger.warning("%s It is kept as %s; the run goes on from the one before it.", damage, kept.name)
            return _load_checkpoint(path)

    def _check_fingerprint(self, saved: dict, current: dict) -> None:
        different_run, remarkable = differences(saved, current)
        if different_run:
            raise CheckpointError(f"The checkpoint is of another run: {'; '.join(different_run)}.")
        if remarkable:
            self.logger.warning("Since the checkpoint, %s. The run goes on.", "; ".join(remarkable))

    def _check_live_points(self, evaluate, model, state) -> None:
        """Evaluate the live points again: another value tells of other data, or of another likelihood or prior."""
        position = np.asarray(state.particles.position)
        expected = (self.n_live, model.prior_count), jnp.result_type(float)
        if (position.shape, position.dtype) != expected:
            raise CheckpointError(
                f"The checkpoint has live points of shape {position.shape} and type {position.dtype}; this fit needs "
                f"{expected[0]} and {expected[1]}."
            )
        now = jax.device_get(evaluate(position, save=self._leave_without_checkpoint).particles)
        tolerance = math.sqrt(np.finfo(position.dtype).eps)
        for name, meaning in (("loglikelihood", "log likelihood"), ("logdensity", "log prior")):
            before, after = (np.asarray(getattr(points, name)) for points in (state.particles, now))
            differs = ~np.isclose(before, after, rtol=tolerance, atol=tolerance)
            if np.any(differs):
                worst = np.flatnonzero(differs)[0]
                raise CheckpointError(
                    f"The {meaning} of a checkpointed live point was {before[worst]:.10g} and is {after[worst]:.10g} "
                    "now: the data, the analysis or the model changed since the checkpoint."
                )

    def _history(self, dead=()) -> list:
        path = self._nss_checkpoint_path
        return list(dead) if path is None else History(checkpoint.history_path(path), dead)

    def _draws(self, notes: dict) -> list:
        """The importance draws of a checkpoint with these notes. Those that are damaged will be made again, alike."""
        path = self._nss_checkpoint_path
        if path is None:
            return []
        stored = notes.get("draws")
        if stored is None or stored["wanted"] != self.num_importance_draws:
            return History(checkpoint.draws_path(path))
        try:
            return History.load(checkpoint.draws_path(path), checkpoint.Extent(*stored["extent"]))
        except (CheckpointError, OSError) as error:
            self.logger.warning("%s The importance draws are made again.", error)
            return History(checkpoint.draws_path(path))

    def _has_converged(self, state) -> bool:
        if kernel.evidence_is_lost(state):
            raise exc.SearchException(self._why_evidence_is_lost(state))
        return bool(kernel.has_converged(state, self.termination))

    def _why_evidence_is_lost(self, state) -> str:
        if kernel.prior_volume_is_lost(state):
            return (
                f"Every live point has the log likelihood {np.max(state.particles.loglikelihood):.3g}, which is so "
                "large in magnitude that its arithmetic cannot resolve the prior volume, so the run can never "
                "converge. Check the units of the noise map."
            )
        return (
            "The log evidence became NaN, so the run can never converge: a log likelihood is infinite or NaN "
            "where the model is not invalid. Check the analysis's log_likelihood_function at "
            f"{np.asarray(state.particles.position[0]).tolist()}."
        )

    def _checkpoint(self, run: Run) -> None:
        """Write a checkpoint. A failure is logged once until a later one succeeds, and never stops the fit."""
        if self.checkpoint_interval is None or self._nss_checkpoint_path is None:
            return
        notes = {"seconds": run.seconds, "fingerprint": run.fingerprint}
        try:
            if run.draws:
                notes["draws"] = {"extent": tuple(run.draws.flush()), "wanted": self.num_importance_draws}
            _save_checkpoint(self._nss_checkpoint_path, run.state, run.dead, run.run_key, run.iteration, notes)
        except OSError as error:
            if not self._checkpoints_fail:
                self.logger.error(
                    "The checkpoint of iteration %d could not be written (%s). The one before it is still valid; "
                    "sampling goes on, and the next checkpoint is tried in its turn.",
                    run.iteration,
                    error,
                )
            self._checkpoints_fail = True
            return
        if self._checkpoints_fail:
            self.logger.info("The checkpoint of iteration %d is written; the trouble is over.", run.iteration)
        self._checkpoints_fail = False

    def _checkpoint_and_leave(self, run: Run) -> None:
        self._checkpoint(run)
        self.logger.info(
            "NSS stops after iteration %d; the same script goes on from the last checkpoint.", run.iteration
        )

    def _leave_without_checkpoint(self) -> None:
        self.logger.info("NSS stops before the first iteration of this session; the same script begins it again.")

    def _importance_sampler(self, run: Run, model) -> ImportanceSampler | None:
        """What draws for the second evidence of the converged run, ``None`` if none is wanted or none can be had."""
        n_draws = default_draws(run.evaluations) if self.num_importance_draws is None else self.num_importance_draws
        if n_draws == 0:
            return None
        try:
            return second_evidence.importance_sampler(
                model, run, self._posterior(run), n_draws, self.n_eff or 0, self.backend_seed
            )
        except ValueError as error:
            self.logger.warning("There is no second evidence: %s.", error)
            return None

    def _with_draws(self, run: Run, importance: ImportanceSampler | None, model, evaluate, progress) -> Run:
        """The run with as many importance draws as it takes."""
        started, to_parameters = time.perf_counter() - run.seconds, from_standard_normal(model)
        while importance is not None and not importance.finished:
            positions = to_parameters(importance.next_positions())
            evaluated = evaluate(positions, save=partial(self._checkpoint_and_leave, run))
            importance.take(evaluated.particles.loglikelihood)
            run = run._replace(seconds=time.perf_counter() - started)
            if importance.finished or _is_due(len(run.draws), self.checkpoint_interval):
                self._checkpoint(run)
            progress.show_draws(run.seconds, importance)
        return run

    def _quick_update_interval(self, analysis) -> float | None:
        """Iterations between quick updates, ``None`` if nothing of this fit is to be visualized."""
        if not (self._visualize_fit and analysis.should_visualize(paths=self.paths, during_analysis=True)):
            return None
        return _or_never(self.iterations_per_quick_update)

    def _iterations_until_due(self, run: Run, analysis) -> int:
        """Iterations until something is due that happens at an interval, or until a signal may have to wait."""
        quick, full = self._quick_update_interval(analysis), _or_never(self.iterations_per_full_update)
        intervals = [interval for interval in (self.checkpoint_interval, quick, full) if interval is not None]
        due = [interval - run.iteration % interval for interval in intervals]
        return max(1, int(min([SECONDS_AT_ONCE * run.pace, *due])))

    def _quick_updates(self, analysis) -> QuickUpdates:
        wanted = self._quick_update_interval(analysis) is not None
        return QuickUpdates(
            analysis,
            self.paths,
            background=wanted and self.quick_update_background,
            live=wanted and self.live_visual_update,
            logger=self.logger,
        )

    def _update(self, run: Run, model, analysis, fitness, quick_updates: QuickUpdates) -> None:
        """Show what is due: pictures of the run, and its results so far."""
        if _is_due(run.iteration, self._quick_update_interval(analysis)):
            quick_updates.guarded(
                lambda: self._fire_quick_update(run.state, model, analysis, quick_updates, self._run_plot(run))
            )
        if _is_due(run.iteration, _or_never(self.iterations_per_full_update)):
            with quick_updates.drawing:
                quick_updates.guarded(self._full_update, run, model, analysis, fitness)

    def _full_update(self, run: Run, model, analysis, fitness) -> None:
        internal = self._internal_from(run)
        self.perform_update(
            model=model, analysis=analysis, during_analysis=True, fitness=fitness, search_internal=internal
        )

    def _fire_quick_update(self, state, model, analysis, quick_updates=None, draw_run_so_far=lambda: None) -> None:
        """Draw the best live point and the run, and write the point to ``model.results``; no error stops the fit."""
        quick_updates = quick_updates or QuickUpdates(analysis, self.paths, False, False, self.logger)
        live = jax.device_get(state.particles)
        best = np.argmax(live.loglikelihood)

        def write_and_draw():
            vector = live.position[best].tolist()
            text = text_util.result_max_lh_info_from(vector, float(live.loglikelihood[best]), model)
            self.paths.output_model_results(result_info="\n".join(text))
            quick_updates.fire(model.instance_from_vector(vector), draw_run_so_far)

        quick_updates.guarded(write_and_draw)

    def _standing(self, run: Run) -> Standing:
        points, trust = run.points, self._trust(run)
        rng = np.random.default_rng(self.backend_seed)
        log_evidences = posterior_from(points.log_likelihood, points.birth, rng, n_simulations=10).log_evidences
        return Standing(
            dead_points=run.iteration * self.num_delete,
            evaluations=run.evaluations,
            log_evidence=float(log_evidences.mean()),
            log_evidence_error=diagnostics.error_with_memory(
                float(log_evidences.std()), trust["jump"], trust["log_evidence_scatter"]
            ),
            best_log_likelihood=float(points.log_likelihood.max()),
        )

    def _run_plot(self, run: Run, found: dict | None = None) -> partial:
        """A call that draws the run as it stands now, from any thread and at any time."""
        by_iteration = [run.of_chains(name).reshape(-1, self.num_delete) for name in ("evaluations", "rank", "jump")]
        return partial(
            draw_run,
            Path(self.paths.image_path) / "nss_run.png",
            run.points,
            *by_iteration,
            self.termination,
            np.random.default_rng(self.backend_seed),
            found or {},
        )

    def _draw_the_end(self, run: Run, analysis, quick_updates: QuickUpdates, found: dict) -> None:
        if self._visualize_fit and analysis.should_visualize(paths=self.paths, during_analysis=False):
            with quick_updates.drawing:
                quick_updates.guarded(lambda: self._run_plot(run, found)())

    def _judged(self, internal: _NSSInternal) -> _NSSInternal:
        """The finished run as it is, after what is to be thought of it is said."""
        n_dim = internal.positions.shape[1]
        self.logger.info(second_evidence.verdict(internal.trust))
        for doubt in diagnostics.doubts_about_run(internal.trust, n_dim, internal.num_mcmc_steps):
            self.logger.warning(doubt)
        if self.n_eff is not None and internal.ess < self.n_eff:
            self.logger.warning(second_evidence.why_too_few(internal.trust, self.n_eff, internal.ess))
        return internal

    def _posterior(self, run: Run) -> Posterior:
        points = run.points
        return posterior_from(points.log_likelihood, points.birth, np.random.default_rng(self.backend_seed))

    def _trust(self, run: Run) -> dict:
        return diagnostics.trust(
            run.points,
            run.n_dim,
            *map(run.of_chains, ("moves", "rank", "jump")),
            run.num_mcmc_steps,
            MOVES[run.moves].lineages_of(run.n_live, run.n_dim),
        )

    def _internal_from(self, run: Run, model=None, importance: ImportanceSampler | None = None) -> _NSSInternal:
        points, posterior, trust = run.points, self._posterior(run), self._trust(run)
        log_evidence, simulated = float(posterior.log_evidences.mean()), float(posterior.log_evidences.std())
        error = diagnostics.error_with_memory(simulated, trust["jump"], trust["log_evidence_scatter"])
        second = None if importance is None else importance.evidence()
        internal = _NSSInternal(
            positions=run.of_points("position"),
            loglikelihoods=points.log_likelihood,
            log_weights=posterior.log_weights,
            logZs=posterior.log_evidences,
            wall_time=run.seconds,
            sampling_time=run.seconds,
            evals=run.evaluations + sum(len(batch.positions) for batch in run.draws),
            ess=int(posterior.effective_sample_size),
            n_live=self.n_live,
            num_mcmc_steps=run.num_mcmc_steps,
            num_delete=self.num_delete,
            termination=self.termination,
            seed=self.seed,
            log_priors=run.of_points("logdensity"),
            trust={
                "moves": run.moves,
                "converged": bool(kernel.has_converged(run.state, self.termination)),
                "log_evidence_remaining": run.remaining,
                **trust,
                "log_evidence_simulated_error": simulated,
                **second_evidence.entries(log_evidence, error, second),
            },
        )
        if self.n_eff is None or second is None or second.unusable or importance.n_eff < self.n_eff:
            return internal
        return self._of_draws(internal, model, importance)

    def _of_draws(self, internal: _NSSInternal, model, importance: ImportanceSampler) -> _NSSInternal:
        """The finished run with the importance draws for its samples."""
        draws, log_likelihood, log_weights = importance.last_draws()
        positions = from_standard_normal(model)(draws)
        return replace(
            internal,
            positions=positions,
            loglikelihoods=log_likelihood,
            log_weights=log_weights - np.log(len(log_weights)),
            ess=int(importance.n_eff),
            log_priors=log_prior(model, positions),
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
            **(internal.trust or {}),
        }

    def raw_samples_from(self, model, search_internal: _NSSInternal) -> RawSamples:
        """The run's points with weights that sum to one, as the host turns them into samples."""
        weights = np.exp(search_internal.log_weights - np.max(search_internal.log_weights))
        return RawSamples(
            parameters=np.asarray(search_internal.positions),
            log_likelihood=np.asarray(search_internal.loglikelihoods),
            log_prior=search_internal.log_priors,
            weights=weights / weights.sum(),
            info=self.samples_info_from(search_internal),
            label="NSS",
        )


def _or_never(interval: float | None) -> int | None:
    """The interval, ``None`` where it is what the host's config calls never."""
    return None if interval is None or interval >= ITERATIONS_NEVER else int(interval)


def _is_due(iteration: int, interval: float | None) -> bool:
    return interval is not None and iteration % interval == 0
