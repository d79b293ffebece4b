"""The second evidence of a run: what is stored of it, and what the log says."""

from typing import Any

import numpy as np

from .importance import SecondEvidence


def entries(log_evidence: float, log_evidence_error: float, second: SecondEvidence | None) -> dict[str, Any]:
    """
    The entries of ``samples_info`` that compare nested sampling's evidence with the second.

    ``log_evidence`` is the second, by bridge sampling, where it may be used: it does not rest on the prior volumes,
    and its error is smaller. What cannot be used is ``None``, never a number.
    """
    usable = second if second and not second.unusable else None
    value, error = (usable.log_evidence, usable.error) if usable else (log_evidence, log_evidence_error)
    distance = usable and float((log_evidence - value) / np.hypot(log_evidence_error, error))
    return {
        "log_evidence": value,
        "log_evidence_error": error,
        "log_evidence_nested": log_evidence,
        "log_evidence_nested_error": log_evidence_error,
        "log_evidence_importance": usable and usable.by_importance,
        "log_evidence_importance_error": usable and usable.by_importance_error,
        "log_evidence_bridge": usable and value,
        "log_evidence_bridge_error": usable and error,
        "log_evidence_distance": distance,
        "importance_draws": second.draws if second else 0,
        "importance_attempts": second.attempts if second else 0,
        "importance_n_eff": second.n_eff if second else None,
        "importance_unusable": second.unusable if second else "no draws were made",
    }


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
