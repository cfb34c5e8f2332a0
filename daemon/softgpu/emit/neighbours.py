"""Accesses of one block that share a base register: one test of the base serves them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..analysis.uses import writes
from ..ir import Address, Register
from .builder import Value

if TYPE_CHECKING:
    from .access import Access
    from .emitter import Emitter

# Accesses of up to 32 lanes x 32 bytes, and offsets that spread this far, stay inside the margin
# that native/softgpu/block/block.c leaves at the end of a region.
SPREAD_MAX = 2048

Key = tuple[int, int, bool, int | None]


@dataclass(slots=True, frozen=True)
class Test:
    """Whether a base's groups are in line, and their first values, for a span of offsets."""

    good: Value
    starts: list[Value]
    low: int
    high: int

    def covers(self, access: Access) -> bool:
        inside = self.low <= access.offset <= self.high
        return inside and (access.offset - self.low) % access.total == 0


class Neighbours:
    """Tests made so far in the block that is being emitted."""

    def __init__(self) -> None:
        self.tests: dict[Key, Test] = {}

    def written(self, register: Register) -> None:
        """The register has a new value: tests of the old one are void."""
        for key in [k for k in self.tests if k[0] == register.index]:
            del self.tests[key]

    def span(self, e: Emitter, access: Access) -> tuple[int, int]:
        """Lowest and highest offset that one test should cover: of this access and those after it
        in the block, while the base keeps its value."""
        low = high = access.offset
        if access.register is None:
            return low, high
        following = e.block.instructions
        if e.ins is not None:
            following = following[e.position :]
        for ins in following:
            for operand in ins.operands:
                if isinstance(operand, Address) and operand.base is access.register:
                    offset = operand.offset
                    spread = max(high, offset) - min(low, offset)
                    if spread <= SPREAD_MAX and (offset - access.offset) % access.total == 0:
                        low, high = min(low, offset), max(high, offset)
            if access.register in writes(ins):
                break
        return low, high
