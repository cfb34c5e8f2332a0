"""Starts that the owner has not made when high comes, and high that is on its way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tally.scheduler.core import SchedulerError
from tally.scheduler.instructions import Complete, Instruction, Start

from .steps import LIMITS, LONG, SHORT, SLICED, US, Checked, make


def starts(out: list[Instruction]) -> list[Start]:
    return [i for i in out if isinstance(i, Start)]


def begin(sched: Checked, launch: int = 1, **words: object) -> list[Start]:
    """A best-effort launch that may go."""
    return starts(sched.launch(0, 10, 10, launch, 32, words.pop("plan", SHORT), **words))


def books(sched: Checked) -> tuple[int, int, int]:
    stats = sched.sched.session_stats(10)
    return stats.starts, stats.waited_ns, stats.completed


@pytest.mark.parametrize("plan", [SHORT, SLICED], ids=["whole", "sliced"])
@pytest.mark.parametrize("counted", [False, True], ids=["launch", "counted"])
def test_a_start_is_stale_once_high_has_come(plan, counted: bool) -> None:  # type: ignore[no-untyped-def]
    sched = make()
    made = begin(sched, plan=plan)
    assert made and not any(sched.sched.is_stale(start) for start in made)
    if counted:
        sched.work(1 * US, 0)
    else:
        sched.launch(1 * US, 0, 0, 2, 1, SHORT)
    assert all(sched.sched.is_stale(start) for start in made)
    assert not starts(sched.recalled(2 * US, 1, made[0].lo)), "high is busy"
    assert books(sched) == (0, 0, 0)
    turnaround = sched.sched.stats().turnaround_ns
    assert (turnaround.count, turnaround.max) == (1, 0), "it was in nobody's way"
    if counted:
        sched.work_ended(100 * US, 0)
    else:
        sched.finished(100 * US, 2, 0, 1)
    (again,) = starts(sched.timer(1000 * US))[:1]
    assert (again.launch, again.lo) == (1, 0) and not sched.sched.is_stale(again)
    assert books(sched)[1] == 1000 * US, "it has waited from its submission to this start"


def test_a_guarded_start_is_never_stale() -> None:
    """It finds its flag up."""
    sched = make()
    (start,) = begin(sched, plan=LONG)
    sched.launch(1 * US, 0, 0, 2, 1, SHORT)
    assert not sched.sched.is_stale(start)


def test_of_a_launch_the_last_starts_are_taken_back() -> None:
    sched = make()
    first, second = begin(sched, plan=SLICED)[:2]
    sched.launch(1 * US, 0, 0, 2, 1, SHORT)
    sched.recalled(1 * US, 1, second.lo)
    assert books(sched)[:2] == (1, 0)
    sched.finished(15 * US, 1, first.lo, first.hi)
    sched.finished(20 * US, 2, 0, 1)
    out = starts(sched.timer(1000 * US))
    assert out[0].lo == second.lo
    lo = second.lo
    while out:
        again = out.pop(0)
        assert again.lo == lo
        lo = again.hi
        out += starts(sched.finished(1100 * US, 1, again.lo, again.hi))
    assert books(sched)[2] == 1, "every block has run once"


def test_what_was_decided_in_an_earlier_gap_is_stale_in_the_next() -> None:
    sched = make()
    (start,) = begin(sched)
    sched.launch(1 * US, 0, 0, 2, 1, SHORT)
    sched.finished(2 * US, 2, 0, 1)
    assert sched.sched.is_stale(start)
    assert not starts(sched.recalled(3 * US, 1, 0)), "this gap has just begun"
    assert starts(sched.timer(1000 * US))


def test_nothing_starts_while_high_is_on_its_way() -> None:
    """Also before its session's thread comes to tell that it is with the device."""
    sched = make()
    (start,) = begin(sched)
    assert sched.coming(1 * US) == []
    assert sched.sched.is_stale(start)
    assert not starts(sched.recalled(2 * US, 1, 0))
    assert not starts(sched.launch(3 * US, 11, 11, 3, 1, SHORT))
    assert not starts(sched.timer(5000 * US))
    assert sched.sched.came(5001 * US) == []
    sched.launch(5001 * US, 0, 0, 2, 1, SHORT, started=True)
    assert not starts(sched.timer(5002 * US))
    assert Complete(2) in sched.finished(6000 * US, 2, 0, 1)
    assert len(starts(sched.timer(9000 * US))) == 2


def test_high_that_does_not_come_lets_the_others_go() -> None:
    sched = make()
    sched.coming(0)
    assert not begin(sched)
    sched.sched.came(1 * US)
    assert starts(sched.timer(2 * US))


def test_where_best_effort_work_has_a_floor_starts_beside_high_are_not_stale() -> None:
    sched = make(limits=replace(LIMITS, best_effort_permil_min=1000))
    sched.launch(0, 0, 0, 2, 1, SHORT)
    sched.launch(1, 10, 10, 1, 1, SHORT)
    (start,) = starts(sched.timer(LIMITS.quantum_ns + 1 * US))
    sched.coming(LIMITS.quantum_ns + 2 * US)
    sched.came(LIMITS.quantum_ns + 2 * US)
    sched.launch(LIMITS.quantum_ns + 2 * US, 0, 0, 3, 1, SHORT, started=True)
    assert not sched.sched.is_stale(start)


@pytest.mark.parametrize("fifo_first", [False, True])
def test_the_policies_tell_their_starts_apart(fifo_first: bool) -> None:
    """What another policy let go is stale when this one holds it back."""
    sched = make("fifo" if fifo_first else "timeslice", low=1)
    (start,) = begin(sched)
    sched.launch(1 * US, 0, 0, 2, 1, SHORT)
    sched.set_policy(2 * US, "tally")
    assert sched.sched.is_stale(start)


def test_bad_recalls_are_refused() -> None:
    sched = make()
    begin(sched)
    for launch, lo in ((1, 5), (1, 32), (2, 0)):
        with pytest.raises(SchedulerError):
            sched.recalled(1, launch, lo)
    with pytest.raises(SchedulerError):
        sched.came(1)
    guarded = make()
    begin(guarded, plan=LONG)
    with pytest.raises(SchedulerError):
        guarded.recalled(1, 1, 0)
