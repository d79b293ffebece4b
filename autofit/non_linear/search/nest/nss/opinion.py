"""The second evidence of a finished run, drawn on its devices by its processes. If anything fails, the run stands."""

import logging
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from autofit import exc

from .evidence.draws import Batch, Drawing, RunPoints
from .evidence.importance import SecondEvidence, second_evidence
from .evidence.mixture import Mixture
from .stopping.processes import Meeting, Processes, is_first

# Calls that take fewer seconds evaluate twice as many draws the next time, those that take more half as many.
FEW_SECONDS, MANY_SECONDS = 2.5, 10.0


class Opinion:
    """
    Asks for a second evidence.

    Parameters
    ----------
    log_likelihoods
        Those of ``(n, n_dim)`` positions where the prior is a standard normal, ``(n,)``; by all processes.
    at_once, most
        How many the devices evaluate at once, and how many a call evaluates at most.
    processes, meeting
        Those that run the fit, and how this one meets the others.
    after_each
        Called after each batch.
    logger
        Is told of a failure.
    """

    def __init__(
        self,
        log_likelihoods: Callable[[np.ndarray], np.ndarray],
        at_once: int,
        most: int,
        processes: Processes,
        meeting: Callable[[], Meeting],
        after_each: Callable[[], None],
        logger: logging.Logger,
    ) -> None:
        self._log_likelihoods = log_likelihoods
        self._at_once = self._number = at_once
        self._most = most
        self._processes = processes
        self._meeting = meeting
        self._after_each = after_each
        self._logger = logger

    def ask(
        self,
        points: Callable[[], RunPoints],
        batches: list[Batch],
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
            except exc.SearchException:
                raise  # of another process, or of the folder
            except Exception as error:
                self._logger.warning("The draws for a second evidence failed.", exc_info=True)
                spent = sum(len(batch.positions) for batch in batches)
                nothing = {name: np.nan for name in SecondEvidence._fields}
                found = SecondEvidence(**{**nothing, "draws": spent, "unusable": f"they failed ({error!r})"})
            self._processes.same((), self._meeting())
        else:
            while batch := self._together(None):
                batches.append(batch)
                self._after_each()
        told = self._processes.same([np.array(value) for value in found or ()], self._meeting())
        return SecondEvidence(*(value.item() for value in told))

    def _draw(self, batch: Batch) -> Batch:
        started = time.perf_counter()
        found = self._together(batch._replace(positions=batch.positions[: self._number]))
        assert found is not None
        seconds = time.perf_counter() - started
        if seconds < FEW_SECONDS:
            self._number = min(2 * self._number, self._most)
        elif seconds > MANY_SECONDS:
            self._number = max(self._number // 2, self._at_once)
        return found

    def _together(self, batch: Batch | None) -> Batch | None:
        """The first process's batch with its log likelihoods, ``None`` if there are no more."""
        told = self._processes.same(jax.tree.leaves(batch), self._meeting())
        if not told:
            return None
        stage, *density, positions, _ = told
        return Batch(stage, Mixture(*density) if density else None, positions, self._log_likelihoods(positions))
