"""What the core measures of turnaround, for the class and for each session."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tally.scheduler.instructions import (
    Complete,
    Preempt,
    Start,
)

from .steps import (
    HIGH,
    LIMITS,
    LONG,
    LOW,
    SHORT,
    SLICED,
    US,
    make,
)


def test_turnaround_is_measured_from_arrival_to_the_last_block() -> None:
    s = make()
    s.launch(0, 10, 10, 1, 100, LONG)
    s.launch(5 * US, 0, 0, 2, 7, SHORT)
    s.preempted(17 * US, 1, 40, 40)
    stats = s.sched.stats()
    assert stats.turnaround_ns.count == 1 and stats.turnaround_ns.max == 12 * US
    assert stats.turnaround_estimated_ns == 20 * US and stats.turnaround_error_ns == 8 * US
    s.finished(20 * US, 2, 0, 7)
    s.launch(21 * US, 0, 0, 3, 7, SHORT)
    assert s.sched.stats().turnaround_unmet == 1


def test_turnaround_of_each_session() -> None:
    """The high one's that came, and of best-effort ones how long each was in the way."""
    s = make("kernel", high=2)

    def turnarounds() -> dict[int, tuple[int, ...]]:
        found = {i: s.sched.session_turnaround(i) for i in (0, 1, 10, 11)}
        return {i: (h.count, h.sum // US, h.max // US) for i, h in found.items()}

    s.launch(0, 10, 10, 1, 4, SHORT)
    s.launch(0, 10, 10, 2, 4, SHORT)
    s.launch(0, 11, 11, 3, 4, SHORT)
    s.launch(5 * US, 0, 0, 4, 7, SHORT)
    s.launch(6 * US, 1, 1, 5, 7, SHORT)  # high was busy: this one has not ended its idleness
    s.finished(8 * US, 1, 0, 4)
    assert turnarounds() == dict.fromkeys((0, 1, 10, 11), (0, 0, 0)), "10 has one more in the way"
    s.finished(12 * US, 2, 0, 4)
    assert turnarounds()[10] == (1, 7, 7)
    s.finished(15 * US, 3, 0, 4)
    first = {0: (1, 10, 10), 1: (0, 0, 0), 10: (1, 7, 7), 11: (1, 10, 10)}
    assert turnarounds() == first
    for launch in (4, 5):
        s.finished(16 * US, launch, 0, 7)
    s.timer(66 * US)
    s.launch(100 * US, 10, 10, 1, 4, SHORT)
    s.launch(101 * US, 1, 1, 4, 7, SHORT)
    s.finished(103 * US, 4, 0, 7)
    s.close(104 * US, 1)  # gone before what was in its way: nobody is told in its place
    s.sched.open(105 * US, 1, HIGH)
    s.finished(131 * US, 1, 0, 4)
    assert turnarounds() == {**first, 10: (2, 37, 30)}


def test_turnaround_of_a_session_is_that_of_what_was_last_in_the_way() -> None:
    s = make(limits=replace(LIMITS, preemptible_depth=2))
    s.launch(0, 10, 10, 1, 100, LONG)
    s.launch(0, 10, 10, 2, 100, LONG)
    s.launch(10 * US, 0, 0, 3, 1, SHORT)
    s.preempted(25 * US, 1, 30, 30)
    s.preempted(26 * US, 2, 0, 0, began_ns=24 * US)  # behind high's launch: it was in nobody's way
    both = [s.sched.session_turnaround(session) for session in (0, 10)]
    assert [(h.count, h.max) for h in both] == [(1, 15 * US)] * 2


def test_best_effort_work_that_starts_again_has_no_part_in_the_turnaround() -> None:
    s = make(limits=replace(LIMITS, hysteresis_ns=0))
    s.launch(0, 10, 10, 1, 100, LONG)
    assert s.launch(5 * US, 0, 0, 2, 7, SHORT, started=True) == [Preempt(1)]
    # High is over before the guarded launch reports; another one starts beside it.
    s.finished(6 * US, 2, 0, 7)
    s.launch(6 * US, 11, 11, 3, 4, SHORT)
    s.preempted(9 * US, 1, 40, 40)
    stats = s.sched.stats()
    assert stats.turnaround_ns.count == 1 and stats.turnaround_ns.max == 4 * US
    s.finished(500 * US, 3, 0, 4)
    assert s.sched.stats().turnaround_ns.count == 1


def test_every_arrival_of_high_is_measured_however_long_best_effort_stays() -> None:
    s = make("kernel")
    assert s.launch(0, 10, 10, 1, 100, SHORT) == [Start(1, 0, 100)]
    for turn in range(3):  # high comes and goes three times while one kernel runs
        at = (10 + 100 * turn) * US
        assert s.launch(at, 0, 0, 2, 7, SHORT) == [Start(2, 0, 7)]
        s.finished(at + 5 * US, 2, 0, 7)
    assert s.sched.stats().turnaround_ns.count == 0
    # Another one starts in the meantime: it is in nobody's way but the fourth's.
    assert s.timer(265 * US) == []
    assert s.launch(265 * US, 11, 11, 3, 4, SHORT) == [Start(3, 0, 4)]
    s.launch(300 * US, 0, 0, 2, 7, SHORT)
    assert s.finished(400 * US, 1, 0, 100) == [Complete(1)]
    stats = s.sched.stats()
    assert (stats.turnaround_ns.count, stats.turnaround_ns.max) == (3, 390 * US)
    assert stats.turnaround_ns.sum == (390 + 290 + 190) * US
    s.finished(900 * US, 3, 0, 4)
    stats = s.sched.stats()
    assert (stats.turnaround_ns.count, stats.turnaround_ns.max) == (4, 600 * US)
    assert stats.turnaround_estimated_ns == (10 + 10 + 10 + 20) * US
    assert stats.turnaround_unmet == stats.turnaround_missed == 0


def test_a_change_of_weight_does_not_end_a_measurement_but_one_of_class_does() -> None:
    s = make()
    s.launch(0, 10, 10, 1, 100, LONG)
    s.launch(5 * US, 0, 0, 2, 7, SHORT)
    s.set_session(6 * US, 11, LOW, weight=7)
    s.preempted(17 * US, 1, 40, 40)
    assert s.sched.stats().turnaround_ns.max == 12 * US
    s.finished(20 * US, 2, 0, 7)
    s.timer(90 * US)
    s.launch(95 * US, 0, 0, 2, 7, SHORT)
    s.set_session(96 * US, 10, HIGH)
    s.preempted(99 * US, 1, 60, 20)
    stats = s.sched.stats()
    assert stats.turnaround_ns.count == 1 and stats.turnaround_missed == 1


def test_arrivals_beyond_what_can_be_kept_are_counted() -> None:
    s = make("kernel")
    s.launch(0, 10, 10, 1, 100, SHORT)
    for turn in range(70):
        s.launch(turn * US, 0, 0, 2, 7, SHORT)
        s.finished(turn * US, 2, 0, 7)
    s.finished(100 * US, 1, 0, 100)
    stats = s.sched.stats()
    assert stats.turnaround_ns.count == 64 and stats.turnaround_missed == 6
    assert stats.turnaround_ns.max == 100 * US


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({}, 25 * US),
        ({"cleared_ns": 8 * US}, 3 * US),
        ({"cleared_ns": 2 * US}, 0),  # before high came
        ({"cleared_ns": 999 * US}, 25 * US),  # not before it ended
        ({"began_ns": 20 * US}, 0),  # behind high
        ({"began_ns": 1 * US, "cleared_ns": 8 * US}, 3 * US),
    ],
)
def test_the_device_may_know_the_turnaround_better(times: dict[str, int], expected: int) -> None:
    s = make()
    s.launch(0, 10, 10, 1, 100, SLICED)
    s.launch(5 * US, 0, 0, 2, 7, SHORT)
    s.finished(30 * US, 1, 0, 8, 10 * US, **times)
    stats = s.sched.stats()
    assert (stats.turnaround_ns.count, stats.turnaround_ns.max) == (0, 0)  # the second slice
    s.finished(30 * US, 1, 8, 16, 10 * US, began_ns=6 * US)
    stats = s.sched.stats()
    assert (stats.turnaround_ns.count, stats.turnaround_ns.max) == (1, expected)
