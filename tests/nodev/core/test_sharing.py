"""How best-effort jobs share the device among them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tally.scheduler.instructions import (
    Complete,
    Instruction,
    Preempt,
    SetTimer,
    Start,
)
from tally.scheduler.plan import Plan, PlanKind

from .steps import (
    GUARDED,
    LIMITS,
    LONG,
    LOW,
    SHORT,
    US,
    Checked,
    make,
)


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
