"""The second evidence of a finished run, drawn on its devices by its processes. If anything fails, the run stands."""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
from autofit import exc

from .device_sampler import DeviceSampler
from .evidence.draws import Drawing, Draws, RunPoints
from .evidence.importance import SecondEvidence, second_evidence
from .evidence.mixture import Mixture
from .evidence.prior_space import Space
from .saving.folder import FolderInUseError
from .stopping.processes import Processes, are_several, is_first

# Calls that take fewer seconds evaluate twice as many draws the next time, those that take more half as many.
FEW_SECONDS, MANY_SECONDS = 2.5, 10.0


class Opinion:
    """Asks for a second evidence; ``after_each`` is called after each batch of draws."""

    def __init__(
        self,
        sampler: DeviceSampler,
        space: Space,
        processes: Processes,
        after_each: Callable[[], None],
        logger: logging.Logger,
    ) -> None:
        self._sampler, self._space, self._processes = sampler, space, processes
        self._after_each, self._logger = after_each, logger
        self._number = sampler.functions.rows_at_once

    def ask(
        self,
        points: Callable[[], RunPoints],
        batches: list[Draws],
        n_draws: int,
        n_eff: int,
        seed: int,
        known: Sequence[Mixture],
    ) -> SecondEvidence:
        """
        What ``second_evidence`` finds, the same on all processes; the first decides what is drawn. Draws are appended
        to ``batches``.
        """
        found = None
        if is_first():
            try:
                drawing = Drawing(self._draw, seed, batches, self._after_each)
                found = second_evidence(points(), drawing, n_draws, n_eff, seed, known)
            except Exception as error:
                ends_all = are_several() and isinstance(error, exc.SearchException)
                if ends_all or isinstance(error, FolderInUseError):
                    raise
                self._logger.warning("The draws for a second evidence failed.", exc_info=True)
                spent = sum(len(batch.positions) for batch in batches)
                nothing = {name: np.nan for name in SecondEvidence._fields}
                found = SecondEvidence(**{**nothing, "draws": spent, "unusable": f"they failed ({error!r})"})
            self._processes.same(None, self._sampler.meeting())
        else:
            while batch := self._together(None):
                batches.append(batch)
                self._after_each()
        return self._processes.same(found, self._sampler.meeting())

    def _draw(self, batch: Draws) -> Draws:
        started, functions = time.perf_counter(), self._sampler.functions
        found = self._together(batch._replace(positions=batch.positions[: self._number]))
        assert found is not None
        seconds = time.perf_counter() - started
        if seconds < FEW_SECONDS:
            self._number = min(2 * self._number, functions.rows)
        elif seconds > MANY_SECONDS:
            self._number = max(self._number // 2, functions.rows_at_once)
        return found

    def _together(self, batch: Draws | None) -> Draws | None:
        """The first process's batch with its log likelihoods, ``None`` if there are no more."""
        batch = self._processes.same(batch, self._sampler.meeting())
        if batch is None:
            return None
        positions = self._space.from_normal(batch.positions)
        return batch._replace(log_likelihood=self._sampler.log_likelihoods(positions))
