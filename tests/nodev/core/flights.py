"""What the device of the tests has been given: jobs, and their starts in flight."""

from __future__ import annotations

from dataclasses import dataclass, field

from tally.scheduler.plan import Plan


@dataclass
class Job:
    session: int
    queue: int
    blocks: int
    plan: Plan
    order: int
    ran: list[int] = field(default_factory=list)
    starts: int = 0
    submitted_ns: int = 0
    waits: bool = False  # once it was told to stop, its blocks wait for such as have not begun

    def __post_init__(self) -> None:
        self.ran = [0] * self.blocks

    @property
    def complete(self) -> bool:
        return all(self.ran)


@dataclass
class Flight:
    launch: int
    lo: int
    hi: int
    guarded: bool
    charge_ns: int
    started_ns: int
    told_to_stop: bool = False
    told_ns: int = 0
    rescued: bool = False
    ran: int = 0
