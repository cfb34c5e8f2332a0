"""What the scheduler core tells its owner to do, as Python objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import TYPE_CHECKING

from tally._native import lib

if TYPE_CHECKING:
    from tally._native import SchedInstruction


class StartFlag(IntFlag):
    NONE = 0
    PREEMPTIBLE = lib.TALLY_SCHED_START_PREEMPTIBLE
    FINAL = lib.TALLY_SCHED_START_FINAL
    RESUMED = lib.TALLY_SCHED_START_RESUMED


@dataclass(frozen=True)
class Start:
    launch: int
    lo: int
    hi: int
    level: int = 0
    flags: StartFlag = StartFlag.FINAL
    epoch: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Preempt:
    launch: int


@dataclass(frozen=True)
class Complete:
    launch: int


@dataclass(frozen=True)
class Dropped:
    launch: int


@dataclass(frozen=True)
class Closed:
    session: int


@dataclass(frozen=True)
class SetTimer:
    time_ns: int


@dataclass(frozen=True)
class Rescue:
    launch: int


Instruction = Start | Preempt | Complete | Dropped | Closed | SetTimer | Rescue


def decode(raw: SchedInstruction) -> Instruction:
    match int(raw.type):
        case lib.TALLY_SCHED_START:
            return Start(raw.launch, raw.lo, raw.hi, raw.level, StartFlag(raw.flags), raw.epoch)
        case lib.TALLY_SCHED_PREEMPT:
            return Preempt(raw.launch)
        case lib.TALLY_SCHED_COMPLETE:
            return Complete(raw.launch)
        case lib.TALLY_SCHED_DROPPED:
            return Dropped(raw.launch)
        case lib.TALLY_SCHED_CLOSED:
            return Closed(raw.session)
        case lib.TALLY_SCHED_SET_TIMER:
            return SetTimer(raw.time_ns)
        case lib.TALLY_SCHED_RESCUE:
            return Rescue(raw.launch)
        case other:
            raise AssertionError(f"instruction of unknown type {other}")
