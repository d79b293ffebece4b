"""``af.NSS``: nested slice sampling as a search of PyAutoFit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from autofit import exc
from autofit.non_linear.checkpoint import NativeFileCheckpointer
from autofit.non_linear.paths.database import DatabasePaths
from autofit.non_linear.paths.null import NullPaths
from autofit.non_linear.samples.adapter import RawSamples
from autofit.non_linear.search import capabilities as cap
from autofit.non_linear.search.abstract_search import NonLinearSearch
from autofit.non_linear.search.posterior_kind import WEIGHTED
from autofit.non_linear.search.seed import child_seed
from autofit.text import text_util

from . import checks
from .samples import NSSamples

# The host depends on none of them. A JAX without the device it is to use says so while blackjax is imported.
try:
    import blackjax  # noqa: F401
    import filelock  # noqa: F401
    import jax
    import tqdm  # noqa: F401

    _import_error = None
except (ImportError, AssertionError, RuntimeError) as error:
    _import_error = error
else:
    from . import results
    from .evidence.prior_space import Space, space_of
    from .fit import Fit
    from .plan import plans_of
    from .results import _NSSInternal
    from .sampling.jax_settings import needed_settings, overridden
    from .sampling.sharding import default_devices
    from .sampling.slices import MOVES
    from .saving.checkpoint import _load_checkpoint, discard
    from .saving.checkpoint import _save_checkpoint as _save_checkpoint
    from .saving.fingerprint import fingerprint_of
    from .saving.lock import FolderLock
    from .saving.resume import ASKED_OF_A_FINISHED_FIT, doubt_about_finished, started_in_vain
    from .sharing import arrays_of_result, finished_from
    from .showing.corner_plot import draw_corners
    from .showing.pictures import QuickUpdates
    from .stopping.processes import Processes, are_several, is_first

if TYPE_CHECKING:
    from logging import Logger

    from autofit.mapper.prior_model.abstract import AbstractPriorModel
    from autofit.non_linear.analysis.analysis import Analysis
    from autofit.non_linear.paths.abstract import AbstractPaths
    from autofit.non_linear.result import Result
    from autofit.non_linear.samples.samples import Samples
    from autofit.non_linear.search.fit_context import FitContext
    from sqlalchemy.orm import Session

    from .showing.schedule import Due


# Finite, unlike -inf: a whole shell of invalid points then has an evidence that arithmetic can use.
NSS_INVALID_LOG_LIKELIHOOD = -1e30


class _Around(NamedTuple):
    """What is held around a fit, from before the host reads its folder until its results are stored."""

    search: NSS
    lock: FolderLock
    processes: Processes


# The host calls ``run`` with nothing of it. A search holds no state of a fit: it can be pickled amid one.
_around: ContextVar[_Around | None] = ContextVar("what is held around the fit that goes on", default=None)


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
        if _import_error is not None:
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
        self.moves = moves

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
        with self._held() as (_, lock, processes):
            plan = plans_of(self, model.prior_count)[0]
            fingerprint = fingerprint_of(plan.settings, model, processes.devices)
            with processes.one_fit(fingerprint, self.logger):
                # Before the host unpacks the folder's zip, for which it deletes the folder.
                self.paths.model, self.paths.unique_tag = analysis.modify_model(deepcopy(model)), self.unique_tag
                self._take_folder(lock)
                result = super().fit(model=model, analysis=analysis, info=info)
                if isinstance(self.paths, DatabasePaths):  # whose checkpoint the host does not know of
                    self.resume_state.discard(self.paths)
                return result

    def start_resume_fit(self, analysis: Analysis, model: AbstractPriorModel) -> Result:
        """The result of the fit as the host makes it; that of the first process, if it has a finished fit."""
        with self._held() as (_, _, processes):
            finished = processes.same(())
        if not finished:
            return super().start_resume_fit(analysis=analysis, model=model)
        model.unfreeze()
        summary, samples = finished_from(finished, model)
        return analysis.make_result(samples_summary=summary, paths=self.paths, samples=samples)

    def run(self, ctx: FitContext) -> _NSSInternal:
        """
        Sample until the live points hold a negligible share of the evidence, then draw for a second evidence.

        Parameters
        ----------
        ctx
            What the host hands to a search: the model, and the fitness that its likelihood goes through.
        """
        with self._held() as (_, lock, processes):
            self._take_folder(lock)
            plans, scouted = plans_of(self, ctx.model.prior_count), None
            if processes.agree(len(plans) > 1 and started_in_vain(self.checkpoint_file)):
                del plans[0]
            for plan in plans:
                fit = Fit(self, ctx, plan, processes, lock.check, scouted)
                self._sample(fit, ctx)
                if fit.suffices:
                    break
                scouted = fit.given_up()
            return fit.result()

    def _sample(self, fit: Fit, ctx: FitContext) -> None:
        """The outer loop: iterations on the device, and between them what is due."""
        with fit:
            fit.begin()
            with fit.saved_if_it_ends():
                while not fit.has_converged:
                    fit.advance()
                    due = fit.schedule.due(fit.run.iteration)
                    fit.save_if(due.checkpoint)
                    with fit.answering():
                        self._show(fit, due, ctx)
                fit.converge()

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
        if are_several():
            with self._held() as (_, _, processes):
                processes.same(arrays_of_result(result))
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
    def _held(self) -> Iterator[_Around]:
        """Within, the folder stays this process's once it is taken, also in what the host calls."""
        around = _around.get()
        if around is not None and around.search is self:
            yield around
            return
        with FolderLock(self.logger) as lock:
            around = _Around(self, lock, Processes())
            token = _around.set(around)
            try:
                yield around
            finally:
                _around.reset(token)

    def _take_folder(self, lock: FolderLock) -> None:
        """Hold the fit's folder, and make sure that its zip can be unpacked."""
        if isinstance(self.paths, NullPaths):
            return
        folder = Path(self.paths.output_path)
        lock.take(folder, lambda: self.paths.is_complete or checks.archive_path(folder).exists())
        checks.check_archive(folder, self.logger)

    def _show(self, fit: Fit, due: Due, ctx: FitContext) -> None:
        """Pictures of the run and its results so far, if they are due."""
        if due.quick_update and is_first():
            of_run = fit.run.state, ctx.model, ctx.fitness.analysis, fit.pictures
            fit.pictures.guarded(lambda: self._fire_quick_update(*of_run, fit.run_plot(), fit.space))
        if due.full_update and is_first():
            fit.update_results()

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
