"""What is due when: by the intervals alone, and no later than a signal may wait."""

import pytest
from autofit.non_linear.search.nest.nss.showing.schedule import SECONDS_AT_ONCE, Due, Schedule

FAST = 1e9  # iterations per second


@pytest.mark.parametrize(
    ("iteration", "due"),
    [
        (1, Due(False, False, False)),
        (4, Due(True, False, False)),
        (12, Due(True, True, False)),
        (40, Due(True, False, True)),
    ],
)
def test_what_is_due_after_an_iteration(iteration, due):
    assert Schedule(checkpoint=4, quick_update=6, full_update=20).due(iteration) == due


def test_what_is_never_due():
    assert not any(any(Schedule(None, None, None).due(iteration)) for iteration in range(1, 100))


def test_iterations_end_where_something_is_due():
    schedule = Schedule(checkpoint=4, quick_update=6, full_update=None)
    assert [schedule.until_next(iteration, FAST) for iteration in (0, 1, 4, 6, 11)] == [4, 3, 2, 2, 1]
    iteration, ends = 0, []
    while iteration < 12:
        iteration += schedule.until_next(iteration, FAST)
        ends.append(iteration)
    assert ends == [4, 6, 8, 12]


def test_slow_iterations_end_so_that_a_signal_is_answered():
    schedule = Schedule(checkpoint=100, quick_update=None, full_update=None)
    assert schedule.until_next(0, pace=20.0) == 20.0 * SECONDS_AT_ONCE
    assert schedule.until_next(95, pace=20.0) == 5
    assert schedule.until_next(0, pace=0.1) == schedule.until_next(0, pace=0.0) == 1
    assert Schedule(None, None, None).until_next(0, pace=20.0) == 20.0 * SECONDS_AT_ONCE
