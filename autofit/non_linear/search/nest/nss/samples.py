"""The samples class of an ``af.NSS`` fit, as the host's results and aggregator know it."""

from autofit.non_linear.samples.nest import SamplesNest


class NSSamples(SamplesNest):
    """Weighted nested sampling samples whose type says that ``af.NSS`` made them."""

    @property
    def log_evidence_error(self) -> float:
        """Standard deviation of the log evidence over simulated prior volumes; NaN where none was stored."""
        return float(self.samples_info.get("log_evidence_error", float("nan")))
