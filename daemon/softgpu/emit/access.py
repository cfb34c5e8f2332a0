"""Accesses to memory: where their addresses lie, and tests that let them take a fast path.

An access with one address is a scalar one. Where the addresses of lanes are known to run in line
(see analysis/shapes.py), code compares a group's first and last address with that line. Each access
checks where its addresses lie; what is inside the launch's region but not mapped faults by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..abi import SHARED_WINDOW, SPACE_GENERIC, SPACE_SHARED
from ..ir import Address, Instruction, Operand, Register, Symbol
from .builder import LANES, Value, integer
from .neighbours import Test

if TYPE_CHECKING:
    from .emitter import Emitter


@dataclass(slots=True)
class Access:
    """`count` elements of `bytes` at each address; `step`: how addresses run along a group's lanes.

    `address` is `base` plus `offset`; several accesses may share a base, and a test of it."""

    address: Value
    shared: bool
    bytes: int
    count: int
    step: int | None
    base: Value | None = None
    offset: int = 0
    register: Register | None = None

    @property
    def type(self) -> str:
        return f"i{self.bytes * 8}"

    @property
    def total(self) -> int:
        return self.bytes * self.count

    @property
    def is_pair(self) -> bool:
        """A vector that one instruction of the CPU moves."""
        return self.count > 1 and self.total in (8, 16)

    @property
    def whole(self) -> str:
        """The type in which that instruction moves it: LLVM would take an i128 apart."""
        return "i64" if self.total == 8 else "<2 x i64>"

    @property
    def space(self) -> int:
        return SPACE_SHARED if self.shared else SPACE_GENERIC


def space_of(ins: Instruction) -> str:
    for mod in ins.mods:
        base = mod.split("__")[0]
        if base in ("global", "const", "shared", "local", "param"):
            return base
    return "generic"


def make_access(e: Emitter, ins: Instruction, operand: Operand, bytes_: int, count: int) -> Access:
    if not isinstance(operand, Address):
        raise e.error("an address in brackets is needed")
    space = space_of(ins)
    shared = space == "shared"
    if (
        space == "generic"
        and isinstance(operand.base, Symbol)
        and operand.base.variable is not None
    ):
        shared = operand.base.variable.space == "shared"
    base = e.read(operand.base, "i64")
    if shared:  # 32 bits, as [register+offset] is together; a base may be "negative"
        base = e.b.resize(e.b.resize(base, "i32"), "i64", signed=True)
    address = e.b.add(base, integer("i64", operand.offset))
    if shared:
        address = e.b.and_(address, integer("i64", 0xFFFFFFFF))
    shape = e.shapes.of(operand)
    step = None if shape is None else shape.stride
    register = operand.base if isinstance(operand.base, Register) else None
    return Access(address, shared, bytes_, count, step, base, operand.offset, register)


def is_inside(e: Emitter, access: Access, address: Value) -> tuple[Value, Value]:
    """Whether a scalar address may be accessed directly, and the pointer."""
    b = e.b
    shift = access.total.bit_length() - 1
    if access.shared:
        offset = address
        limit: Value = integer("i64", SHARED_WINDOW - LANES * access.total >> shift)
        pointer = b.value("ptr", False, f"getelementptr i8, ptr %f.shared, i64 {address.text}")
    else:
        offset = b.sub(address, Value("i64", "%f.region_base"))
        limit = b.lshr(Value("i64", "%f.region_limit"), integer("i64", shift))
        pointer = b.cast("inttoptr", address, "ptr")
    # Rotated right, a misaligned offset is larger than any limit.
    turned = b.intrinsic("fshr", "i64", offset, offset, integer("i64", shift)) if shift else offset
    return b.icmp("ult", turned, limit), pointer


def resolve(e: Emitter, access: Access) -> str:
    """The pointer of a scalar access, wherever it may be."""
    b = e.b
    fast, pointer = is_inside(e, access, access.address)
    slow, done = b.fresh_label("reach"), b.fresh_label("reached")
    start = b.current
    b.line(f"br i1 {fast.text}, label %{done}, label %{slow}, !prof !1")
    b.label(slow)
    found = e.call_helper(
        "access",
        "ptr",
        f"ptr %w, i64 {access.address.text}, i32 {access.total}, i32 {access.space}",
    )
    b.jump(done)
    b.label(done)
    name = b.name()
    b.line(f"{name} = phi ptr [ {pointer.text}, %{start} ], [ {found.text}, %{slow} ]")
    return name


def gather_test(e: Emitter, access: Access, base: Value) -> Value:
    """Whether all lanes that run have addresses that can be loaded from directly; one test for all
    accesses that share a base, as in line_test."""
    b = e.b
    low, high = e.neighbours.span(e, access)
    key = (access.register.index if access.register else -1, access.total, access.shared, None)
    known = e.neighbours.tests.get(key) if access.register is not None else None
    if known is not None and known.covers(access):
        return known.good
    shift = access.total.bit_length() - 1
    at = b.add(base, integer("i64", low))
    if access.shared:
        span = high - low + access.total
        limit: Value = integer("i64", max(SHARED_WINDOW - span, 0) >> shift)
    else:
        at = b.sub(at, Value("i64", "%f.region_base"))
        limit = b.lshr(Value("i64", "%f.region_limit"), integer("i64", shift))
    turned = b.intrinsic("fshr", "i64", at, at, integer("i64", shift)) if shift else at
    inside = b.mask_bits(b.icmp("ult", turned, limit))
    outside = b.and_(e.mask, b.not_(inside))
    good = b.icmp("eq", outside, integer("i32", 0))
    if access.register is not None and e.guard_lanes is None and e.depth == 0:
        e.neighbours.tests[key] = Test(good, [], low, high)
    return good


def line_test(e: Emitter, access: Access, group: int) -> tuple[Value, list[Value]]:
    """Whether every group's addresses are in line, inside and aligned; the groups' pointers.

    One test of a base serves all accesses of the block that use it (see neighbours.py)."""
    b = e.b
    base = access.base if access.base is not None else access.address
    offset = access.offset if access.base is not None else 0
    low, high = e.neighbours.span(e, access)
    key = (
        access.register.index if access.register else -1,
        access.total,
        access.shared,
        access.step,
    )
    known = e.neighbours.tests.get(key) if access.register is not None else None
    if e.guard_lanes is not None and (access.step == 0 or access.count > 1):
        known = None  # these need all lanes to run, and here some may not
    if known is None or not known.covers(access):
        good, starts = _test(e, access, base, group, low, high)
        known = Test(good, starts, low, high)
        if access.register is not None and e.guard_lanes is None and e.depth == 0:
            e.neighbours.tests[key] = known
    good, starts = known.good, known.starts
    pointers = []
    for start in starts:
        at = b.add(start, integer("i64", offset))
        if access.shared:
            pointers.append(
                b.value("ptr", False, f"getelementptr i8, ptr %f.shared, i64 {at.text}")
            )
        else:
            pointers.append(b.cast("inttoptr", at, "ptr"))
    return good, pointers


def _test(
    e: Emitter, access: Access, base: Value, group: int, low: int, high: int
) -> tuple[Value, list[Value]]:
    b = e.b
    step = access.step or 0
    shift = access.total.bit_length() - 1
    good: Value | None = None
    starts = []
    for first in range(0, LANES, group):
        start, end = b.lane(base, first), b.lane(base, first + group - 1)
        straight = b.icmp("eq", b.sub(end, start), integer("i64", step * (group - 1)))
        at = b.add(start, integer("i64", low))
        if access.shared:
            span = high - low + LANES * access.total
            limit: Value = integer("i64", max(SHARED_WINDOW - span, 0) >> shift)
        else:
            at = b.sub(at, Value("i64", "%f.region_base"))
            limit = b.lshr(Value("i64", "%f.region_limit"), integer("i64", shift))
        # Rotated right, a misaligned offset is larger than any limit.
        turned = b.intrinsic("fshr", "i64", at, at, integer("i64", shift)) if shift else at
        both = b.and_(straight, b.icmp("ult", turned, limit))
        good = both if good is None else b.and_(good, both)
        starts.append(start)
    assert good is not None
    if step == 0 or access.count > 1:
        good = b.and_(good, b.icmp("eq", e.mask, integer("i32", -1)))
    return good, starts


def part_mask(e: Emitter, mask: Value, first: int, group: int) -> str:
    b = e.b
    if group == LANES:
        return mask.text
    picks = ", ".join(f"i32 {i}" for i in range(first, first + group))
    name = b.name()
    b.line(f"{name} = shufflevector {mask}, {mask.full_type} poison, <{group} x i32> <{picks}>")
    return name
