"""What is due when, from intervals in iterations. Pure: nothing here does what is due."""

from typing import NamedTuple

from autofit.non_linear.fitness import ITERATIONS_NEVER

# About as long as the device is left alone: much longer than a dispatch, much shorter than a person's patience.
SECONDS_AT_ONCE = 0.5


class Due(NamedTuple):
    """What is due after an iteration."""

    checkpoint: bool
    quick_update: bool
    full_update: bool


class Schedule(NamedTuple):
    """Every how many iterations something is due, ``None`` for never."""

    checkpoint: int | None
    quick_update: int | None
    full_update: int | None

    def due(self, iteration: int) -> Due:
        """What is due after this iteration, of which the first is 1."""
        return Due(*(interval is not None and iteration % interval == 0 for interval in self))

    def until_next(self, iteration: int, pace: float) -> int:
        """
        How many iterations after this one until something is due again; fewer, but at least one, if at ``pace``
        iterations per second they would take longer than a signal should wait.
        """
        due = [interval - iteration % interval for interval in self if interval is not None]
        return max(1, int(min([SECONDS_AT_ONCE * pace, *due])))


def or_never(interval: float | None) -> int | None:
    """The interval, ``None`` where it is what the host's config calls never."""
    return None if interval is None or interval >= ITERATIONS_NEVER else int(interval)
