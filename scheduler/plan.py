"""A plan: how launches of one signature are run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from tally._native import lib

if TYPE_CHECKING:
    from tally._native import SchedPlan


class PlanKind(IntEnum):
    WHOLE = lib.TALLY_SCHED_WHOLE
    SLICED = lib.TALLY_SCHED_SLICED
    PREEMPTIBLE = lib.TALLY_SCHED_PREEMPTIBLE


@dataclass(frozen=True)
class Plan:
    """How launches of one signature are run. Times are estimates in ns; 0: not known."""

    kind: PlanKind = PlanKind.WHOLE
    slice_blocks: int = 0
    whole_ns: int = 0
    slice_ns: int = 0
    stop_ns: int = 0
    guardable: bool = False


def fill_plan(raw: SchedPlan, plan: Plan) -> None:
    for name in Plan.__annotations__:
        setattr(raw, name, int(getattr(plan, name)))
