"""``af.NSS``: nested slice sampling as a search of PyAutoFit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from autofit import exc
from autofit.non_linear.paths.database import DatabasePaths
from autofit.non_linear.paths.null import NullPaths
from autofit.non_linear.samples.adapter import RawSamples
from autofit.non_linear.search import capabilities as cap
from autofit.non_linear.search.abstract_search import NonLinearSearch
from autofit.non_linear.search.posterior_kind import WEIGHTED
from autofit.non_linear.search.seed import child_seed
from autofit.text import text_util
from scipy.special import softmax

from . import checks
from .samples import NSSamples
from .saving.host import ResumeState, as_told, doubt_about_finished, told_of

# The host depends on none of them. A JAX without the device it is to use says so while blackjax is imported.
try:
    import filelock  # noqa: F401
    import jax
    import tqdm  # noqa: F401
    from blackjax.ns.nss import live_covariance_factor  # noqa: F401 (which older ones lack)

    _import_error = None
except (ImportError, AssertionError, RuntimeError) as error:
    _import_error = error
else:
    from . import results
    from .around import around, take_folder
    from .evidence.prior_space import Space, space_of
    from .fit import Fit
    from .plan import plans_of
    from .results import _NSSInternal
    from .sampling.jax_settings import needed_settings, overridden
    from .sampling.sharding import default_devices
    from .sampling.slices import MOVES
    from .saving.checkpoint import _load_checkpoint
    from .saving.checkpoint import _save_checkpoint as _save_checkpoint
    from .saving.fingerprint import fingerprint_of
    from .saving.resume import started_in_vain
    from .showing.corner_plot import draw_corners
    from .showing.pictures import QuickUpdates
    from .stopping.processes import are_several, is_first

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
        chains or points; on a CPU, for 18 where the likelihood is expensive. Where
        memory runs out, a run of one process goes on with half as many.
    termination
        The run ends when the log of the live points' share of the evidence, relative to that of the dead points,
        is below this. Zero or negative.
    checkpoint_interval
        Iterations between checkpoints; where so many take longer, one is made after 30 s. ``None`` for never.
    iterations_per_quick_update
        Iterations between pictures of the best live point and of the run. Sampling waits for them, unless the
        host's config says ``quick_update_background``. ``None`` takes the host's config.
    iterations_per_full_update
        Iterations between results of the run so far: samples, summary and plots. Sampling waits for them. ``None``
        takes the host's config.
    number_of_cores
        Devices of JAX on a CPU, over which chains are divided, as over several GPUs. ``JAX_NUM_CPU_DEVICES`` must say
        so before Python starts; a warning tells where it does not.
    seed
        Seeds the initial live points and the sampling.
    silence
        If ``True``, no progress is shown.
    session
        A database session, to which results go instead of to a folder.
    stalled_after
        Seconds without progress of the device after which a warning says so, ``None`` for never.
    num_importance_draws
        At most about so many importance draws are evaluated for a second evidence; where they fail a check, three and
        then nine times as many more. 0 for none. ``None`` for 3% of the run's evaluations, at least 2,000 and at most
        50,000.
    n_eff
        Go on drawing until the posterior has so many effective samples, which the result then holds. ``None`` for
        the samples of nested sampling, with ``start_from`` for ``5 * n_live``.
    start_from
        Earlier fits of the same parameters: a result, or its samples, or a list of them. A short run with a quarter
        of the live points looks for what these miss, and importance sampling gives the evidence under this model's
        priors. If that fails a check, a full run follows, as without ``start_from``.
    moves
        How chains move: ``"shrink"`` on slices whose bracket only shrinks, steered by other lineages of live points;
        ``"step_out"`` as blackjax's, bit for bit, in the model's parameters, at two to four times the evaluations.

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
    resume_state: ResumeState = ResumeState(  # pyright: ignore[reportIncompatibleVariableOverride]
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

        checks.check_arguments(locals(), MOVES)

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
        self.start_from = checks.fits_in(start_from)
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
        with around(self) as (_, lock, processes):
            plan = plans_of(self, model.prior_count)[0]
            fingerprint = fingerprint_of(plan.settings, model, processes.devices)
            with processes.one_fit(fingerprint, self.logger):
                # Before the host unpacks the folder's zip, for which it deletes the folder.
                self.paths.model, self.paths.unique_tag = analysis.modify_model(deepcopy(model)), self.unique_tag
                take_folder(self.paths, lock, self.logger)
                result = super().fit(model=model, analysis=analysis, info=info)
                if isinstance(self.paths, DatabasePaths):  # whose checkpoint the host does not know of
                    self.resume_state.discard(self.paths)
                return result

    def start_resume_fit(self, analysis: Analysis, model: AbstractPriorModel) -> Result:
        """The result of the fit as the host makes it; that of the first process, if it has a finished fit."""
        with around(self) as (_, _, processes):
            finished = processes.same()
        if finished is None:
            return super().start_resume_fit(analysis=analysis, model=model)
        model.unfreeze()
        summary, samples = as_told(finished, model)
        return analysis.make_result(samples_summary=summary, paths=self.paths, samples=samples)

    def run(self, ctx: FitContext) -> _NSSInternal:
        """
        Sample until the live points hold a negligible share of the evidence, then draw for a second evidence.

        Parameters
        ----------
        ctx
            What the host hands to a search: the model, and the fitness that its likelihood goes through.
        """
        with around(self) as (_, lock, processes):
            take_folder(self.paths, lock, self.logger)
            plans, scouted = plans_of(self, ctx.model.prior_count), None
            if processes.agree(len(plans) > 1 and started_in_vain(self.checkpoint_file)):
                del plans[0]
            for plan in plans:
                ending = self._sample(Fit(self, ctx, plan, processes, lock.check, scouted), ctx)
                if processes.agree(ending.suffices):
                    break
                scouted = ending.given_up(self.logger)
            return ending.archived(self.logger)

    def _sample(self, fit: Fit, ctx: FitContext) -> results.Ending:
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
                return fit.converge()

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
            with around(self) as (_, _, processes):
                processes.same(told_of(result))
        if doubt := doubt_about_finished(self, result):
            self.logger.warning(doubt)
        return result

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
        return results.samples_info_of(search_internal or self.load_search_internal())

    def raw_samples_from(self, model: AbstractPriorModel, search_internal: _NSSInternal) -> RawSamples:
        """The run's points with weights that sum to one, as the host turns them into samples."""
        return RawSamples(
            parameters=np.asarray(search_internal.positions),
            log_likelihood=np.asarray(search_internal.loglikelihoods),
            log_prior=search_internal.log_priors,
            weights=softmax(search_internal.log_weights),
            info=self.samples_info_from(search_internal),
            label="NSS",
        )
