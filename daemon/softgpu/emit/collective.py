"""Collectives of part of a warp where lanes have parted: lanes are held until all have come.

A lane that comes to `shfl.sync` and the like waits there for the others that its mask names, as on
hardware, while lanes elsewhere in the region run on. Once all lanes of a region are held, those
that are missing wait at another collective (`bar.warp.sync` in two branches) or will never come:
then all go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..analysis.cfg import Block
from .builder import Value, integer

if TYPE_CHECKING:
    from .emitter import Emitter


def hold(e: Emitter, block: Block, after: str) -> Value:
    """The lanes that run the block, which begins with a collective; the others wait there."""
    b, ins = e.b, block.instructions[0]
    arrived = taking_part = e.mask
    if ins.guard is not None:
        taking_part = b.and_(arrived, b.mask_bits(e.guard_value(ins.guard, ins.guard_negated)))
    absent = b.and_(b.load("i32", "%live", 4), b.not_(taking_part))
    missing = b.and_(e.read(ins.operands[-1], "i32"), absent)
    complete = b.mask_bits(b.icmp("eq", missing, integer("i32", 0)))
    let = b.load("i32", "%let", 4)
    ready = b.and_(arrived, b.or_(b.or_(complete, let), b.not_(taking_part)))
    rest = b.and_(arrived, b.not_(ready))
    b.store(rest, f"%pend{block.index}", 4)
    held = b.or_(b.load("i32", "%held", 4), rest)
    b.store(b.and_(held, b.not_(ready)), "%held", 4)
    b.store(b.and_(let, b.not_(ready)), "%let", 4)
    go = b.fresh_label("complete")
    b.branch(b.icmp("ne", ready, integer("i32", 0)), go, after)
    b.label(go)
    return ready


def let_go(e: Emitter, left: Value) -> None:
    """Where no lane of a region is left but those held, they may go on."""
    b = e.b
    running = b.and_(left, b.not_(b.load("i32", "%held", 4)))
    stuck = b.icmp("eq", running, integer("i32", 0))
    b.store(b.select(stuck, left, b.load("i32", "%let", 4)), "%let", 4)


def for_each_group(e: Emitter, members: Value, body: Callable[[Value], Value]) -> Value:
    """body(members of one group) for each group of lanes that name the same members, for whom its
    i32 result is; `members` differs between lanes."""
    b = e.b
    masks, result = b.spill(members), b.alloca("<32 x i32>")
    left = b.alloca("i32", 4)
    b.store(b.splat(integer("i32", 0)), result, 64)
    b.store(e.mask, left, 4)
    loop, done = b.fresh_label("group"), b.fresh_label("groups")
    inside = b.fresh_label("members")
    b.jump(loop)
    b.label(loop)
    remaining = b.load("i32", left, 4)
    b.branch(b.icmp("eq", remaining, integer("i32", 0)), done, inside)
    b.label(inside)
    first = b.intrinsic("cttz", "i32", remaining, flags=("i1 true",))
    where = b.value("ptr", False, f"getelementptr i32, ptr {masks}, i32 {first.text}")
    group = b.load("i32", where.text, 4)
    value = body(group)
    alike = b.mask_bits(b.icmp("eq", b.load("i32", masks, 64, True), group))
    # Whoever names other lanes than those that name it is wrong; it must not go round for ever.
    alike = b.or_(b.and_(alike, remaining), b.shl(integer("i32", 1), first))
    old = b.load("i32", result, 64, True)
    b.store(b.select(b.mask_lanes(alike), value, old), result, 64)
    b.store(b.and_(remaining, b.not_(alike)), left, 4)
    b.jump(loop)
    b.label(done)
    return b.load("i32", result, 64, True)
