"""The second evidence of a run: what of the run it takes, what is stored of it, and what the log says."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..sampling.run import Points
from .draws import RunPoints
from .importance import SecondEvidence
from .nested import Posterior
from .trust import worth_of_a_point

# Points whose log posterior weight is this far below the largest are of no use.
NEGLIGIBLE = 30.0


def run_points(
    to_normal: Callable[[np.ndarray], np.ndarray], points: Points, posterior: Posterior, jump: float
) -> RunPoints:
    """
    What the second evidence is to know of the ``points`` of a run with this ``posterior`` and mean ``jump``.

    Raises
    ------
    ValueError
        If a prior cannot be inverted; the message names it.
    """
    counts = posterior.log_weights > posterior.log_weights.max() - NEGLIGIBLE
    return RunPoints(
        np.asarray(to_normal(points.position[counts]), dtype=float),  # whatever the precision of the run
        points.log_likelihood[counts],
        posterior.log_weights[counts],
        posterior.effective_sample_size * worth_of_a_point(jump),
    )


def entries(log_evidence: float, log_evidence_error: float, second: SecondEvidence | None) -> dict[str, Any]:
    """
    The entries of ``samples_info`` that compare nested sampling's evidence with the second.

    ``log_evidence`` is the second, by bridge sampling, where it may be used: it does not rest on the prior volumes,
    and its error is smaller. What cannot be used is ``None``, never a number.
    """
    found = {
        "log_evidence": log_evidence,
        "log_evidence_error": log_evidence_error,
        "log_evidence_nested": log_evidence,
        "log_evidence_nested_error": log_evidence_error,
        "log_evidence_importance": None,
        "log_evidence_importance_error": None,
        "log_evidence_bridge": None,
        "log_evidence_bridge_error": None,
        "log_evidence_distance": None,
        "importance_draws": second.draws if second else 0,
        "importance_attempts": second.attempts if second else 0,
        "importance_n_eff": second.n_eff if second else None,
        "importance_unusable": second.unusable if second else "no draws were made",
    }
    if second is not None and not second.unusable:
        distance = (log_evidence - second.log_evidence) / np.hypot(log_evidence_error, second.error)
        found |= {
            "log_evidence": second.log_evidence,
            "log_evidence_error": second.error,
            "log_evidence_importance": second.by_importance,
            "log_evidence_importance_error": second.by_importance_error,
            "log_evidence_bridge": second.log_evidence,
            "log_evidence_bridge_error": second.error,
            "log_evidence_distance": float(distance),
        }
    return found


def verdict(found: dict[str, Any]) -> str:
    """Both evidences of ``entries``, how far they are apart, and which to believe and why, for the log."""
    value, error = found["log_evidence_nested"], found["log_evidence_nested_error"]
    nested = f"Log evidence by nested sampling {value:.2f} ± {error:.2f}"
    if found["importance_unusable"]:
        return f"{nested}; there is no second evidence: {found['importance_unusable']}."
    return (
        f"{nested}, by bridge sampling {found['log_evidence_bridge']:.2f} ± {found['log_evidence_bridge_error']:.2f} "
        f"({found['importance_draws']:,} draws), {abs(found['log_evidence_distance']):.1f} errors apart. Believe the "
        "second (samples.log_evidence): it needs no prior volumes, and its checks passed (effective samples "
        f"{found['importance_n_eff']:,.0f}, importance sampling {found['log_evidence_importance']:.2f} ± "
        f"{found['log_evidence_importance_error']:.2f})."
    )


def why_too_few(found: dict[str, Any], n_eff: int, effective: int) -> str:
    """Why the effective samples asked for were not reached, for the log."""
    why = found["importance_unusable"]
    samples = f"nested sampling's samples, since there are no others: {why}" if why else "as many as can be had"
    return (
        f"n_eff={n_eff:,} was not reached. The result holds {effective:,} effective samples, {samples}. "
        "Fit again with more live points, whose density is better known."
    )


def why_a_whole_run(found: dict[str, Any]) -> str:
    """Why a run that started from what was known makes another necessary, for the log."""
    why = found["importance_unusable"] or f"the draws and the run are worth {found['importance_n_eff']:,.0f}"
    return (
        f"start_from and the few live points do not describe the posterior: {why}. A full run from the prior begins."
    )
