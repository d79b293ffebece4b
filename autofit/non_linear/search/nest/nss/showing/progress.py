"""What a person sees of a run as text: a bar on a terminal or in a notebook, lines of a log elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..evidence.trust import iterations_left

SECONDS_BETWEEN_BARS = 0.5
# A log line each time the run has lasted a tenth longer: dense at first, and a few hundred lines for a month.
SECONDS_BETWEEN_LINES, MAX_SECONDS_BETWEEN_LINES, SHARE_BETWEEN_LINES = 10.0, 600.0, 0.1
# Working out what to show may take this share of the time.
MAX_SHARE = 0.005


class Standing(NamedTuple):
    """What is shown of a run, over all of its sessions."""

    dead_points: int
    evaluations: int
    log_evidence: float
    log_evidence_error: float
    best_log_likelihood: float


class Progress:
    """
    Shows how far a run is, whose log prior volume falls by one in ``iterations_per_nat``. A context manager: the bar,
    if there is one, is cleared away at the end.
    """

    def __init__(self, logger: logging.Logger, termination: float, iterations_per_nat: float, silence: bool) -> None:
        self._logger = logger
        self._termination = termination
        self._iterations_per_nat = iterations_per_nat
        self._silence = silence
        self._bar = None
        self._resources = ExitStack()
        self._seconds, self._iteration, self._remaining = [], [], []
        self._next = None

    def __enter__(self) -> "Progress":
        if not self._silence and _is_watched():
            self._resources.enter_context(logging_redirect_tqdm())
            bar_format = "NSS {percentage:3.0f}%|{bar:12}| {desc}"
            self._bar = tqdm(total=1.0, bar_format=bar_format, dynamic_ncols=True, leave=False)
            self._resources.enter_context(self._bar)
        return self

    def __exit__(self, *_: Any) -> None:
        self._resources.close()

    def show(self, seconds: float, iteration: int, remaining: float, standing: Callable[[], Standing]) -> None:
        """
        Show where the run stands, unless that was done just now. ``remaining`` is the log evidence of the live points
        relative to that of the dead points, and ``standing`` is called only if it is shown.
        """
        if self._silence:
            return
        self._seconds.append(seconds)
        self._iteration.append(iteration)
        self._remaining.append(remaining)
        if self._next is None:
            self._next = seconds if self._bar is not None else seconds + SECONDS_BETWEEN_LINES
        if seconds < self._next:
            return
        started = time.perf_counter()
        self._show(seconds, iteration, remaining, standing())
        pause = (time.perf_counter() - started) / MAX_SHARE
        if self._bar is not None:
            pace = SECONDS_BETWEEN_BARS
        else:
            pace = np.clip(SHARE_BETWEEN_LINES * seconds, SECONDS_BETWEEN_LINES, MAX_SECONDS_BETWEEN_LINES)
        self._next = seconds + max(pace, pause)

    def show_draws(self, seconds: float, draws: int, wanted: int) -> None:
        """Show how many draws of about so many are made after the run, unless that was done just now."""
        if self._silence or (self._next is not None and seconds < self._next):
            return
        text = f"second evidence: {draws:,} draws"
        if self._bar is None:
            self._logger.info(f"{text[0].upper()}{text[1:]}, {tqdm.format_interval(seconds)} so far")
            self._next = seconds + SECONDS_BETWEEN_LINES
            return
        self._bar.n = min(1.0, draws / wanted)
        self._bar.set_description_str(f"{tqdm.format_interval(seconds)}, {text}")
        self._next = seconds + SECONDS_BETWEEN_BARS

    def _show(self, seconds: float, iteration: int, remaining: float, now: Standing) -> None:
        left = self._seconds_left()
        evidence = f"{now.log_evidence:.2f} ± {now.log_evidence_error:.2f}"
        criterion = f"{remaining:.2f} > {self._termination:.2f}"
        best = f"{now.best_log_likelihood:.2f}"
        rate = now.evaluations / seconds
        until = "unknown" if left is None else tqdm.format_interval(left)
        if self._bar is None:
            self._logger.info(
                f"Iteration {iteration:,}: {now.dead_points:,} dead points, log evidence {evidence}, evidence to "
                f"come {criterion}, best log likelihood {best}, {now.evaluations:,} evaluations ({rate:,.0f} per "
                f"second), {tqdm.format_interval(seconds)} so far, time left {until}"
            )
            return
        self._bar.n = 0.0 if left is None else seconds / (seconds + left)
        self._bar.set_description_str(
            f"{tqdm.format_interval(seconds)} < {'?' if left is None else until}, {iteration:,} it, "
            f"log Z {evidence}, {criterion}, best {best}, {now.dead_points:,} dead, "
            f"{tqdm.format_sizeof(now.evaluations)} evals, {tqdm.format_sizeof(rate)}/s"
        )

    def _seconds_left(self) -> float | None:
        """At the pace of the last tenth of what this session did."""
        seconds, iteration = np.array(self._seconds), np.array(self._iteration)
        left = iterations_left(iteration, np.array(self._remaining), self._termination, self._iterations_per_nat)
        before = -max(2, len(seconds) // 10)
        if left is None or len(seconds) < 2:
            return None
        return left * (seconds[-1] - seconds[before]) / (iteration[-1] - iteration[before])


def _is_watched() -> bool:
    """Whether somebody may look at what is drawn again and again: a terminal, or a notebook."""
    if sys.stderr.isatty():
        return True
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return "IPKernelApp" in getattr(shell, "config", {})
