"""Pictures while sampling goes on: what is drawn of the best fit, in the host's background worker or here and now."""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

from autofit.non_linear.quick_update import BackgroundQuickUpdate, LiveDisplay


class QuickUpdates:
    """
    Draws quick updates as the host's config asks. A context manager: at a clean end the last picture is finished.

    In the ``background`` a worker draws them while sampling goes on; if it is still at one when the next but one is
    due, the next is left out. With ``live`` the host shows the newest in a window or a notebook too. A picture that
    fails is logged, once for each error, and never stops the fit. Whoever draws holds ``drawing``: matplotlib can do
    so in one thread only.
    """

    # How long a picture in the background is waited for at the end, and before results that are due in mid-run.
    PATIENCE_SECONDS, PATIENCE_IN_MID_RUN = 10.0, 300.0

    def __init__(self, analysis: Any, paths: Any, background: bool, live: bool, logger: logging.Logger) -> None:
        self._analysis = analysis
        self._paths = paths
        self._logger = logger
        self._logged = set()
        self._hangs = False
        self.drawing = threading.Lock()
        convert_jax = analysis.is_jax and not analysis.supports_jax_visualization
        self._worker = BackgroundQuickUpdate(convert_jax, live_visual_update=live) if background else None
        self._display = LiveDisplay(live_visual_update=live and not background)

    def __enter__(self) -> "QuickUpdates":
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: Any) -> None:
        if self._worker is not None:
            self._worker.shutdown(self.PATIENCE_SECONDS if exception_type is None and not self._hangs else 0.0)
        self._display.shutdown()

    def fire(self, instance: Any, draw_run: Callable[[], None]) -> None:
        """Draw the model ``instance``, and call ``draw_run`` for the picture of the run."""
        draw = partial(self._draw, draw_run)
        if self._worker is not None:  # which calls the method of this name of what it takes for an analysis
            self._worker.submit(SimpleNamespace(perform_quick_update=draw), self._paths, instance)
        else:
            draw(self._paths, instance)
            self.guarded(self._display.update, self._paths)

    def _draw(self, draw_run: Callable[[], None], paths: Any, instance: Any) -> None:
        if self._worker is not None:
            _yield_to_sampling()
        with self.drawing:
            self.guarded(self._perform_quick_update, paths, instance)
            self.guarded(self._analysis.visualize, paths=paths, instance=instance, during_analysis=True)
            self.guarded(draw_run)

    def _perform_quick_update(self, paths: Any, instance: Any) -> None:
        with suppress(NotImplementedError):  # what an analysis without one raises
            self._analysis.perform_quick_update(paths, instance)

    def draw_alone(self, what: str, draw: Callable[[], None], seconds: float) -> None:
        """
        Call ``draw`` once no other picture is being made, and log an error. ``what`` it makes is left out if a
        picture in the background takes more than so many ``seconds`` from now; after one that did none is waited for.
        """
        self._hangs = not self.drawing.acquire(timeout=0.0 if self._hangs else seconds)
        if self._hangs:
            self._logger.warning(
                "A picture in the background hangs: the fit goes on without it, and without %s, which would be drawn "
                "beside it. Look at the analysis's visualize; with quick_update_background False in the config it "
                "hangs where you see it.",
                what,
            )
            return
        try:
            self.guarded(draw)
        finally:
            self.drawing.release()

    def guarded(self, draw: Callable, *arguments: Any, **options: Any) -> None:
        """Call ``draw``; an error is logged."""
        try:
            draw(*arguments, **options)
        except Exception as error:
            if repr(error) not in self._logged:
                self._logged.add(repr(error))
                self._logger.exception("A picture or result could not be made; the fit goes on without it.")


def _yield_to_sampling() -> None:
    """Give this thread little of the processors that the sampler wants, where threads have priorities (Linux)."""
    with suppress(AttributeError, OSError):
        # Not the lowest: where other jobs keep all processors busy, the end of the run would wait for it for minutes.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
