"""The floor under best-effort work: none by default, and its share beside high without pauses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tally.scheduler.instructions import Preempt, SetTimer, Start
from tally.scheduler.plan import Plan, PlanKind
from tally.scheduler.sim.model import Client, Kernel, Op, Scenario
from tally.scheduler.sim.model import Device as VirtualGpu
from tally.scheduler.sim.run import default_limits, simulate

from .device import Device
from .steps import GUARDED, HIGH, LIMITS, LONG, LOW, SHORT, US, make

TENTH = replace(LIMITS, best_effort_permil_min=100)
QUANTUM = LIMITS.quantum_ns


def test_beside_steady_high_work_nothing_starts_by_default() -> None:
    s = make()
    s.launch(0, 0, 0, 1, 1, SHORT)
    assert s.launch(0, 10, 10, 2, 10, SHORT) == []
    assert s.timer(10**12) == []


def test_best_effort_starts_once_it_has_saved_a_quantum_and_is_stopped_when_that_is_used() -> None:
    s = make(limits=TENTH)
    s.launch(0, 0, 0, 1, 1, SHORT)
    assert s.launch(0, 10, 10, 2, 100, LONG) == [SetTimer(10 * QUANTUM)]
    out = s.timer(10 * QUANTUM)
    assert out[0] == Start(2, 0, 100, 0, GUARDED)
    end = 10 * QUANTUM + 1_111_112  # it saves while it spends: 1000 us at nine tenths
    assert out[1:] == [SetTimer(end)]
    assert s.timer(end)[0] == Preempt(2)


def test_what_runs_in_gaps_counts() -> None:
    """A fifth of the time in gaps, a tenth wanted: high is left alone."""
    s = make(limits=replace(TENTH, hysteresis_ns=0, gap_wait_ns_max=0))
    s.launch(0, 10, 10, 1, 100, LONG)
    now = 0
    for request in range(50):
        s.launch(now, 0, 0, 10 + request, 1, SHORT)
        s.preempted(now, 1, 0, 0)
        now += 800 * US
        s.timer(now)
        out = s.finished(now, 10 + request, 0, 1)
        assert any(isinstance(i, Start) and i.launch == 1 for i in out), "the gap is used"
        now += 200 * US
    assert s.session_stats(10).preemptions == 50


def test_an_unstoppable_launch_is_paid_for_afterwards() -> None:
    s = make(limits=TENTH)
    s.launch(0, 0, 0, 1, 1, SHORT)
    s.launch(0, 10, 10, 2, 1, Plan(PlanKind.WHOLE, whole_ns=20_000 * US))
    assert isinstance(s.timer(10 * QUANTUM)[0], Start)
    s.finished(30 * QUANTUM, 2, 0, 1)
    s.launch(30 * QUANTUM, 10, 10, 3, 1, SHORT)
    debt = 20 * QUANTUM - 3 * QUANTUM  # a tenth of 30 was earned, 20 were used
    assert s.timer(30 * QUANTUM + 10 * (debt + QUANTUM) - 10 * US)[:1] == [
        SetTimer(30 * QUANTUM + 10 * (debt + QUANTUM))
    ]


@pytest.mark.parametrize("permil", [50, 100, 500, 900])
def test_the_share_is_kept_beside_high_that_never_pauses(permil: int) -> None:
    device = Device("tally", replace(LIMITS, best_effort_permil_min=permil))
    device.open(0, HIGH)
    device.open(1, LOW)
    device.submit(0, 0, 0, 1000, Plan(whole_ns=10**9))
    for launch in range(1, 50):
        device.submit(1, 1, launch, 500, LONG)
    step = 50 * US
    for _ in range(4000):
        device.advance(step)
        for queue in device.busy_queues():
            if queue == 1:
                device.run_blocks(1, 5)
    share = device.beside_ns / device.now_ns
    assert permil / 1000 * 0.9 <= share <= permil / 1000 * 1.001


def simulated(percent: float) -> tuple[float, float]:
    """High's launches a second, and best-effort's share of the time, on a virtual GPU."""
    gpu = VirtualGpu(
        sms=10, contention=0.0, launch_ns=4000, gap_ns=1000, completion_ns=3000, flag_ns=2000,
        skip_ns=500, guard_ns=0, reply_ns=5000,
    )  # fmt: skip
    kernels = [
        Kernel("high", 5, 1, 30_000, sigma=0.0, spread=0.0),
        Kernel("low", 4000, 1, 30_000, sigma=0.0, spread=0.0),
    ]
    clients = [
        Client("high", HIGH, [[Op(0, 2000, repeat=100)]]),  # hundreds of launches in the stream
        Client("more", HIGH, [[Op(0, 2000, repeat=100)]]),
        Client("low", LOW, [[Op(1, 100)]]),
    ]
    limits = replace(default_limits(), best_effort_permil_min=round(percent * 10))
    result = simulate(Scenario(kernels, clients, gpu), "tally", 2.0, limits=limits, check=True)
    return result.clients[0].launches / 2.0, result.clients[2].stats.gpu_ns / 2e9


def test_on_a_virtual_gpu() -> None:
    alone, nothing = simulated(0)
    assert nothing < 0.02
    for percent in (5, 20):
        high, share = simulated(percent)
        assert percent / 100 * 0.7 <= share <= percent / 100 * 1.2
        assert high >= alone * (1 - 1.5 * percent / 100)
