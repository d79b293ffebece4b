"""``af.NSS``: nested slice sampling as a search of PyAutoFit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from autofit import exc
from autofit.non_linear.checkpoint import NativeFileCheckpointer
from autofit.non_linear.fitness import ITERATIONS_NEVER
from autofit.non_linear.objective import SCALAR
from autofit.non_linear.paths.database import DatabasePaths
from autofit.non_linear.paths.null import NullPaths
from autofit.non_linear.samples.adapter import RawSamples
from autofit.non_linear.search import capabilities as cap
from autofit.non_linear.search.abstract_search import NonLinearSearch
from autofit.non_linear.search.posterior_kind import WEIGHTED
from autofit.non_linear.search.seed import child_seed
from autofit.text import text_util

from . import checks
from .evidence import trust
from .samples import NSSamples

try:
    import jax

    from . import results
    from .evidence import second_evidence
    from .evidence.importance import SecondEvidence
    from .evidence.mixture import Mixture
    from .evidence.prior_space import Space, space_of
    from .evidence.start import densities_of, scouts
    from .opinion import Opinion
    from .results import _NSSInternal
    from .sampling import kernel
    from .sampling.jax_settings import needed_settings, overridden
    from .sampling.run import Run, Scouted
    from .sampling.sharding import default_devices, share_of
    from .sampling.slices import MOVES
    from .saving.checkpoint import _load_checkpoint, discard
    from .saving.checkpoint import _save_checkpoint as _save_checkpoint
    from .saving.fingerprint import fingerprint_of
    from .saving.lock import FolderLock
    from .saving.resume import (
        ASKED_OF_A_FINISHED_FIT,
        IN_VAIN,
        NOTHING,
        NoCheckpoint,
        RunCheckpoint,
        arrays_of,
        doubt_about_finished,
        run_from,
        started_in_vain,
    )
    from .showing.corner_plot import draw_corners
    from .showing.pictures import QuickUpdates
    from .showing.progress import Progress
    from .showing.run_plot import draw_run
    from .showing.schedule import Due, Schedule
    from .stopping.device_thread import DeviceThread
    from .stopping.processes import Processes, are_several, is_first
    from .stopping.signals import Interruptions

    _HAS_NSS, _import_error = True, None
# The host depends on none of them; and JAX without a device says so with the others, while blackjax is imported.
except (ImportError, AssertionError, RuntimeError) as error:
    _HAS_NSS, _import_error = False, error

if TYPE_CHECKING:
    from logging import Logger

    from autofit.mapper.prior_model.abstract import AbstractPriorModel
    from autofit.non_linear.analysis.analysis import Analysis
    from autofit.non_linear.fitness import Fitness
    from autofit.non_linear.paths.abstract import AbstractPaths
    from autofit.non_linear.result import Result
    from autofit.non_linear.samples.samples import Samples
    from autofit.non_linear.search.fit_context import FitContext
    from sqlalchemy.orm import Session


# Finite, unlike -inf: a whole shell of invalid points then has an evidence that arithmetic can use.
NSS_INVALID_LOG_LIKELIHOOD = -1e30
# How many effective samples a run that starts from what is known goes on to: about what others have of a live point.
SAMPLES_PER_LIVE_POINT = 5
# How many draws are made for a second evidence where nobody says.
LEAST_DRAWS, MOST_DRAWS = 2_000, 50_000


class _ResumeState(NativeFileCheckpointer):
    """The checkpoint as the host knows it: what it looks for, and what it discards when the results are on disk."""

    def path(self, paths: AbstractPaths) -> Path | None:
        """Where it is; for a fit in a database too, in whose folder the searches of the host store nothing."""
        if isinstance(paths, DatabasePaths):
            return Path(paths.search_internal_path) / self.filename
        return super().path(paths)

    def discard(self, paths: AbstractPaths) -> None:
        path = self.path(paths)
        if path is not None:
            discard(path)


class NSS(NonLinearSearch):
    """
    Nested slice sampling (Yallup, Kroupa & Handley 2026, arXiv:2601.23252) with ``blackjax.nss``.

    A run is checkpointed as it goes and, interrupted at any moment, continues from its last checkpoint when the
    same script is run again; it ends with the same bytes as a run that was not interrupted. Chains walk where the
    prior is a standard normal, on whatever device JAX uses.

    Parameters
    ----------
    name, path_prefix, unique_tag
        Where the results go, as for every search. Without a name or prefix nothing is written.
    n_live
        Number of live points.
    num_mcmc_steps
        Slices of the chain that finds each new point. ``None`` for ``max(10, n_dim)``, and up to 4 times as many
        while chains end near where they began; with ``moves="step_out"`` for the recommended ``max(5, 2 * n_dim)``.
    num_delete
        Points replaced in each iteration, by as many chains at once. Below ``n_live``.
    chunk_size
        The most likelihoods evaluated, and held in memory, at once on a device. ``None`` for as many as there are
        chains or points; on a CPU, for 18 where the likelihood is expensive.
    termination
        The run ends when the log of the live points' share of the evidence, relative to that of the dead points,
        is below this. Zero or negative.
    checkpoint_interval
        Iterations between checkpoints; where so many take longer, one is made after 30 s. ``None`` for never.
    iterations_per_quick_update
        Iterations between pictures of the best live point and of the run. Sampling waits for them, unless the
        host's config says ``quick_update_background``: choose it so that the time of one picture is a small part
        of that of so many iterations. ``None`` takes the host's config.
    iterations_per_full_update
        Iterations between results of the run so far: samples, summary and plots. Sampling waits for them. ``None``
        takes the host's config.
    number_of_cores
        As many devices for JAX on a CPU, over which chains are divided, as over several GPUs. It must be told before
        Python starts, by ``JAX_NUM_CPU_DEVICES``; a warning says so where it was not.
    seed
        Seeds the initial live points and the sampling.
    silence
        If ``True``, no progress is shown.
    session
        A database session, to which results go instead of to a folder.
    stalled_after
        Seconds without progress of the device after which a warning says so, ``None`` for never.
    num_importance_draws
        About how many draws of densities that are fitted to the finished run are evaluated for a second evidence, at
        most; three and then nine times as many more where these cannot be used. 0 for none. ``None`` for 3% of the
        run's evaluations, at least 2,000 and at most 50,000.
    n_eff
        Go on drawing until the posterior has so many effective samples, which the result then holds. ``None`` for
        the samples of nested sampling, with ``start_from`` for ``5 * n_live``.
    start_from
        What is known of the posterior: the result, or the samples, of a fit of the same parameters, or a list of
        them. A quarter of the live points, with chains as short as they may be, then look for what that does not
        know, and importance draws that begin with both give the evidence under the model's priors. Where these pass
        no check, a whole run follows, as without a start.
    moves
        How chains move: ``"shrink"`` on slices whose bracket only shrinks, steered by other lineages of live points,
        ``"step_out"`` on blackjax's own, bit for bit, in the model's parameters, which take two to four times as many
        evaluations, and fail where a prior is a spike.

    Raises
    ------
    ImportError
        If jax or blackjax is not installed.
    ValueError
        If an argument has a value with which no run is possible.
    """

    samples_cls = NSSamples

    # What the host sets.
    logger: Logger  # pyright: ignore[reportIncompatibleMethodOverride]
    paths: AbstractPaths  # pyright: ignore[reportIncompatibleMethodOverride]
    seed: int
    silence: bool
    iterations_per_quick_update: float | None
    iterations_per_full_update: float | None
    quick_update_background: bool
    live_visual_update: bool

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
    resume_state: _ResumeState = _ResumeState(  # pyright: ignore[reportIncompatibleVariableOverride]
        "nss_checkpoint.pkl", loader=lambda path: _load_checkpoint(path)
    )

    __identifier_fields__ = ("n_live", "num_mcmc_steps", "num_delete", "termination", "seed")
    __exclude_fields__ = ("start_from",)  # from search.json: it holds whole results

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
        session: Session | None = None,
        stalled_after: float | None = 600.0,
        num_importance_draws: int | None = None,
        n_eff: int | None = None,
        start_from: Any = None,
        moves: str = "shrink",
        **kwargs: Any,
    ) -> None:
        if not _HAS_NSS:
            raise checks.why_not_imported(_import_error) from _import_error

        checks.check_folder("name", name, str)
        checks.check_folder("path_prefix", path_prefix, str, Path)
        checks.check_folder("unique_tag", unique_tag, str, Path)
        checks.check_session(session)
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
        known = checks.check_start_from(start_from, num_importance_draws)
        checks.check_choice("moves", moves, MOVES)
        checks.check_num_delete(num_delete, n_live)
        checks.check_termination(termination)
        checks.check_count("seed", seed, minimum=0, maximum=2**63 - 1)

        super().__init__(
            name=name,
            path_prefix=path_prefix,
            unique_tag=unique_tag,
            initializer=WEIGHTED.nested_initializer_for(kwargs.pop("initializer", None)),
            iterations_per_quick_update=iterations_per_quick_update,
            iterations_per_full_update=iterations_per_full_update,  # pyright: ignore[reportArgumentType]
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
        self.start_from = known
        self._start = f"{len(known)} fit(s)" if known else NOTHING
        self._scouted = None
        self.moves = moves
        self._lock = None
        self._processes = None

        if doubt := checks.doubt_about_cores(number_of_cores, default_devices()):
            self.logger.warning(doubt)

    def fit(self, model: AbstractPriorModel, analysis: Analysis, info: dict | None = None) -> Result | list[Result]:
        """
        Fit ``model`` with ``analysis``, as every search does; no other process may do so in the same folder.

        The processes of ``jax.distributed`` fit it together: the first has the folder, all return the same result.
        """
        self.check_model(model)
        if settings := overridden():
            self.logger.info(settings)
        with needed_settings():
            if is_first():
                return self._fit_with_others(model, analysis, info)
            before = logging.root.manager.disable
            logging.disable(logging.WARNING)
            try:
                result = self.copy_with_paths(NullPaths())._fit_with_others(model, analysis, info)
            finally:
                logging.disable(before)
        result.paths = self.paths
        return result

    def _fit_with_others(self, model: AbstractPriorModel, analysis: Analysis, info: dict | None) -> Any:
        self._processes = processes = Processes()
        fingerprint = self._fingerprint_of(model, processes.devices)
        try:
            with self._one_process(), processes.one_fit(fingerprint, self.logger):
                # Before the host unpacks the folder's zip, for which it deletes the folder.
                self.paths.model, self.paths.unique_tag = analysis.modify_model(deepcopy(model)), self.unique_tag
                self._take_folder()
                result = super().fit(model=model, analysis=analysis, info=info)
                if isinstance(self.paths, DatabasePaths):  # whose checkpoint the host does not know of
                    self.resume_state.discard(self.paths)
                return result
        finally:
            self._processes = None

    def start_resume_fit(self, analysis: Analysis, model: AbstractPriorModel) -> Result:
        """The result of the fit as the host makes it; that of the first process, if it has a finished fit."""
        processes = self._processes or Processes()
        finished = processes.same(())
        if not finished:
            return super().start_resume_fit(analysis=analysis, model=model)
        model.unfreeze()
        summary, samples = results.finished_from(finished, model)
        return analysis.make_result(samples_summary=summary, paths=self.paths, samples=samples)

    def run(self, ctx: FitContext) -> _NSSInternal:
        """
        Sample until the live points hold a negligible share of the evidence, then draw for a second evidence.

        Parameters
        ----------
        ctx
            What the host hands to a search: the model, and the fitness that its likelihood goes through.
        """
        processes = self._processes or Processes()
        if processes.agree(self._goes_on_without_its_start):
            return self._from_the_prior().run(ctx)
        model, analysis, devices = ctx.model, ctx.fitness.analysis, processes.devices
        checkpoint, schedule = self._checkpoint_of(model, devices), self._schedule_of(analysis)
        device = DeviceThread(self.logger, self.stalled_after, checkpoint.what_next)
        with (
            self._one_process(),
            Interruptions(self.logger, device, processes) as interruptions,
            Progress(self.logger, self.termination, self.n_live / self.num_delete, self.silence) as progress,
            self._quick_updates(analysis, schedule) as quick_updates,
            checks.memory_errors_explained(self.chunk_size or self.n_live, checkpoint.what_next),
        ):
            self._take_folder()
            saved = None if self._scouted else checkpoint.load()
            moves = list(MOVES).index(saved.settings["moves"] if saved else self.moves)
            moves = list(MOVES)[processes.agree(moves)]
            space = space_of(model, MOVES[moves])
            sampler = self._sampler(model, ctx.fitness, space, moves, devices)
            self._say_what_runs(sampler, devices)
            told = processes.same(arrays_of(saved) if saved and are_several() else ())
            saved = saved or run_from(told, sampler.init)

            def log_likelihoods(positions: np.ndarray, save: Callable[[], None]) -> np.ndarray:
                call = partial(interruptions.call, sampler.evaluate, what="the likelihood", save=save)
                return sampler.log_likelihoods(positions, lambda rows, number: call(rows, number=number))

            def evaluate(positions: np.ndarray) -> Any:
                save = checkpoint.leave_at_the_start
                at = positions, log_likelihoods(positions, save)
                return interruptions.call(sampler.init, *at, what="the first state", save=save)

            known = densities_of(model, self.start_from, self.backend_seed)
            given = checkpoint, evaluate, known
            run = self._go_on(saved, *given) if saved else self._begin(model, space, *given)
            at_the_start = partial(log_likelihoods, save=checkpoint.leave_at_the_start)
            processes.check_values(at_the_start, run.state.particles.position, sampler.rows_at_once)
            started = time.perf_counter() - run.seconds

            try:
                while not self._has_converged(run.state, space):
                    iterations = schedule.until_next(run.iteration, run.pace)
                    leave = partial(checkpoint.save_and_leave, run)
                    at = run.state, run.run_key
                    carry, block, done = interruptions.call(
                        sampler.advance, at, what="the sampler", save=leave, number=iterations
                    )
                    run = run.after(carry, block, done, time.perf_counter() - started)
                    progress.show(run.seconds, run.iteration, run.remaining, partial(results.standing_of, run))

                    due = schedule.due(run.iteration)
                    checkpoint.save_if(due.checkpoint, run)
                    with interruptions.answered_by(partial(checkpoint.save_and_leave, run)):
                        self._update(run, space, due, ctx, quick_updates)

                checkpoint.save_if(True, run)
                self.logger.info("NSS converged after %d iterations, %.1f s.", run.iteration, run.seconds)

                clock = lambda: time.perf_counter() - started  # noqa: E731
                run, second = self._second_evidence(
                    run,
                    space,
                    sampler,
                    log_likelihoods,
                    clock,
                    checkpoint,
                    schedule,
                    progress,
                    interruptions,
                    processes,
                )
                leave = partial(checkpoint.save_and_leave, run)
                nanoseconds = processes.agree(round(1e9 * run.seconds), interruptions.meeting(leave))
                run = run._replace(seconds=1e-9 * nanoseconds)
                internal = results.internal_from(run, space, second)
                with interruptions.answered_by(leave):
                    self._draw_the_end(run, analysis, quick_updates, internal.trust)
            except BaseException:
                if not kernel.evidence_is_lost(run.state):  # from which nothing could go on
                    checkpoint.save_and_leave(run)
                raise
        if processes.agree(bool(self.start_from) and not self._start_suffices(second)):
            self.logger.warning(second_evidence.why_a_whole_run(internal.trust))
            scouted = Scouted(internal.evals, run.seconds, internal.trust.get("start_unknown", []))
            return self._from_the_prior(scouted).run(ctx)
        self._say_what_to_believe(internal, model)
        return self._with_samples_asked_for(internal, second, run, space)

    def result_via_completed_fit(self, analysis: Analysis, model: AbstractPriorModel) -> Result:
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
        result = super().result_via_completed_fit(analysis=analysis, model=model)
        if self._processes and are_several():
            self._processes.same(results.arrays_of(result))
        asked_for = {name: getattr(self, name) for name in ASKED_OF_A_FINISHED_FIT}
        samples_info = getattr(result.samples, "samples_info", None) or {}
        doubt = doubt_about_finished(self._arguments_of_the_finished_fit(), asked_for, samples_info)
        if doubt:
            self.logger.warning(doubt)
        return result

    def _arguments_of_the_finished_fit(self) -> dict[str, Any]:
        """Those that were given to the search of the finished fit, empty if they were not stored."""
        try:
            return self.paths.load_json("search")["arguments"]
        except (OSError, KeyError, TypeError, ValueError):
            return {}

    def fitness_overrides(self, analysis: Analysis) -> dict:
        """The host's per-evaluation quick updates are off: ``run`` makes its own, between iterations."""
        return {
            "iterations_per_quick_update": None,
            "background_quick_update": False,
            "live_visual_update": False,
        }

    @property
    def backend_seed(self) -> int:
        """The seed of the sampling: ``seed``, or for a cell of a grid search one of its own made from it."""
        return child_seed(self, self.seed)  # pyright: ignore[reportReturnType]

    @property
    def checkpoint_file(self) -> Path | None:
        """Where the run is checkpointed, ``None`` where the paths store nothing."""
        return self.resume_state.path(self.paths)

    @property
    def _nss_checkpoint_path(self) -> Path | None:
        return self.checkpoint_file

    @contextmanager
    def _one_process(self) -> Iterator[None]:
        """Within, the folder stays this process's once it is taken."""
        if self._lock is not None:
            yield
            return
        try:
            with FolderLock(self.logger) as self._lock:
                yield
        finally:
            self._lock = None

    def _take_folder(self) -> None:
        """Hold the fit's folder, and make sure that its zip can be unpacked."""
        if self._lock is None or isinstance(self.paths, NullPaths):
            return
        folder = Path(self.paths.output_path)
        self._lock.take(folder, lambda: self.paths.is_complete or checks.archive_path(folder).exists())
        checks.check_archive(folder, self.logger)

    def _check_folder(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def _fingerprint_of(self, model: AbstractPriorModel, devices: list[Any]) -> dict[str, Any]:
        n_live, num_delete = self._population_of(model)
        settings = {
            "n_live": n_live,
            "num_mcmc_steps": self.num_mcmc_steps,
            "num_delete": num_delete,
            "termination": self.termination,
            "seed": self.backend_seed,
            "moves": self.moves,
            "start_from": self._start,
        }
        return fingerprint_of(settings, model, devices)

    @property
    def _goes_on_without_its_start(self) -> bool:
        path = self._nss_checkpoint_path
        return bool(self.start_from) and path is not None and started_in_vain(path)

    def _from_the_prior(self, scouted: Scouted | None = None) -> NSS:
        """This search where what it starts from is of no use: with all live points, and without it."""
        search = copy(self)
        search.start_from, search.n_eff, search._scouted = (), self._samples_wanted, scouted
        search._start = self._start + IN_VAIN
        return search

    @property
    def _samples_wanted(self) -> int:
        """How many effective samples the draws are to give, 0 for those of nested sampling."""
        return self.n_eff or (SAMPLES_PER_LIVE_POINT * self.n_live if self.start_from else 0)

    def _population_of(self, model: AbstractPriorModel) -> tuple[int, int]:
        """How many live points the run has, and how many of them it replaces at once."""
        if not self.start_from:
            return self.n_live, self.num_delete
        return scouts(self.n_live, self.num_delete, model.prior_count)

    def _slices_of_a_chain(self, model: AbstractPriorModel, moves: str) -> tuple[int, bool]:
        """How many slices a chain makes, and whether more while chains do not get far."""
        steps = trust.least_steps if MOVES[moves].adapts else trust.recommended_steps
        adapts = self.num_mcmc_steps is None and MOVES[moves].adapts and not self.start_from
        return self.num_mcmc_steps or steps(model.prior_count), adapts

    def _checkpoint_of(self, model: AbstractPriorModel, devices: list[Any]) -> RunCheckpoint:
        fingerprint, path = self._fingerprint_of(model, devices), self._nss_checkpoint_path
        if path is None:
            return NoCheckpoint(fingerprint, self.logger)
        wanted = self.checkpoint_interval is not None
        return RunCheckpoint(path, fingerprint, self.num_importance_draws, wanted, self.logger, self._check_folder)

    def _schedule_of(self, analysis: Analysis) -> Schedule:
        visualizes = self._visualize_fit and analysis.should_visualize(paths=self.paths, during_analysis=True)
        quick = _or_never(self.iterations_per_quick_update) if visualizes else None
        return Schedule(self.checkpoint_interval, quick, _or_never(self.iterations_per_full_update))

    def _sampler(
        self, model: AbstractPriorModel, fitness: Fitness, space: Space, moves: str, devices: list[Any]
    ) -> kernel.NestedSliceSampler:
        checks.check_priors(model)
        of_parameters = fitness.objective(SCALAR, compile=False)
        # Traced once for all that calls it, which for a likelihood of many operations saves seconds.
        log_likelihood = jax.jit(lambda position: of_parameters(space.to_parameters(position)), inline=True)
        checks.check_log_likelihood(log_likelihood, model.prior_count)
        num_mcmc_steps, adapts = self._slices_of_a_chain(model, moves)
        return kernel.nested_slice_sampler(
            log_prior=space.log_prior,
            log_likelihood=log_likelihood,
            num_delete=self._population_of(model)[1],
            num_mcmc_steps=num_mcmc_steps,
            termination=self.termination,
            chunk_size=self.chunk_size or kernel.best_chunk_size(log_likelihood, model.prior_count),
            moves=MOVES[moves],
            adapts=adapts,
            devices=devices,
            # An accelerator is faster the more it has to do; a CPU is not, and computes what is padded, too.
            num_at_once=None if devices[0].platform == "cpu" else share_of(self.n_live, len(devices)),
        )

    def _say_what_runs(self, sampler: kernel.NestedSliceSampler, devices: list[Any]) -> None:
        kind = f"{devices[0].platform.upper()} ({devices[0].device_kind})"
        at_once = sampler.lanes * sampler.candidates
        self.logger.info("Likelihoods evaluated at once: %d on each of %d %s.", at_once, len(devices), kind)

    def _begin(
        self,
        model: AbstractPriorModel,
        space: Space,
        checkpoint: RunCheckpoint,
        evaluate: Callable,
        known: tuple[Mixture, ...],
    ) -> Run:
        """A run at its beginning, before which so much was ``known``; ``evaluate(positions) -> state``."""
        n_live, num_delete = self._population_of(model)
        _, init_key, run_key = jax.random.split(jax.random.PRNGKey(self.backend_seed), 3)
        num_mcmc_steps, adapts = self._slices_of_a_chain(model, self.moves)
        self.logger.info(
            "Starting NSS: %d parameters, n_live=%d, num_delete=%d, num_mcmc_steps=%d%s, moves=%r.",
            model.prior_count,
            n_live,
            num_delete,
            num_mcmc_steps,
            " or more" if adapts else "",
            self.moves,
        )
        if known:
            self.logger.info(
                "It starts from %d earlier fit(s), with a quarter of the n_live=%d points to search the prior.",
                len(known),
                self.n_live,
            )
        settings = self.n_live, self.num_delete, self.num_mcmc_steps
        for doubt in trust.doubts_about_settings(model.prior_count, *settings):
            self.logger.warning(doubt)
        state = evaluate(space.draw(init_key, n_live))
        if doubt := checks.check_first_points(np.asarray(state.particles.loglikelihood), self.invalid_value):
            self.logger.info(doubt)
        return checkpoint.begin(state, run_key, known, self._scouted)

    def _go_on(self, saved: Run, checkpoint: RunCheckpoint, evaluate: Callable, known: tuple[Mixture, ...]) -> Run:
        """A checkpointed run, if it is of the same likelihood and start still; ``evaluate(positions) -> state``."""
        checkpoint.verify(saved, evaluate, known)
        self.logger.info(
            "Resuming NSS from iteration %d (%d dead points, %.1f s of sampling so far).",
            saved.iteration,
            saved.iteration * saved.settings["num_delete"],
            saved.seconds,
        )
        return saved

    def _has_converged(self, state: Any, space: Space) -> bool:
        if kernel.evidence_is_lost(state):
            raise exc.SearchException(results.why_evidence_is_lost(state, space))
        return bool(kernel.has_converged(state, self.termination))

    def _second_evidence(
        self,
        run: Run,
        space: Space,
        sampler: kernel.NestedSliceSampler,
        log_likelihoods: Callable[[np.ndarray, Callable[[], None]], np.ndarray],
        clock: Callable[[], float],
        checkpoint: RunCheckpoint,
        schedule: Schedule,
        progress: Progress,
        interruptions: Interruptions,
        processes: Processes,
    ) -> tuple[Run, SecondEvidence | None]:
        """The second evidence of a converged run, ``None`` if none is wanted; and the run with its draws."""
        n_draws = self.num_importance_draws
        if n_draws is None:
            n_draws = int(np.clip(run.evaluations // 33, LEAST_DRAWS, MOST_DRAWS))
        if n_draws == 0:
            return run, None

        def now() -> Run:
            return run._replace(seconds=clock())

        def leave() -> None:
            checkpoint.save_and_leave(now())

        def after_each_batch() -> None:
            checkpoint.save_if(schedule.due(len(run.draws)).checkpoint, now())
            progress.show_draws(clock(), run.drawn, n_draws)

        opinion = Opinion(
            lambda z: log_likelihoods(space.from_normal(z), leave),
            sampler.rows_at_once,
            sampler.rows,
            processes,
            lambda: interruptions.meeting(leave),
            after_each_batch,
            self.logger,
        )
        points = partial(results.run_points, run, space)
        second = opinion.ask(points, run.draws, n_draws, self._samples_wanted, self.backend_seed, run.densities)
        checkpoint.save_if(True, now())
        return now(), second

    def _say_what_to_believe(self, internal: _NSSInternal, model: AbstractPriorModel) -> None:
        self.logger.info(second_evidence.verdict(internal.trust))
        doubts = (
            trust.doubts_about_start(internal.trust)
            if self.start_from
            else trust.doubts_about_run(internal.trust, model.prior_count, internal.num_mcmc_steps)
        )
        for doubt in doubts:
            self.logger.warning(doubt)

    def _start_suffices(self, second: SecondEvidence | None) -> bool:
        """Whether the draws can be used, and give at least half of the samples wanted."""
        return second is not None and not second.unusable and second.n_eff >= 0.5 * self._samples_wanted

    def _with_samples_asked_for(
        self, internal: _NSSInternal, second: SecondEvidence | None, run: Run, space: Space
    ) -> _NSSInternal:
        """The finished run with the samples of the second evidence, if more are wanted and they can be used."""
        wanted = self._samples_wanted
        if wanted and second is not None and not second.unusable:
            internal = results.with_samples_of(second, internal, run, space)
        if internal.ess < wanted:
            self.logger.warning(second_evidence.why_too_few(internal.trust, wanted, internal.ess))
        return internal

    def _quick_updates(self, analysis: Analysis, schedule: Schedule) -> QuickUpdates:
        wanted = schedule.quick_update is not None
        return QuickUpdates(
            analysis,
            self.paths,
            background=wanted and self.quick_update_background,
            live=wanted and self.live_visual_update,
            logger=self.logger,
        )

    def _update(self, run: Run, space: Space, due: Due, ctx: FitContext, quick_updates: QuickUpdates) -> None:
        """Show what is due: pictures of the run, and its results so far."""
        if not is_first():
            return
        if due.quick_update:
            quick_updates.guarded(
                lambda: self._fire_quick_update(
                    run.state, ctx.model, ctx.fitness.analysis, quick_updates, self._run_plot(run), space
                )
            )
        if due.full_update:
            update = lambda: ctx.update(results.internal_from(run, space))  # noqa: E731
            quick_updates.draw_alone("the results so far", update, quick_updates.PATIENCE_IN_MID_RUN)

    def _fire_quick_update(
        self,
        state: Any,
        model: AbstractPriorModel,
        analysis: Analysis,
        quick_updates: QuickUpdates | None = None,
        draw_run_so_far: Callable[[], None] = lambda: None,
        space: Space | None = None,
    ) -> None:
        """Draw the best live point and the run, and write the point to ``model.results``; no error stops the fit."""
        space = space or space_of(model, MOVES[self.moves])
        quick_updates = quick_updates or QuickUpdates(analysis, self.paths, False, False, self.logger)
        live = jax.device_get(state.particles)
        best = np.argmax(live.loglikelihood)

        def write_and_draw() -> None:
            vector = space.described(live.position[[best]])[0][0].tolist()
            text = text_util.result_max_lh_info_from(vector, float(live.loglikelihood[best]), model)
            self.paths.output_model_results(result_info="\n".join(text))
            quick_updates.fire(model.instance_from_vector(vector), draw_run_so_far)

        quick_updates.guarded(write_and_draw)

    def _run_plot(self, run: Run, found: dict[str, Any] | None = None) -> Callable[[], None]:
        """A call that draws the run as it stands now, from any thread and at any time."""
        path, rng = Path(self.paths.image_path) / "nss_run.png", np.random.default_rng(self.backend_seed)
        return partial(draw_run, path, run.points, run.chains, self.termination, rng, found or {})

    def _draw_the_end(self, run: Run, analysis: Analysis, quick_updates: QuickUpdates, found: dict[str, Any]) -> None:
        if self._visualize_fit and analysis.should_visualize(paths=self.paths, during_analysis=False):
            draw = lambda: self._run_plot(run, found)()  # noqa: E731
            quick_updates.draw_alone("nss_run.png", draw, quick_updates.PATIENCE_SECONDS)

    def plot_results(self, samples: Samples) -> None:
        """The corner plots of the samples, where the host expects them."""
        draw_corners(samples, Path(self.paths.image_path) / "search")

    def samples_info_from(self, search_internal: _NSSInternal | None = None) -> dict:
        """The entries of ``samples_info.json``; the archived run is loaded if none is given."""
        internal = search_internal or self.load_search_internal()
        info = {
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
            **internal.trust,
        }
        return {name: results.finite_or_none(value) for name, value in info.items()}

    def raw_samples_from(self, model: AbstractPriorModel, search_internal: _NSSInternal) -> RawSamples:
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
