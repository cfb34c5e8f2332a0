"""Records of what has been measured, for the tests of plans and profiles."""

from __future__ import annotations

from tally.scheduler.plans import Ability, PlanRecord

BOTH = Ability.GUARD | Ability.SLICE


def known(
    whole: int = 0, guarded: int = 0, stop: int = 0, abilities: Ability = BOTH, blocks: int = 2000,
    resident: int = 200, count: int = 5,
) -> PlanRecord:  # fmt: skip
    ns = (whole, guarded, 0, stop)
    counts = tuple(count if value else 0 for value in ns)
    return PlanRecord(1, blocks, ns, counts, 0, resident, abilities)  # type: ignore[arg-type]
