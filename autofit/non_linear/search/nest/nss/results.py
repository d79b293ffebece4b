"""What a run comes to: its posterior, whether to trust it, and what the host archives of it. Nothing here samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from logging import Logger
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .evidence import second_evidence, trust
from .evidence.draws import RunPoints, drawn
from .evidence.importance import SecondEvidence, posterior_samples, unknown_shares
from .evidence.nested import Posterior, posterior_from
from .evidence.prior_space import Space
from .sampling import kernel
from .sampling.run import Run, Scouted
from .sampling.slices import MOVES
from .showing.progress import Standing

if TYPE_CHECKING:
    from .plan import Plan

# Points whose log posterior weight is this far below the largest are of no use for a second evidence.
NEGLIGIBLE = 30.0


@dataclass
class _NSSInternal:
    """
    What the host archives of a finished run. Its name and fields are those of the host's own class, so that an
    archive of either can be read by both.

    ``positions`` is ``(n, n_dim)``, the parameters; ``loglikelihoods``, ``log_weights`` and ``log_priors`` (ours
    alone, and so ``None`` in archives of the host's) are ``(n,)``; ``logZs`` holds the log evidence under each
    simulation of the prior volumes; ``evals`` counts likelihood evaluations; times are in seconds, over all sessions
    of the run.
    ``trust`` (ours alone too) holds those entries of ``samples_info`` that tell whether to believe the rest, the
    second evidence among them. Where ``n_eff`` samples were asked for, the points are the importance draws instead.
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
    trust: dict[str, Any] = field(default_factory=dict)

    def __setstate__(self, state: dict) -> None:
        # An archive of the host's holds neither of ours.
        self.__dict__.update({"log_priors": None, "trust": {}, **state})


# Where the host's archives say that it is.
_NSSInternal.__module__ = f"{__package__}.search"


def posterior_of(run: Run) -> Posterior:
    """Weights and evidence, averaged over prior volumes that the run's seed draws."""
    points = run.points
    return posterior_from(points.log_likelihood, points.birth, np.random.default_rng(run.settings["seed"]))


def measures_of(run: Run) -> dict[str, Any]:
    """The entries of ``samples_info`` that tell whether to trust the run, but for the second evidence."""
    points, settings = run.points, run.settings
    lineages = MOVES[settings["moves"]].lineages_of(run.n_live, points.n_dim)
    return trust.measures(points, run.chains, lineages)


def standing_of(run: Run) -> Standing:
    """What progress shows of a run."""
    points = run.points
    rng = np.random.default_rng(run.settings["seed"])
    log_evidences = posterior_from(points.log_likelihood, points.birth, rng, n_simulations=10).log_evidences
    return Standing(
        dead_points=run.iteration * points.num_delete,
        evaluations=run.evaluations_before + run.evaluations,
        log_evidence=float(log_evidences.mean()),
        log_evidence_error=trust.error_with_memory(float(log_evidences.std()), measures_of(run)),
        best_log_likelihood=float(points.log_likelihood.max()),
    )


def run_points(run: Run, to_normal: Callable[[np.ndarray], Any], posterior: Posterior) -> RunPoints:
    """
    What the second evidence is to know of a run. ``to_normal`` maps positions to where the prior is a standard
    normal, and raises ``ValueError`` if a prior cannot be inverted.
    """
    points, log_weights = run.points, posterior.log_weights
    counts = log_weights > log_weights.max() - NEGLIGIBLE
    positions = np.asarray(to_normal(points.position[counts]), dtype=float)  # whatever the precision of the run
    worth = trust.worth_of_a_point(float(np.mean(run.chains.jump, dtype=np.float64)))
    effective = posterior.effective_sample_size * worth
    return RunPoints(positions, points.log_likelihood[counts], log_weights[counts], effective)


def internal_from(run: Run, space: Space, posterior: Posterior, second: SecondEvidence | None = None) -> _NSSInternal:
    """
    What is archived of a run whose chains walk in this space, of nested sampling's samples; with the second evidence
    if there is one.
    """
    points, measures = run.points, measures_of(run)
    parameters, log_prior = space.described(points.position)
    simulated = float(posterior.log_evidences.std())
    error = trust.error_with_memory(simulated, measures)
    arguments = ("n_live", "num_delete", "termination", "seed")
    return _NSSInternal(
        positions=parameters,
        loglikelihoods=points.log_likelihood,
        log_weights=posterior.log_weights,
        logZs=posterior.log_evidences,
        wall_time=run.seconds,
        sampling_time=run.seconds,
        evals=run.evaluations_before + run.evaluations + run.drawn,
        ess=int(posterior.effective_sample_size * trust.worth_of_a_point(measures["jump"])),
        num_mcmc_steps=round(run.chains.slices.mean()),
        **{name: run.settings[name] for name in arguments},
        log_priors=log_prior,
        trust={
            "moves": run.settings["moves"],
            "converged": bool(kernel.has_converged(run.state, run.settings["termination"])),
            "log_evidence_remaining": run.remaining,
            **measures,
            "log_evidence_simulated_error": simulated,
            **second_evidence.entries(float(posterior.log_evidences.mean()), error, second),
            **_unknown_to_the_start(run, space, posterior, second),
        },
    )


def _unknown_to_the_start(
    run: Run, space: Space, posterior: Posterior, second: SecondEvidence | None
) -> dict[str, list[float]]:
    if run.scouted is not None:
        return {"start_unknown": run.scouted.unknown}
    if run.densities and second is not None and np.isfinite(second.log_evidence):
        samples = _samples_of(second, run, space, posterior)
        return {"start_unknown": unknown_shares(run.densities, *samples)}
    return {}


def _samples_of(
    second: SecondEvidence, run: Run, space: Space, posterior: Posterior
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, kept = run_points(run, space.to_normal, posterior).halves(run.settings["seed"])
    return posterior_samples(kept, drawn(run.draws)[-1], second.log_evidence)


class Ending(NamedTuple):
    """What a converged run comes to: what was planned, the run itself, and what was found of it."""

    plan: Plan
    run: Run
    space: Space
    posterior: Posterior
    second: SecondEvidence | None
    internal: _NSSInternal

    @property
    def usable(self) -> SecondEvidence | None:
        """The second evidence, if there is one that can be used."""
        return self.second if self.second is not None and not self.second.unusable else None

    @property
    def suffices(self) -> bool:
        """Whether no run from the prior has to follow: the draws can be used, and give half of the samples wanted."""
        enough = self.usable is not None and self.usable.n_eff >= 0.5 * self.plan.wanted_samples
        return enough or not self.plan.known

    def given_up(self, logger: Logger) -> Scouted:
        """Log why no more is made of the run, and return what the full run after it has to know."""
        logger.warning(second_evidence.why_a_whole_run(self.internal.trust))
        return Scouted(self.internal.evals, self.run.seconds, self.internal.trust.get("start_unknown", []))

    def archived(self, logger: Logger) -> _NSSInternal:
        """What is archived of the run, with the samples that were asked for; the log says what to believe."""
        plan, internal = self.plan, self.internal
        logger.info(second_evidence.verdict(internal.trust))
        of_start, of_run = trust.doubts_about_start, trust.doubts_about_run
        steps = internal.num_mcmc_steps
        for doubt in of_start(internal.trust) if plan.known else of_run(internal.trust, plan.n_dim, steps):
            logger.warning(doubt)
        if plan.wanted_samples and self.usable:
            internal = self._with_samples_of(self.usable)
        if internal.ess < plan.wanted_samples:
            logger.warning(second_evidence.why_too_few(internal.trust, plan.wanted_samples, internal.ess))
        return internal

    def _with_samples_of(self, second: SecondEvidence) -> _NSSInternal:
        positions, log_likelihood, log_weights = _samples_of(second, self.run, self.space, self.posterior)
        parameters, log_prior = self.space.described(self.space.from_normal(positions))
        return replace(
            self.internal,
            positions=parameters,
            loglikelihoods=log_likelihood,
            log_weights=log_weights,
            ess=int(second.n_eff),
            log_priors=log_prior,
        )


def samples_info_of(internal: _NSSInternal) -> dict[str, Any]:
    """The entries of ``samples_info.json``, in which no number is infinite or NaN."""
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
    return {name: finite_or_none(value) for name, value in info.items()}


def finite_or_none(value: Any) -> Any:
    """``value``, a number, a string or a list of them, with ``None`` for numbers that JSON does not have."""
    if isinstance(value, list):
        return [finite_or_none(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def why_evidence_is_lost(state: Any, space: Space) -> str:
    """Why a run in this state can never converge, and what to look at."""
    if kernel.prior_volume_is_lost(state):
        return (
            f"Every live point has the log likelihood {np.max(state.particles.loglikelihood):.3g}, which is so "
            "large in magnitude that its arithmetic cannot resolve the prior volume, so the run can never "
            "converge. Check the units of the noise map."
        )
    return (
        "The log evidence became NaN, so the run can never converge: a log likelihood is infinite or NaN "
        "where the model is not invalid. Check the analysis's log_likelihood_function at "
        f"{np.asarray(space.to_parameters(state.particles.position[0])).tolist()}."
    )
