"""Fit: what one run of a fit holds while it goes on. It puts the rooms together; ``search.py`` tells the story."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from autofit import exc
from autofit.non_linear.objective import SCALAR

from . import checks, results
from .device_sampler import DeviceSampler
from .evidence import trust
from .evidence.prior_space import Space, space_of
from .evidence.start import densities_of
from .opinion import Opinion
from .results import Ending
from .sampling import kernel
from .sampling.run import Run, Scouted
from .sampling.slices import MOVES
from .saving.fingerprint import fingerprint_of
from .saving.resume import RunCheckpoint
from .showing.pictures import QuickUpdates
from .showing.progress import Progress
from .showing.run_plot import draw_run
from .showing.schedule import Schedule, or_never
from .stopping.device_thread import DeviceThread
from .stopping.processes import Processes
from .stopping.signals import Interruptions

if TYPE_CHECKING:
    from autofit.non_linear.search.fit_context import FitContext

    from .evidence.importance import SecondEvidence
    from .evidence.mixture import Mixture
    from .evidence.nested import Posterior
    from .plan import Plan
    from .search import NSS


class Fit:
    """
    What one run of a fit holds while it goes on. A context manager: within, signals are answered.

    ``check_folder`` raises an error where the folder has become another process's, and ``scouted`` is what came of
    the run before. The ``run``, the ``space`` where its chains walk and the ``sampler`` are there from ``begin`` on.
    """

    run: Run
    space: Space
    sampler: DeviceSampler
    pictures: QuickUpdates

    def __init__(
        self,
        search: NSS,
        ctx: FitContext,
        plan: Plan,
        processes: Processes,
        check_folder: Callable[[], None],
        scouted: Scouted | None,
    ) -> None:
        self._search, self._ctx, self._plan, self._logger = search, ctx, plan, search.logger
        self._model, self._analysis = ctx.model, ctx.fitness.analysis
        self._processes, self._scouted = processes, scouted
        fingerprint = fingerprint_of(plan.settings, ctx.model, processes.devices)
        self._checkpoint = RunCheckpoint(
            search.checkpoint_file,
            fingerprint,
            plan.num_importance_draws,
            saves=search.checkpoint_interval is not None,
            logger=self._logger,
            check_folder=check_folder,
        )
        quick = or_never(search.iterations_per_quick_update) if self._visualizes(during_analysis=True) else None
        self.schedule = Schedule(search.checkpoint_interval, quick, or_never(search.iterations_per_full_update))

    def __enter__(self) -> Fit:
        search, plan, logger = self._search, self._plan, self._logger
        device = DeviceThread(logger, search.stalled_after, self._checkpoint.what_next)
        background, live = search.quick_update_background, search.live_visual_update
        if self.schedule.quick_update is None:
            background = live = False
        with ExitStack() as entered:
            enter = entered.enter_context
            self._interruptions = enter(Interruptions(logger, device, self._processes))
            self._progress = enter(Progress(logger, plan.termination, plan.n_live / plan.num_delete, search.silence))
            self.pictures = enter(QuickUpdates(self._analysis, search.paths, background, live, logger))
            self._entered = entered.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._entered.__exit__(*error)

    def begin(self) -> None:
        """
        Begin the run, or go on with one that was checkpointed.

        Raises
        ------
        SearchException
            If what was checkpointed is damaged or of another run, or if the likelihood or a prior cannot be used.
        """
        saved = None if self._scouted else self._checkpoint.load()
        moves = self._processes.same(saved.settings["moves"] if saved else self._plan.moves)
        self._plan = replace(self._plan, moves=moves)
        self.space = space_of(self._model, MOVES[moves])
        self.sampler = self._device_sampler()
        saved = self._processes.same(saved)
        known = densities_of(self._model, self._plan.known, self._plan.seed)
        if not (saved and kernel.has_converged(saved.state, self._plan.termination)):
            self.sampler.compile_ahead()
        run = self._resumed(saved, known) if saved else self._begun(known)
        evaluate, at_once = self.sampler.log_likelihoods, self.sampler.functions.rows_at_once
        self._processes.check_values(evaluate, run.state.particles.position, at_once)
        self.run, self._started = run, time.perf_counter() - run.seconds

    @property
    def has_converged(self) -> bool:
        """Whether the live points hold a negligible share of the evidence; an error if they never can."""
        state = jax.device_get(self.run.state)
        if kernel.evidence_is_lost(state):
            raise exc.SearchException(results.why_evidence_is_lost(state, self.space))
        return bool(kernel.has_converged(state, self._plan.termination))

    def advance(self) -> None:
        """Iterate until something is due, or for as long as a signal may wait."""
        iterations = self.schedule.until_next(self.run.iteration, self.run.pace)
        carry, block, done = self.sampler.advance(self.run.state, self.run.run_key, iterations)
        self.run = run = self.run.after(carry, block, done, self._seconds)
        self._progress.show(run.seconds, run.iteration, run.remaining, partial(results.standing_of, run))

    def save_if(self, due: bool) -> None:
        """Checkpoint the run where that is due, or where the newest checkpoint is old."""
        self._checkpoint.save_if(due, self.run)

    @contextmanager
    def saved_if_it_ends(self) -> Iterator[None]:
        """Within, an error or the end of the process leaves a checkpoint, if anything could go on from it."""
        try:
            yield
        except BaseException:
            if not kernel.evidence_is_lost(jax.device_get(self.run.state)):  # the device may be lost
                self.leave()
            raise

    def leave(self) -> None:
        """What a signal or an error asks for before it ends the run."""
        if not hasattr(self, "run"):
            return self._checkpoint.leave_at_the_start()
        seconds = self._seconds if self.run.draws else self.run.seconds  # time goes by between draws
        return self._checkpoint.save_and_leave(self.run._replace(seconds=seconds))

    def answering(self) -> AbstractContextManager[None]:
        """Within, a signal is answered at once."""
        return self._interruptions.answered_by(self.leave)

    def converge(self) -> Ending:
        """What the converged run comes to: its checkpoint, posterior and second evidence, and its last picture."""
        self.save_if(True)
        self._logger.info("NSS converged after %d iterations, %.1f s.", self.run.iteration, self.run.seconds)
        posterior, wanted = results.posterior_of(self.run), self._plan.draws_after(self.run.evaluations)
        second = self._second_evidence(posterior, wanted) if wanted else None
        self.run = self.run._replace(seconds=self._processes.same(self.run.seconds, self.sampler.meeting()))
        internal = results.internal_from(self.run, self.space, posterior, second)
        with self.answering():
            if self._visualizes(during_analysis=False):
                draw = lambda: self.run_plot(internal.trust)()  # noqa: E731
                self.pictures.draw_alone("nss_run.png", draw, self.pictures.PATIENCE_SECONDS)
        return Ending(self._plan, self.run, self.space, posterior, second, internal)

    def run_plot(self, found: dict[str, Any] | None = None) -> Callable[[], None]:
        """A call that draws the run as it stands now, from any thread and at any time."""
        path, rng = Path(self._search.paths.image_path) / "nss_run.png", np.random.default_rng(self._plan.seed)
        return partial(draw_run, path, self.run.points, self.run.chains, self._plan.termination, rng, found or {})

    def update_results(self) -> None:
        """The results of the run so far, as the host writes them."""

        def update() -> None:
            self._ctx.update(results.internal_from(self.run, self.space, results.posterior_of(self.run)))

        self.pictures.draw_alone("the results so far", update, self.pictures.PATIENCE_IN_MID_RUN)

    def _visualizes(self, during_analysis: bool) -> bool:
        search = self._search
        return search._visualize_fit and self._analysis.should_visualize(search.paths, during_analysis)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._started

    def _device_sampler(self) -> DeviceSampler:
        checks.check_priors(self._model)
        of_parameters, to_parameters = self._ctx.fitness.objective(SCALAR, compile=False), self.space.to_parameters
        # Traced once for all that calls it, which for a likelihood of many operations saves seconds.
        log_likelihood = jax.jit(lambda position: of_parameters(to_parameters(position)), inline=True)
        checks.check_log_likelihood(log_likelihood, self._plan.n_dim)
        return DeviceSampler(
            self.space.log_prior,
            log_likelihood,
            self._plan,
            self._search.chunk_size,
            self._search.n_live,
            self._processes.devices,
            self._interruptions,
            save=self.leave,
            logger=self._logger,
        )

    def _begun(self, known: tuple[Mixture, ...]) -> Run:
        """A run at its beginning."""
        plan, search = self._plan, self._search
        _, init_key, run_key = jax.random.split(jax.random.PRNGKey(plan.seed), 3)
        start = f", start_from={len(known)} earlier fit(s) with a quarter of the live points" if known else ""
        self._logger.info("Starting NSS: %s%s.", plan, start)
        for doubt in trust.doubts_about_settings(plan.n_dim, search.n_live, search.num_delete, plan.num_mcmc_steps):
            self._logger.warning(doubt)
        state = self.sampler.state_at(np.asarray(self.space.draw(init_key, plan.n_live)))
        if doubt := checks.check_first_points(np.asarray(state.particles.loglikelihood), search.invalid_value):
            self._logger.info(doubt)
        return self._checkpoint.begin(state, run_key, known, self._scouted)

    def _resumed(self, saved: Run, known: tuple[Mixture, ...]) -> Run:
        """A checkpointed run, if it is of the same likelihood and start still."""
        self._checkpoint.verify(saved, self.sampler.state_at, known)
        dead_points = saved.iteration * saved.settings["num_delete"]
        self._logger.info(
            "Resuming NSS from iteration %d (%d dead points, %.1f s of sampling so far).",
            *(saved.iteration, dead_points, saved.seconds),
        )
        return saved

    def _second_evidence(self, posterior: Posterior, wanted: int) -> SecondEvidence:
        """The second evidence of the converged run, from about so many draws."""

        def after_each_batch() -> None:
            self.run = self.run._replace(seconds=self._seconds)
            self.save_if(self.schedule.due(len(self.run.draws)).checkpoint)
            self._progress.show_draws(self.run.seconds, self.run.drawn, wanted)

        run, space, plan = self.run, self.space, self._plan
        opinion = Opinion(self.sampler, space, self._processes, after_each_batch, self._logger)
        points = partial(results.run_points, run, space.to_normal, posterior)
        second = opinion.ask(points, run.draws, wanted, plan.wanted_samples, plan.seed, run.densities)
        self.run = self.run._replace(seconds=self._seconds)
        self.save_if(True)
        return second
