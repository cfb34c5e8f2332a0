"""A scheduler led step by step, its state checked after each, and what such tests share."""

from __future__ import annotations

from tally.scheduler.core import JobClass, Scheduler
from tally.scheduler.instructions import Instruction, StartFlag
from tally.scheduler.limits import Limits
from tally.scheduler.plan import Plan, PlanKind

HIGH, LOW = JobClass.HIGH, JobClass.BEST_EFFORT
US = 1000
LIMITS = Limits(
    turnaround_ns_max=30 * US,
    alone_ns_max=0,
    hysteresis_ns=50 * US,
    gap_wait_ns_max=500 * US,
    quantum_ns=1000 * US,
    timeslice_ns=1000 * US,
    preemptible_depth=1,
    stops_permil_max=20,
    best_effort_permil_min=0,
    watchdog_times=0,  # its own tests have it on
    watchdog_ns_min=300_000,
)
SHORT = Plan(PlanKind.WHOLE, whole_ns=10 * US)
LONG = Plan(PlanKind.PREEMPTIBLE, whole_ns=5000 * US, stop_ns=20 * US)
SLICED = Plan(PlanKind.SLICED, slice_blocks=8, whole_ns=60 * US, slice_ns=15 * US)
FINAL, GUARDED, RESUMED = StartFlag.FINAL, StartFlag.PREEMPTIBLE, StartFlag.RESUMED


class Checked:
    """A scheduler whose state is checked after every call."""

    def __init__(self, sched: Scheduler) -> None:
        self.sched = sched

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        def call(*args: object, **words: object) -> list[Instruction]:
            out: list[Instruction] = getattr(self.sched, name)(*args, **words)
            self.sched.validate()
            return out

        return call


def make(policy: str = "tally", limits: Limits = LIMITS, high: int = 1, low: int = 2) -> Checked:
    """Sessions 0.. are high, 10.. best-effort."""
    sched = Checked(Scheduler(policy, limits=limits))
    for i in range(high):
        sched.open(0, i, HIGH)
    for i in range(low):
        sched.open(0, 10 + i, LOW)
    return sched
