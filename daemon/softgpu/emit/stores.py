"""Stores: one address, addresses in line, and C for all that is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .access import Access, line_test, part_mask, resolve
from .builder import LANES, Value

if TYPE_CHECKING:
    from .emitter import Emitter


def store(e: Emitter, access: Access, values: list[Value], volatile: bool = False) -> None:
    """Write integers to the current lanes' addresses."""
    b = e.b
    if volatile and access.is_pair:
        _store_whole(e, access, values)
        return
    if not access.address.per_lane and not any(v.per_lane for v in values):
        pointer = resolve(e, access)
        word = "volatile " if volatile else ""
        for i, value in enumerate(values):
            where = b.offset(pointer, i * access.bytes)
            b.line(f"store {word}{value}, ptr {where}, align {access.bytes}")
        return
    values = [b.splat(v) for v in values]
    group = e.shapes.group
    if (
        access.address.per_lane
        and group
        and access.step == access.total
        and not volatile
        and (access.count == 1 or group == LANES)
    ):
        _store_in_line(e, access, values, group)
        return
    _store_slow(e, access, values)


def _store_whole(e: Emitter, access: Access, values: list[Value]) -> None:
    """A short vector whose elements are written at once, as GPUs do and look-back scans rely on."""
    b = e.b
    if not access.address.per_lane and not any(v.per_lane for v in values):
        pointer, vector = resolve(e, access), "poison"
        part = f"<{access.count} x {access.type}>"
        for i, value in enumerate(values):
            name = b.name()
            b.line(f"{name} = insertelement {part} {vector}, {value}, i64 {i}")
            vector = name
        whole = b.name()
        b.line(f"{whole} = bitcast {part} {vector} to {access.whole}")
        b.line(f"store volatile {access.whole} {whole}, ptr {pointer}, align 8")
        return
    slot, data = e.scratch("address", access.address), e.scratch_slot("whole", 16)
    _store_rows(e, access, [b.splat(v) for v in values], Value("ptr", data))
    e.call_helper(
        "store", "void",
        f"ptr %w, i32 {e.mask.text}, ptr {slot}, ptr {data}, i32 {access.total}, "
        f"i32 {access.space}",
    )  # fmt: skip


def _store_slow(e: Emitter, access: Access, values: list[Value]) -> None:
    for i, value in enumerate(values):
        slot = e.scratch("address", access.address, i * access.bytes)
        data = e.scratch("value", value)
        e.call_helper(
            "store", "void",
            f"ptr %w, i32 {e.mask.text}, ptr {slot}, ptr {data}, i32 {access.bytes}, "
            f"i32 {access.space}",
        )  # fmt: skip


def _store_in_line(e: Emitter, access: Access, values: list[Value], group: int) -> None:
    b = e.b
    mask = e.mask_lanes
    good, pointers = line_test(e, access, group)
    fast, slow, done = (b.fresh_label(n) for n in ("line", "lanes", "stored"))
    b.line(f"br i1 {good.text}, label %{fast}, label %{slow}, !prof !1")
    b.label(fast)
    if access.count > 1:
        _store_rows(e, access, values, pointers[0])
    else:
        _store_groups(e, access, values[0], pointers, group, mask)
    b.jump(done)
    b.label(slow)
    _store_slow(e, access, values)
    b.jump(done)
    b.label(done)


def _store_rows(e: Emitter, access: Access, values: list[Value], pointer: Value) -> None:
    b = e.b
    vectors, width = [v.text for v in values], LANES
    while len(vectors) > 1:  # neighbours end to end
        picks = ", ".join(f"i32 {i}" for i in range(2 * width))
        joined = []
        for left, right in zip(vectors[::2], vectors[1::2], strict=True):
            name = b.name()
            have = f"<{width} x {access.type}>"
            b.line(
                f"{name} = shufflevector {have} {left}, {have} {right}, "
                f"<{2 * width} x i32> <{picks}>"
            )
            joined.append(name)
        vectors, width = joined, 2 * width
    count = access.count
    wide = f"<{width} x {access.type}>"
    picks = ", ".join(f"i32 {(i % count) * LANES + i // count}" for i in range(width))
    name = b.name()
    b.line(f"{name} = shufflevector {wide} {vectors[0]}, {wide} poison, <{width} x i32> <{picks}>")
    b.line(f"store {wide} {name}, ptr {pointer.text}, align {access.total}")


def _store_groups(
    e: Emitter, access: Access, value: Value, pointers: list[Value], group: int, mask: Value
) -> None:
    b = e.b
    part = f"<{group} x {access.type}>"
    symbol = f"@llvm.masked.store.v{group}{access.type}.p0"
    b.module.declare(symbol, f"declare void {symbol}({part}, ptr, i32, <{group} x i1>)")
    for i, pointer in enumerate(pointers):
        lanes = part_mask(e, mask, i * group, group)
        piece = value.text
        if group < LANES:
            picks = ", ".join(f"i32 {k}" for k in range(i * group, (i + 1) * group))
            piece = b.name()
            b.line(
                f"{piece} = shufflevector {value}, {value.full_type} poison, "
                f"<{group} x i32> <{picks}>"
            )
        b.line(
            f"call void {symbol}({part} {piece}, ptr {pointer.text}, i32 {access.bytes}, "
            f"<{group} x i1> {lanes})"
        )
