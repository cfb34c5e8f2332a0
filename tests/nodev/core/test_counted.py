"""Work that is counted and not listed, and launches that go beside their own session's others."""

from __future__ import annotations

import pytest

from tally.scheduler.core import JobClass
from tally.scheduler.limits import Limits
from tally.scheduler.plan import Plan, PlanKind

from .device import BYPASS_NS, Device

LIMITS = Limits(
    turnaround_ns_max=30_000,
    alone_ns_max=100_000,
    hysteresis_ns=20_000,
    gap_wait_ns_max=100_000,
    quantum_ns=50_000,
    timeslice_ns=40_000,
    preemptible_depth=1,
    stops_permil_max=20,
    best_effort_permil_min=0,
    watchdog_times=0,  # its own tests have it on
    watchdog_ns_min=300_000,
)


@pytest.mark.parametrize("policy", ["tally", "kernel"])
def test_counted_work_of_high_holds_best_effort_back(policy: str) -> None:
    device = Device(policy, LIMITS)
    device.open(0, JobClass.HIGH)
    device.open(1, JobClass.BEST_EFFORT)
    device.work(0)
    device.work(0)
    device.submit(1, 1, 1, 4, Plan(whole_ns=1000))
    device.advance(10_000_000_000)
    device.end_work(0, 1)
    device.advance(10_000_000_000)
    assert not device.busy_queues(), "a piece is left"
    device.end_work(0, 1)
    device.advance(LIMITS.gap_wait_ns_max + LIMITS.hysteresis_ns)
    assert device.busy_queues() == [1]
    device.drain()


def test_counted_work_stops_what_runs() -> None:
    device = Device("tally", LIMITS)
    device.open(0, JobClass.HIGH)
    device.open(1, JobClass.BEST_EFFORT)
    device.submit(1, 1, 1, 40, Plan(PlanKind.PREEMPTIBLE, whole_ns=900_000, stop_ns=8_000))
    device.work(0)
    assert device.streams[1][0].told_to_stop
    device.drain()


@pytest.mark.parametrize("policy", ["tally", "kernel", "timeslice"])
def test_a_launch_that_another_one_of_its_session_waits_for_goes_in_the_end(policy: str) -> None:
    """Queue 1 never ends by itself; queue 2 goes beside it, when high is idle, and never before."""
    device = Device(policy, LIMITS)
    device.open(0, JobClass.HIGH)
    device.open(1, JobClass.BEST_EFFORT)
    device.open(2, JobClass.BEST_EFFORT)
    device.submit(1, 1, 1, 1, Plan())
    device.submit(2, 7, 3, 1, Plan())
    device.submit(1, 2, 2, 1, Plan())
    assert device.busy_queues() == [1]
    if policy != "timeslice":
        device.work(0)
        device.advance(10 * BYPASS_NS)
        assert device.busy_queues() == [1], "high is busy"
        device.end_work(0, 1)
    device.advance(BYPASS_NS + LIMITS.gap_wait_ns_max)
    assert device.busy_queues() == [1, 2], "and nothing of another session"
    device.drain()
