"""Exact instruction lists of each policy in small scenarios."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tally.scheduler.core import InvalidEventError, Scheduler, SchedulerFullError
from tally.scheduler.instructions import (
    Closed,
    Complete,
    Dropped,
    Preempt,
    SetTimer,
    Start,
    StartFlag,
)
from tally.scheduler.plan import Plan, PlanKind
from tally.scheduler.policies import PolicyTrait, policies, policy_traits

from .steps import (
    GUARDED,
    HIGH,
    LIMITS,
    LONG,
    LOW,
    RESUMED,
    SHORT,
    SLICED,
    US,
    make,
)


def test_policies_are_one_table() -> None:
    assert len(policies()) >= 2 and all(policies().values())
    assert PolicyTrait.BOUNDED in policy_traits(next(iter(policies())))


def test_high_goes_at_once_and_stops_best_effort() -> None:
    s = make()
    assert s.launch(0, 10, 10, 1, 100, LONG) == [Start(1, 0, 100, 0, GUARDED)]
    assert s.launch(5 * US, 0, 0, 2, 7, SHORT) == [Start(2, 0, 7, 1), Preempt(1)]
    assert s.preempted(15 * US, 1, 40, 41) == []
    assert s.finished(25 * US, 2, 0, 7) == [Complete(2), SetTimer(75 * US)]
    assert s.timer(75 * US) == [Start(1, 40, 100, 0, GUARDED | RESUMED)]
    assert s.finished(90 * US, 1, 40, 100) == [Complete(1)]


def test_high_may_be_on_the_device_before_it_is_told() -> None:
    s = make()
    s.launch(0, 10, 10, 1, 100, LONG)
    assert s.launch(0, 0, 0, 2, 7, SHORT, started=True) == [Preempt(1)]
    assert s.launch(0, 0, 0, 3, 7, SHORT, started=True) == []
    with pytest.raises(InvalidEventError):
        s.launch(0, 10, 11, 4, 7, SHORT, started=True)


def test_short_kernels_pipeline_up_to_the_bound() -> None:
    s = make()
    outs = [s.launch(0, 10, 10, i, 4, SHORT) for i in range(4)]
    assert outs == [[Start(0, 0, 4)], [Start(1, 0, 4)], [Start(2, 0, 4)], []]
    assert s.finished(10 * US, 0, 0, 4) == [Complete(0), Start(3, 0, 4)]


def test_the_next_kernel_starts_before_news_of_the_end_of_the_first() -> None:
    s = make()
    plan = Plan(PlanKind.WHOLE, whole_ns=20 * US)
    assert s.launch(0, 10, 10, 0, 4, plan) == [Start(0, 0, 4)]
    # After 10 us, what is left of the first and the second together are 30.
    assert s.launch(0, 10, 10, 1, 4, plan) == [SetTimer(10 * US)]
    assert s.launch(0, 10, 10, 2, 4, plan) == []
    assert s.timer(10 * US) == [Start(1, 0, 4)]
    assert s.finished(22 * US, 0, 0, 4) == [Complete(0), SetTimer(32 * US)]
    # High has come: nothing starts any more.
    assert s.launch(31 * US, 0, 0, 5, 1, SHORT) == [Start(5, 0, 1, 1)]
    assert s.timer(32 * US) == []


def test_slices_pipeline_up_to_the_bound() -> None:
    s = make()
    assert s.launch(0, 10, 10, 1, 20, SLICED) == [
        Start(1, 0, 8, 0, StartFlag.NONE),
        Start(1, 8, 16, 0, StartFlag.NONE),
    ]
    assert s.finished(15 * US, 1, 0, 8) == [Start(1, 16, 20)]
    assert s.finished(30 * US, 1, 8, 16) == []
    assert s.finished(36 * US, 1, 16, 20) == [Complete(1)]


def test_slices_stop_while_high_runs() -> None:
    s = make()
    s.launch(0, 10, 10, 1, 20, SLICED)
    assert s.launch(1 * US, 0, 0, 2, 1, SHORT) == [Start(2, 0, 1, 1)]
    assert s.finished(15 * US, 1, 0, 8) == []
    assert s.finished(20 * US, 2, 0, 1) == [Complete(2), SetTimer(70 * US)]
    assert s.finished(30 * US, 1, 8, 16) == []
    assert s.timer(70 * US) == [Start(1, 16, 20)]


def test_what_waits_behind_a_guarded_launch_keeps_program_order() -> None:
    s = make()
    s.launch(0, 10, 10, 1, 100, LONG)
    assert s.launch(0, 10, 10, 2, 4, SHORT) == []
    assert s.finished(100 * US, 1, 0, 100) == [Complete(1), Start(2, 0, 4)]


def test_guarded_launches_of_a_queue_follow_one_another() -> None:
    s = make(limits=replace(LIMITS, preemptible_depth=2))
    assert s.launch(0, 10, 10, 1, 100, LONG) == [Start(1, 0, 100, 0, GUARDED)]
    assert s.launch(0, 10, 10, 2, 100, LONG) == [Start(2, 0, 100, 0, GUARDED)]
    assert s.launch(0, 10, 10, 3, 100, LONG) == []
    assert s.launch(0, 0, 0, 4, 1, SHORT) == [Start(4, 0, 1, 1), Preempt(2), Preempt(1)]
    assert s.preempted(9 * US, 1, 30, 30) == []
    # Launch 1 may not start again while launch 2 is ahead of it in the stream.
    assert s.finished(9 * US, 4, 0, 1) == [Complete(4)]
    assert s.preempted(60 * US, 2, 0, 0) == [
        Start(1, 30, 100, 0, GUARDED | RESUMED),
        Start(2, 0, 100, 0, GUARDED | RESUMED),
    ]
    with pytest.raises(InvalidEventError):
        s.finished(61 * US, 2, 0, 100)


def test_a_short_launch_behind_a_guarded_one_goes_through_the_guard_too() -> None:
    """Whole, it could not be stopped, and would have to wait for news of the first one's end."""
    s = make(limits=replace(LIMITS, preemptible_depth=2))
    short = replace(SHORT, guardable=True)
    assert s.launch(0, 10, 10, 1, 4, short) == [Start(1, 0, 4)]
    assert s.finished(US, 1, 0, 4) == [Complete(1)]
    assert s.launch(US, 10, 10, 2, 100, LONG) == [Start(2, 0, 100, 0, GUARDED)]
    assert s.launch(US, 10, 10, 3, 4, short) == [Start(3, 0, 4, 0, GUARDED)]
    assert s.launch(2 * US, 0, 0, 4, 1, SHORT) == [Start(4, 0, 1, 1), Preempt(3), Preempt(2)]


def test_what_is_ahead_in_its_queue_does_not_hold_an_oversized_guarded_launch_up() -> None:
    s = make()
    long_blocks = replace(LONG, stop_ns=90 * US)
    assert s.launch(0, 10, 10, 1, 4, SHORT) == [Start(1, 0, 4)]
    assert s.launch(0, 10, 10, 2, 100, long_blocks) == [Start(2, 0, 100, 0, GUARDED)]
    assert s.sched.stats().oversized == 1


def test_an_oversized_launch_starts_alone_and_only_in_a_long_gap() -> None:
    s = make()
    huge = Plan(PlanKind.WHOLE, whole_ns=10_000_000 * US)
    s.launch(0, 0, 0, 1, 1, SHORT)
    s.finished(10 * US, 1, 0, 1)
    assert s.launch(100 * US, 10, 10, 2, 1, huge) == [SetTimer(510 * US)]
    assert s.timer(510 * US) == [Start(2, 0, 1)]
    assert s.launch(520 * US, 11, 11, 3, 1, SHORT) == []
    assert s.sched.stats().oversized == 1


def test_others_use_the_gap_that_an_oversized_launch_waits_out() -> None:
    s = make()
    huge = Plan(PlanKind.WHOLE, whole_ns=10_000_000 * US)
    s.launch(0, 0, 0, 1, 1, SHORT)
    s.finished(10 * US, 1, 0, 1)
    assert s.launch(100 * US, 10, 10, 2, 1, huge) == [SetTimer(510 * US)]
    assert s.launch(110 * US, 11, 11, 3, 1, SHORT) == [Start(3, 0, 1)]
    assert s.launch(500 * US, 11, 11, 4, 1, SHORT) == [Start(4, 0, 1)]
    # Its time has come: nothing new goes ahead of it, and it starts when the device is free.
    assert s.timer(510 * US) == []
    assert s.launch(511 * US, 11, 11, 5, 1, SHORT) == []
    assert s.finished(512 * US, 3, 0, 1) == [Complete(3)]
    assert s.finished(520 * US, 4, 0, 1) == [Complete(4), Start(2, 0, 1)]


def test_an_unmeasured_launch_fills_the_bound() -> None:
    s = make()
    assert s.launch(0, 10, 10, 1, 9, Plan()) == [Start(1, 0, 9)]
    assert s.launch(0, 11, 11, 2, 9, SHORT) == []
    assert s.finished(9 * US, 1, 0, 9) == [Complete(1), Start(2, 0, 9)]


def test_several_high_jobs_get_levels_by_priority() -> None:
    sched = Scheduler("tally", limits=LIMITS, levels=4)
    for session, priority in enumerate((-1, 0, 1, 2, 9)):
        sched.open(0, session, HIGH, priority=priority)
    levels = []
    for session in range(5):
        out = sched.launch(0, session, session, session, 1, SHORT)
        assert isinstance(out[0], Start)
        levels.append(out[0].level)
    assert levels == [1, 1, 2, 3, 3]


def test_kernel_gives_way_at_kernel_boundaries_only() -> None:
    s = make("kernel")
    assert s.launch(0, 10, 10, 1, 100, LONG) == [Start(1, 0, 100)]
    assert s.launch(1 * US, 0, 0, 2, 1, SHORT) == [Start(2, 0, 1, 0)]
    assert s.launch(2 * US, 11, 11, 3, 4, SHORT) == []
    assert s.finished(9 * US, 2, 0, 1) == [Complete(2), SetTimer(59 * US)]
    assert s.timer(59 * US) == []
    assert s.finished(5000 * US, 1, 0, 100) == [Complete(1), Start(3, 0, 4)]


def test_a_session_that_is_alone_may_have_more_in_flight() -> None:
    s = make(limits=replace(LIMITS, alone_ns_max=200 * US), high=0, low=1)
    plan = Plan(PlanKind.WHOLE, whole_ns=80 * US)
    assert s.launch(0, 10, 10, 1, 100, plan) == [Start(1, 0, 100)]
    assert s.launch(0, 10, 10, 2, 100, plan) == [Start(2, 0, 100)]
    assert s.launch(0, 10, 10, 3, 100, plan) == [SetTimer(40 * US)]
    assert s.open(1 * US, 0, HIGH) == []  # what is in flight may drain
    assert s.finished(80 * US, 1, 0, 100) == [Complete(1)]
    assert s.finished(160 * US, 2, 0, 100) == [Complete(2), Start(3, 0, 100)]
    s.launch(161 * US, 10, 10, 4, 100, plan)
    assert s.close(170 * US, 0) == [Closed(0), Start(4, 0, 100)]


@pytest.mark.parametrize(("policy", "level"), [("fifo", 0), ("priority", 1)])
def test_without_a_scheduler_everything_goes_at_once(policy: str, level: int) -> None:
    s = make(policy)
    assert s.launch(0, 10, 10, 1, 100, LONG) == [Start(1, 0, 100)]
    assert s.launch(0, 10, 10, 2, 100, SLICED) == [Start(2, 0, 100)]
    assert s.launch(0, 0, 0, 3, 1, SHORT) == [Start(3, 0, 1, level)]


def test_timeslice_takes_turns() -> None:
    s = make("timeslice", low=1)
    assert s.launch(0, 10, 10, 1, 100, LONG) == [Start(1, 0, 100, 0, GUARDED)]
    assert s.launch(10 * US, 0, 0, 2, 4, SHORT) == [SetTimer(1000 * US)]
    assert s.timer(1000 * US) == [Preempt(1)]
    assert s.preempted(1010 * US, 1, 9, 9) == [Start(2, 0, 4), SetTimer(2010 * US)]
    # Its work done, the turn ends early.
    assert s.finished(1020 * US, 2, 0, 4) == [Complete(2), Start(1, 9, 100, 0, GUARDED | RESUMED)]


def test_policy_and_limits_change_while_work_is_in_flight() -> None:
    s = make("fifo")
    for i in range(8):
        s.launch(0, 10, 10, i, 4, SHORT)
    assert s.set_policy(0, "tally") == []
    assert s.launch(0, 10, 10, 8, 4, SHORT) == []
    for i in range(5):
        assert s.finished(i * US, i, 0, 4) == [Complete(i)]
    assert s.finished(6 * US, 5, 0, 4) == [Complete(5), Start(8, 0, 4)]
    assert s.set_limits(7 * US, replace(LIMITS, turnaround_ns_max=5 * US)) == []
    assert s.launch(7 * US, 11, 11, 9, 100, LONG) == []
    assert s.set_policy(8 * US, "fifo") == [Start(9, 0, 100)]


def test_a_change_of_class_takes_the_work_along() -> None:
    s = make()
    s.launch(0, 10, 10, 1, 100, LONG)
    s.launch(0, 11, 11, 2, 4, SHORT)
    s.launch(0, 11, 11, 3, 4, SHORT)
    out = s.set_session(1 * US, 11, HIGH)
    assert out == [Start(3, 0, 4, 1), Preempt(1)] or out == [
        Start(2, 0, 4, 1),
        Start(3, 0, 4, 1),
        Preempt(1),
    ]
    s.set_session(2 * US, 11, LOW)
    s.preempted(3 * US, 1, 1, 1)


def test_closing_a_session_drops_stops_and_reports() -> None:
    s = make()
    s.launch(0, 10, 10, 1, 100, LONG)
    s.launch(0, 10, 10, 2, 4, SHORT)
    s.launch(0, 10, 12, 3, 4, SHORT)
    assert s.close(1 * US, 10) == [Preempt(1), Dropped(2), Dropped(3)]
    with pytest.raises(InvalidEventError):
        s.launch(1 * US, 10, 10, 4, 4, SHORT)
    assert s.preempted(2 * US, 1, 5, 5) == [Dropped(1), Closed(10)]
    assert s.open(3 * US, 10, LOW) == []


def test_a_failed_launch_goes_and_the_next_one_comes() -> None:
    s = make()
    s.launch(0, 10, 10, 1, 100, LONG)
    s.launch(0, 10, 10, 2, 4, SHORT)
    assert s.failed(1 * US, 1) == [Dropped(1), Start(2, 0, 4)]


def test_room_is_bounded_and_said() -> None:
    sched = Scheduler("tally", limits=LIMITS, session_launches_max=2)
    sched.open(0, 0, LOW)
    sched.launch(0, 0, 0, 0, 4, LONG)
    sched.launch(0, 0, 0, 1, 4, LONG)
    assert not sched.has_room(0)
    with pytest.raises(SchedulerFullError):
        sched.launch(0, 0, 0, 2, 4, LONG)
    sched.validate()


def test_a_small_room_loses_nothing() -> None:
    sched = Scheduler("fifo", limits=LIMITS, room=8)
    sched.open(0, 0, LOW)
    for i in range(40):
        sched.launch(0, 0, 0, i, 4, SHORT)
    sched.validate()
    assert sched.close(1, 0) == []
    for i in range(39):
        assert sched.finished(2, i, 0, 4) == [Complete(i)]
    assert sched.finished(2, 39, 0, 4) == [Complete(39), Closed(0)]
    tally = Scheduler("tally", limits=LIMITS, room=8)
    tally.open(0, 0, LOW)
    for i in range(40):
        tally.launch(0, 0, 0, i, 4, LONG)
    assert tally.close(1, 0) == [Preempt(0), *(Dropped(i) for i in range(1, 40))]
    tally.validate()


@pytest.mark.parametrize(
    "event",
    [
        lambda s: s.launch(0, 5, 0, 1, 1, SHORT),  # no such session
        lambda s: s.launch(0, 99999, 0, 1, 1, SHORT),
        lambda s: s.launch(0, 10, 99999, 1, 1, SHORT),
        lambda s: s.launch(0, 10, 0, 99999, 1, SHORT),
        lambda s: s.launch(0, 10, 0, 1, 0, SHORT),  # no blocks
        lambda s: s.launch(0, 10, 0, 7, 1, SHORT),  # in use
        lambda s: s.launch(0, 11, 10, 1, 1, SHORT),  # another session's queue
        lambda s: s.launch(0, 10, 0, 1, 1, Plan(PlanKind.SLICED)),  # no slice size
        lambda s: s.finished(0, 7, 1, 4),
        lambda s: s.finished(0, 7, 0, 3),
        lambda s: s.finished(0, 6, 0, 3),
        lambda s: s.preempted(0, 7, 0, 0),  # not told to stop
        lambda s: s.failed(0, 9),
        lambda s: s.started(0, 9),
        lambda s: s.close(0, 9),
        lambda s: s.open(0, 10, LOW),
        lambda s: s.open(0, 5, LOW, weight=0),
        lambda s: s.set_session(0, 5, LOW),
        lambda s: s.set_limits(0, replace(LIMITS, turnaround_ns_max=0)),
    ],
)
def test_events_that_do_not_fit_change_nothing(event) -> None:  # type: ignore[no-untyped-def]
    s = make()
    s.launch(0, 10, 10, 7, 4, SHORT)
    with pytest.raises(InvalidEventError):
        event(s)
    s.sched.validate()
    assert s.finished(1, 7, 0, 4) == [Complete(7)]
