"""Analyses that tell the tests what a fit does with them."""

import autofit as af

from .problems import VectorAnalysis


class Recording(VectorAnalysis):
    """Remembers what it was asked to visualize; raises ``error``, if there is one, while a fit goes on."""

    def __init__(self, log_likelihood, error=None):
        super().__init__(log_likelihood)
        recorded = self.recorded = []

        class Visualizer(af.Visualizer):
            @staticmethod
            def visualize(analysis, paths, instance, during_analysis):
                recorded.append((instance, during_analysis))
                if error and during_analysis:
                    raise error

        self.Visualizer = Visualizer
