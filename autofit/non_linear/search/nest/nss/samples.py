"""The samples class of an ``af.NSS`` fit, as the host's results and aggregator know it."""

import numpy as np
from autofit.non_linear.samples.nest import SamplesNest


class NSSamples(SamplesNest):
    """Weighted nested sampling samples whose type says that ``af.NSS`` made them."""

    _columns = None

    @property
    def log_evidence_error(self) -> float:
        """Standard deviation of the log evidence over simulated prior volumes; NaN where none was stored."""
        error = self.samples_info.get("log_evidence_error")
        return float("nan") if error is None else float(error)

    @property
    def parameters_extract(self) -> np.ndarray:
        """``(n_dim, n)`` float: the parameters, gathered once from the samples since a summary asks some 20 times."""
        if self._columns is None or self._columns[0] is not self.sample_list:
            self._columns = self.sample_list, super().parameters_extract
        return self._columns[1].copy()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_columns": None}
