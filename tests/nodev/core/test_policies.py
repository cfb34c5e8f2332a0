"""Exact instruction lists of each policy in small scenarios."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tally.scheduler.core import InvalidEventError, Scheduler, SchedulerFullError
from tally.scheduler.instructions import (
    Closed,
    Complete,
    Dropped,
    Instruction,
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
    Checked,
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


def served(s: Checked, sessions: dict[int, int], rounds: int, ns: int) -> dict[int, int]:
    """Keeps every session busy with launches of ns each, and counts whose run."""
    plan = Plan(PlanKind.WHOLE, whole_ns=ns)
    running: list[int] = []
    owner: dict[int, int] = {}
    free = list(range(200))
    count = dict.fromkeys(sessions, 0)
    now = 0

    def take(out: list[Instruction]) -> None:
        for instruction in out:
            if isinstance(instruction, Start):
                running.append(instruction.launch)
            elif isinstance(instruction, Complete):
                free.append(instruction.launch)

    def submit(session: int) -> None:
        launch = free.pop()
        owner[launch] = session
        take(s.launch(now, session, session, launch, 1, plan))

    for session in sessions:
        for _ in range(4):
            submit(session)
    for _ in range(rounds):
        now += ns
        launch = running.pop(0)
        count[owner[launch]] += 1
        take(s.finished(now, launch, 0, 1))
        submit(owner[launch])
    return count


def test_best_effort_jobs_share_by_weight() -> None:
    s = make(low=0, limits=replace(LIMITS, quantum_ns=100 * US))
    weights = {20: 1, 21: 2, 22: 5}
    for session, weight in weights.items():
        s.open(0, session, LOW, weight=weight)
    count = served(s, weights, 4000, 20 * US)
    assert sum(count.values()) == 4000
    for session, weight in weights.items():
        assert count[session] == pytest.approx(500 * weight, rel=0.05, abs=0)


def test_sessions_of_one_job_share_its_part() -> None:
    s = make(low=0, limits=replace(LIMITS, quantum_ns=100 * US))
    jobs = {20: 7, 21: 7, 22: 7, 23: 8, 24: 0, 25: 0}  # 0: of none
    for session, job in jobs.items():
        s.open(0, session, LOW, weight=2 if job == 8 else 1, job=job)
    count = served(s, jobs, 5000, 20 * US)
    for session in (20, 21, 22):
        assert count[session] == pytest.approx(1000 / 3, rel=0.05, abs=0), "they take turns"
    assert count[23] == pytest.approx(2000, rel=0.05, abs=0)
    assert count[24] == pytest.approx(1000, rel=0.05, abs=0)
    assert count[25] == pytest.approx(1000, rel=0.05, abs=0)


def test_a_job_begins_anew_once_all_its_sessions_have_gone() -> None:
    """What it owed goes with it, and its weight is the one that was told last."""
    s = make(low=0, limits=replace(LIMITS, quantum_ns=100 * US))
    s.open(0, 20, LOW, job=7, weight=1)
    s.open(0, 21, LOW, job=8)
    s.close(0, 20)
    s.open(0, 22, LOW, job=7, weight=3)
    s.open(0, 23, LOW, job=7, weight=4)
    count = served(s, {21: 1, 22: 1, 23: 1}, 2500, 20 * US)
    assert count[21] == pytest.approx(500, rel=0.05, abs=0)
    assert count[22] == pytest.approx(count[23], rel=0.05, abs=0)


def test_priority_inside_the_class_goes_first() -> None:
    s = make(low=0)
    s.open(0, 20, LOW, priority=0)
    s.open(0, 21, LOW, priority=3)
    assert served(s, {20: 1, 21: 1}, 100, 20 * US)[21] >= 99
    s = make(low=0)
    s.open(0, 20, LOW, priority=0)
    s.open(0, 21, LOW, priority=3)
    s.launch(0, 20, 20, 1, 9, LONG)
    assert s.launch(1 * US, 21, 21, 2, 9, SHORT) == [Preempt(1)]
    assert s.preempted(9 * US, 1, 3, 3)[0] == Start(2, 0, 9)


def test_a_guarded_launch_gives_way_when_its_share_is_used_up() -> None:
    s = make()
    s.launch(0, 10, 10, 1, 100, LONG)
    # Only what it uses while the other wants the device counts.
    assert s.launch(100 * US, 11, 11, 2, 100, LONG) == [SetTimer(1100 * US)]
    assert s.timer(1100 * US) == [Preempt(1)]
    assert s.preempted(1110 * US, 1, 20, 20) == [
        Start(2, 0, 100, 0, GUARDED),
        SetTimer(2110 * US),
    ]


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
