"""Loads: one address, addresses in line, the CPU's gather, and C for all that is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .access import Access, gather_test, line_test, part_mask, resolve
from .builder import LANES, Value, integer

if TYPE_CHECKING:
    from .emitter import Emitter


def load(e: Emitter, access: Access, volatile: bool = False) -> list[Value]:
    """The elements at the current lanes' addresses, as integers."""
    if volatile and access.is_pair:
        return _load_whole(e, access)
    if not access.address.per_lane:
        pointer = resolve(e, access)
        word = "volatile " if volatile else ""
        return [
            e.b.value(
                access.type, False,
                f"load {word}{access.type}, ptr {e.b.offset(pointer, i * access.bytes)}, "
                f"align {access.bytes}",
            )
            for i in range(access.count)
        ]  # fmt: skip
    group = e.shapes.group
    in_line = group and access.step in (0, access.total) and not volatile
    if in_line and (access.count == 1 or group == LANES):
        return _load_in_line(e, access, group)
    if access.bytes in (4, 8) and not volatile and e.program.gathers:
        return _load_gathered(e, access)
    return _load_slow(e, access)


def _load_whole(e: Emitter, access: Access) -> list[Value]:
    """A short vector whose elements are read at once, as GPUs do and look-back scans rely on."""
    b = e.b
    if not access.address.per_lane:
        whole, name = b.name(), b.name()
        b.line(f"{whole} = load volatile {access.whole}, ptr {resolve(e, access)}, align 8")
        b.line(f"{name} = bitcast {access.whole} {whole} to <{access.count} x {access.type}>")
        return [
            b.value(access.type, False,
                    f"extractelement <{access.count} x {access.type}> {name}, i64 {i}")
            for i in range(access.count)
        ]  # fmt: skip
    slot, out = e.scratch("address", access.address), e.scratch_slot("whole", 16)
    e.call_helper(
        "load", "void",
        f"ptr %w, i32 {e.mask.text}, ptr {slot}, ptr {out}, i32 {access.total}, i32 {access.space}",
    )  # fmt: skip
    return [
        b.value(access.type, True, f"freeze {value}")
        for value in _load_rows(e, access, Value("ptr", out))
    ]


def _load_slow(e: Emitter, access: Access) -> list[Value]:
    b = e.b
    results = []
    for i in range(access.count):
        slot, out = e.scratch("address", access.address, i * access.bytes), e.scratch_slot("out")
        e.call_helper(
            "load", "void",
            f"ptr %w, i32 {e.mask.text}, ptr {slot}, ptr {out}, i32 {access.bytes}, "
            f"i32 {access.space}",
        )  # fmt: skip
        raw = b.load(access.type, out, 64, True)
        results.append(b.value(access.type, True, f"freeze {raw}"))
    return results


def _load_gathered(e: Emitter, access: Access) -> list[Value]:
    """Any addresses, as long as all are in the region or the window: the CPU's own gather."""
    b = e.b
    mask = e.mask_lanes
    base = access.base if access.base is not None else access.address
    offset = access.offset if access.base is not None else 0
    good = gather_test(e, access, base)
    fast, slow, done = (b.fresh_label(n) for n in ("gather", "lanes", "loaded"))
    b.line(f"br i1 {good.text}, label %{fast}, label %{slow}, !prof !1")
    b.label(fast)
    suffix = f"v32{access.type}.v32p0"
    full = f"<{LANES} x {access.type}>"
    symbol = f"@llvm.masked.gather.{suffix}"
    b.module.declare(symbol, f"declare {full} {symbol}(<32 x ptr>, i32, <32 x i1>, {full})")
    quick = []
    for i in range(access.count):
        at = b.add(base, integer("i64", offset + i * access.bytes))
        pointers = b.name()
        if access.shared:
            narrow = b.resize(at, "i32")
            b.line(f"{pointers} = getelementptr i8, ptr %f.shared, {narrow}")
        else:
            b.line(f"{pointers} = inttoptr {at} to <32 x ptr>")
        call = (
            f"call {full} {symbol}(<32 x ptr> {pointers}, i32 {access.bytes}, "
            f"{mask}, {full} zeroinitializer)"
        )
        quick.append(b.value(access.type, True, call))
    fast_end = b.current
    b.jump(done)
    b.label(slow)
    lanes = _load_slow(e, access)
    slow_end = b.current
    b.jump(done)
    b.label(done)
    return _join(e, access, quick, fast_end, lanes, slow_end)


def _join(
    e: Emitter, access: Access, quick: list[Value], fast: str, lanes: list[Value], slow: str
) -> list[Value]:
    results = []
    for x, y in zip(quick, lanes, strict=True):
        phi = f"phi {x.full_type} [ {x.text}, %{fast} ], [ {y.text}, %{slow} ]"
        results.append(e.b.value(access.type, True, phi))
    return results


def _load_in_line(e: Emitter, access: Access, group: int) -> list[Value]:
    b = e.b
    mask = e.mask_lanes
    good, pointers = line_test(e, access, group)
    fast, slow, done = (b.fresh_label(n) for n in ("line", "lanes", "loaded"))
    b.line(f"br i1 {good.text}, label %{fast}, label %{slow}, !prof !1")
    b.label(fast)
    if access.count > 1:
        quick = _load_rows(e, access, pointers[0])
    elif access.step == 0:
        quick = [_load_repeated(e, access, pointers, group)]
    else:
        quick = [_load_groups(e, access, pointers, group, mask)]
    fast_end = b.current
    b.jump(done)
    b.label(slow)
    lanes = _load_slow(e, access)
    slow_end = b.current
    b.jump(done)
    b.label(done)
    return _join(e, access, quick, fast_end, lanes, slow_end)


def _load_rows(e: Emitter, access: Access, pointer: Value) -> list[Value]:
    """Vectors side by side: one wide load, taken apart."""
    b = e.b
    count, wide = access.count, f"<{LANES * access.count} x {access.type}>"
    name = b.name()
    b.line(f"{name} = load {wide}, ptr {pointer.text}, align {access.total}")
    results = []
    for i in range(count):
        picks = ", ".join(f"i32 {lane * count + i}" for lane in range(LANES))
        results.append(
            b.value(access.type, True,
                    f"shufflevector {wide} {name}, {wide} poison, <{LANES} x i32> <{picks}>")
        )  # fmt: skip
    return results


def _load_repeated(e: Emitter, access: Access, pointers: list[Value], group: int) -> Value:
    """One element a group."""
    b = e.b
    full = f"<{LANES} x {access.type}>"
    vector = "poison"
    for i, pointer in enumerate(pointers):
        one = b.load(access.type, pointer.text, access.bytes)
        name = b.name()
        b.line(f"{name} = insertelement {full} {vector}, {access.type} {one.text}, i64 {i}")
        vector = name
    picks = ", ".join(f"i32 {lane // group}" for lane in range(LANES))
    return b.value(
        access.type,
        True,
        f"shufflevector {full} {vector}, {full} poison, <{LANES} x i32> <{picks}>",
    )


def _load_groups(
    e: Emitter, access: Access, pointers: list[Value], group: int, mask: Value
) -> Value:
    b = e.b
    part = f"<{group} x {access.type}>"
    symbol = f"@llvm.masked.load.v{group}{access.type}.p0"
    b.module.declare(symbol, f"declare {part} {symbol}(ptr, i32, <{group} x i1>, {part})")
    parts = []
    for i, pointer in enumerate(pointers):
        lanes = part_mask(e, mask, i * group, group)
        name = b.name()
        b.line(
            f"{name} = call {part} {symbol}(ptr {pointer.text}, i32 {access.bytes}, "
            f"<{group} x i1> {lanes}, {part} zeroinitializer)"
        )
        parts.append(name)
    width = group
    while len(parts) > 1:
        picks = ", ".join(f"i32 {i}" for i in range(2 * width))
        joined = []
        for left, right in zip(parts[::2], parts[1::2], strict=True):
            name = b.name()
            have = f"<{width} x {access.type}>"
            b.line(
                f"{name} = shufflevector {have} {left}, {have} {right}, "
                f"<{2 * width} x i32> <{picks}>"
            )
            joined.append(name)
        parts, width = joined, 2 * width
    return Value(access.type, parts[0], True)
