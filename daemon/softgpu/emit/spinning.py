"""Loops that wait for other threads let them run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..analysis.cfg import Block
from ..analysis.waiting import polled
from .builder import Value, integer, lanes_constant

if TYPE_CHECKING:
    from .emitter import Emitter


def spin(e: Emitter, block: Block) -> None:
    """Let other warps run now and then: this loop may wait for them."""
    b = e.b
    slot = f"%spin{block.index}"
    count = b.add(b.load("i32", slot, 4), integer("i32", 1))
    b.store(count, slot, 4)
    turn = e.turn = b.icmp("eq", b.and_(count, integer("i32", 15)), integer("i32", 0))
    yes, no = b.fresh_label("yield"), b.fresh_label("go")
    b.branch(turn, yes, no)
    b.label(yes)
    e.call_helper("yield", "void", f"ptr %w, i64 {_seen(e, block).text}")
    b.jump(no)
    b.label(no)


def _seen(e: Emitter, block: Block) -> Value:
    """A digest, not 0, of what the loop reads and where: while it stays, the loop waits."""
    b = e.b
    digest: Value = integer("i64", 2 * block.index + 1)
    for register in polled(e.graph, block.index):
        value = b.resize(e.read(register, register.type.llvm), "i64")
        if value.per_lane:
            lanes = lanes_constant("i64", [2 * lane + 1 for lane in range(32)])
            symbol = "@llvm.vector.reduce.add.v32i64"
            b.module.declare(symbol, f"declare i64 {symbol}(<32 x i64>)")
            value = b.value("i64", False, f"call i64 {symbol}({b.mul(value, lanes)})")
        digest = b.add(b.mul(digest, integer("i64", 0x9E3779B97F4A7C15)), value)
    return b.or_(digest, integer("i64", 1))
