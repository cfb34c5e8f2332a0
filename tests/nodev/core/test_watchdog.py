"""The core's watchdog: what was told to stop and does not end is rescued, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tally.scheduler.instructions import Complete, Preempt, Rescue, SetTimer, Start
from tally.scheduler.limits import Limits
from tally.scheduler.plan import Plan, PlanKind

from .device import Device
from .steps import GUARDED, HIGH, LIMITS, LONG, LOW, SHORT, US, Checked, make

WATCHED = replace(LIMITS, watchdog_times=10, watchdog_ns_min=100 * US)
PATIENCE = 200 * US  # ten times LONG's 20 us


def stopped(limits: Limits = WATCHED, policy: str = "tally") -> Checked:
    """Launch 1, guarded, is told to stop at 10 us, by high launch 2, which ends at once."""
    s = make(policy, limits)
    assert s.launch(0, 10, 10, 1, 100, LONG) == [Start(1, 0, 100, 0, GUARDED)]
    assert s.launch(10 * US, 0, 0, 2, 1, SHORT) == [Start(2, 0, 1, 1), Preempt(1)]
    return s


def test_a_launch_that_does_not_end_is_rescued() -> None:
    s = stopped()
    assert s.finished(10 * US, 2, 0, 1) == [Complete(2), SetTimer(10 * US + PATIENCE)]
    assert s.timer(10 * US + PATIENCE - 1)[:1] != [Rescue(1)]
    assert s.timer(10 * US + PATIENCE) == [Rescue(1)]
    assert s.timer(10 * US + 3 * PATIENCE) == [], "once"
    assert s.stats().rescues == 1
    assert s.finished(10 * US + 4 * PATIENCE, 1, 0, 100) == [Complete(1)]


@pytest.mark.parametrize(("blocks", "ran", "rescued"), [(1, 0, False), (2, 0, True), (2, 1, False)])
def test_a_last_block_waits_for_no_other(blocks: int, ran: int, rescued: bool) -> None:
    """However long it takes: a launch of one block, or one of which all others have run."""
    s = make(limits=WATCHED)
    s.launch(0, 10, 10, 1, blocks, LONG)
    at = 10 * US
    for high in range(2, 3 + (ran > 0)):
        s.launch(at, 0, 0, high, 1, SHORT)
        s.finished(at, high, 0, 1)
        if ran and high == 2:
            s.preempted(at, 1, ran, ran)
            at += 10**9
            s.timer(at)  # it has started again, and is stopped again
    s.timer(at + 10 * PATIENCE)
    assert (s.stats().rescues == 1) is rescued


def test_what_ends_in_time_is_not_rescued() -> None:
    s = stopped()
    s.finished(10 * US, 2, 0, 1)
    s.preempted(10 * US + PATIENCE - 1, 1, 30, 30)
    s.timer(10 * US + 10 * PATIENCE)
    assert s.stats().rescues == 0


def test_a_launch_that_ends_while_it_is_rescued_starts_again() -> None:
    s = stopped()
    s.finished(10 * US, 2, 0, 1)
    assert s.timer(10 * US + PATIENCE) == [Rescue(1)]
    out = s.preempted(11 * US + PATIENCE, 1, 30, 30)
    assert [i for i in out if isinstance(i, Start)] == [Start(1, 30, 100, 0, GUARDED | 4)]


def test_time_beside_high_does_not_count() -> None:
    """Blocks that only have to read the flag wait behind high's: the launch cannot end."""
    s = stopped()
    assert s.timer(10 * US + 9 * PATIENCE) == []
    s.finished(20 * US + 9 * PATIENCE, 2, 0, 1)
    s.launch(20 * US + 9 * PATIENCE + PATIENCE // 2, 0, 0, 3, 1, SHORT)
    assert s.timer(20 * US + 20 * PATIENCE) == []
    s.finished(20 * US + 20 * PATIENCE, 3, 0, 1)
    assert s.timer(20 * US + 20 * PATIENCE + PATIENCE // 2) == [Rescue(1)]


def test_a_turn_that_cannot_end_is_ended() -> None:
    """Under `timeslice` high waits too, for a launch that never ends; nothing of it is running."""
    s = make("timeslice", WATCHED, high=1, low=1)
    assert s.launch(0, 10, 10, 1, 100, LONG) == [Start(1, 0, 100, 0, GUARDED)]
    s.launch(0, 0, 0, 2, 1, SHORT)
    at = WATCHED.timeslice_ns
    assert Preempt(1) in s.timer(at)
    assert s.timer(at + PATIENCE) == [Rescue(1)]


def test_what_is_behind_another_launch_has_not_begun() -> None:
    s = make(limits=replace(WATCHED, preemptible_depth=2))
    s.launch(0, 10, 10, 1, 100, LONG)
    s.launch(0, 10, 10, 2, 100, LONG)
    s.launch(0, 0, 0, 3, 1, SHORT)
    s.finished(0, 3, 0, 1)
    assert s.timer(PATIENCE) == [Rescue(1)], "the first alone"
    s.timer(9 * PATIENCE)
    assert s.stats().rescues == 1
    s.finished(9 * PATIENCE, 1, 0, 100)
    s.timer(10 * PATIENCE - 1 * US)
    assert s.stats().rescues == 1
    assert s.timer(10 * PATIENCE) == [Rescue(2)]


@pytest.mark.parametrize(
    ("plan", "patience"),
    [
        (replace(LONG, stop_ns=0), 50_000 * US),  # whatever the whole takes, each block takes less
        (Plan(PlanKind.PREEMPTIBLE), 300 * US),  # nothing is known: the bound on turnaround
        (replace(LONG, stop_ns=1 * US), 100 * US),  # never in less than the least
    ],
)
def test_patience_follows_from_what_is_known(plan: Plan, patience: int) -> None:
    s = make(limits=WATCHED)
    s.launch(0, 10, 10, 1, 100, plan)
    s.launch(0, 0, 0, 2, 1, SHORT)
    s.finished(0, 2, 0, 1)
    s.timer(patience - 1)
    assert s.stats().rescues == 0
    assert s.timer(patience) == [Rescue(1)]


def test_it_can_be_switched_off() -> None:
    s = stopped(replace(WATCHED, watchdog_times=0))
    s.finished(10 * US, 2, 0, 1)
    assert s.timer(10**12) == []


def test_the_session_of_a_rescued_launch_may_close() -> None:
    s = stopped()
    s.finished(10 * US, 2, 0, 1)
    s.timer(10 * US + PATIENCE)
    s.close(10 * US + PATIENCE, 10)
    s.finished(11 * US + PATIENCE, 1, 0, 100)
    s.close(11 * US + PATIENCE, 11)


def test_with_room_for_few_instructions_everybody_is_rescued_all_the_same() -> None:
    device = Device("timeslice", replace(WATCHED, alone_ns_max=0), room=8)
    device.open(0, LOW)
    device.open(1, HIGH)
    for queue in range(12):
        device.submit(0, queue, queue, 10, LONG)
        device.jobs[queue].waits = True
    for queue in device.busy_queues():
        device.run_blocks(queue, 2)
    device.submit(1, 20, 99, 1, SHORT)
    device.advance(WATCHED.timeslice_ns)
    for queue in device.busy_queues():
        device.run_blocks(queue, 1)
    device.drain()
    assert device.rescued and set(device.rescued) <= set(range(12))
    assert sorted(device.completed) == [*range(12), 99]
