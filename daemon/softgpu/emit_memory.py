"""Loads and stores.

An access with one address is a scalar one. Where the addresses of lanes are known to run in line
(see shapes.py), code compares a group's first and last address with that line, and takes a vector
access if they fit; everything else goes to C, lane by lane. Each access checks where its addresses
lie; what is inside the launch's region but not mapped faults by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .abi import SHARED_WINDOW, SPACE_GENERIC, SPACE_SHARED
from .emit_int import type_of
from .ir import LANES, Value, integer
from .neighbours import Test
from .param_space import is_param_slot, kernel_parameter, load_param, store_param
from .syntax import Address, Instruction, Operand, Register, Symbol, Vector
from .table import instruction

if TYPE_CHECKING:
    from .emitter import Emitter

SPACES = (
    "global const shared shared__cta shared__cluster local param param__entry param__func generic"
)
_CACHE = (
    "ca cg cs lu cv wb wt nc volatile relaxed acquire release weak mmio cta gpu sys cluster "
    "unified L1__evict_normal L1__evict_unchanged L1__evict_first L1__evict_last L1__no_allocate "
    "L2__evict_normal L2__evict_first L2__evict_last L2__cache_hint L2__64B L2__128B L2__256B"
)


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
    def space(self) -> int:
        return SPACE_SHARED if self.shared else SPACE_GENERIC


def space_of(ins: Instruction) -> str:
    for mod in ins.mods:
        base = mod.split("__")[0]
        if base in ("global", "const", "shared", "local", "param"):
            return base
    return "generic"


def _count(ins: Instruction) -> int:
    return 2 if "v2" in ins.mods else 4 if "v4" in ins.mods else 8 if "v8" in ins.mods else 1


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
    if shared:  # offsets have 32 bits
        base = e.b.and_(base, integer("i64", 0xFFFFFFFF))
    address = e.b.add(base, integer("i64", operand.offset))
    shape = e.shapes.of(operand)
    step = None if shape is None else shape.stride
    register = operand.base if isinstance(operand.base, Register) else None
    return Access(address, shared, bytes_, count, step, base, operand.offset, register)


# ---- addresses -----------------------------------------------------------------------------------


def _inside(e: Emitter, access: Access, address: Value) -> tuple[Value, Value]:
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


def _resolve(e: Emitter, access: Access) -> str:
    """The pointer of a scalar access, wherever it may be."""
    b = e.b
    fast, pointer = _inside(e, access, access.address)
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


# ---- loads ---------------------------------------------------------------------------------------


def load(e: Emitter, access: Access, volatile: bool = False) -> list[Value]:
    """The elements at the current lanes' addresses, as integers."""
    if not access.address.per_lane:
        pointer = _resolve(e, access)
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
    good = _gather_test(e, access, base)
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


def _gather_test(e: Emitter, access: Access, base: Value) -> Value:
    """Whether all lanes that run have addresses that can be loaded from directly; one test for all
    accesses that share a base, as in _line_test."""
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


def _line_test(e: Emitter, access: Access, group: int) -> tuple[Value, list[Value]]:
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


def _load_in_line(e: Emitter, access: Access, group: int) -> list[Value]:
    b = e.b
    mask = e.mask_lanes
    good, pointers = _line_test(e, access, group)
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


def _part_mask(e: Emitter, mask: Value, first: int, group: int) -> str:
    b = e.b
    if group == LANES:
        return mask.text
    picks = ", ".join(f"i32 {i}" for i in range(first, first + group))
    name = b.name()
    b.line(f"{name} = shufflevector {mask}, {mask.full_type} poison, <{group} x i32> <{picks}>")
    return name


def _load_groups(
    e: Emitter, access: Access, pointers: list[Value], group: int, mask: Value
) -> Value:
    b = e.b
    part = f"<{group} x {access.type}>"
    symbol = f"@llvm.masked.load.v{group}{access.type}.p0"
    b.module.declare(symbol, f"declare {part} {symbol}(ptr, i32, <{group} x i1>, {part})")
    parts = []
    for i, pointer in enumerate(pointers):
        lanes = _part_mask(e, mask, i * group, group)
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


@instruction("ld", "ldu", mods=f"v2 v4 v8 {SPACES} {_CACHE}", operands=(2, 4))
def ld(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    count = _count(ins)
    target, where = ins.operands[:2]
    if type_.bits == 128:
        values = _wide_values(e, load(e, make_access(e, ins, where, 8, 2)))
    elif isinstance(where, Address) and is_param_slot(e, where):
        values = load_param(e, where, type_.bytes, count)
    elif isinstance(where, Address) and (found := kernel_parameter(e, where, type_.bytes * count)):
        values = [
            e.b.value(
                type_.llvm, False,
                f"load {type_.llvm}, ptr {e.b.offset('%args', found - 1 + i * type_.bytes)}, "
                f"align {min(type_.bytes, 16)}, !invariant.load !0",
            )
            for i in range(count)
        ]  # fmt: skip
    else:
        volatile = bool({"volatile", "relaxed", "acquire", "mmio"} & set(ins.mods))
        values = load(e, make_access(e, ins, where, type_.bytes, count), volatile)
    if type_.bits == 1:
        raise e.error("predicates do not lie in memory")
    targets = target.parts if isinstance(target, Vector) else (target,)
    if len(targets) != len(values):
        raise e.error("vector of the wrong length")
    for one, value in zip(targets, values, strict=True):
        e.write(one, value, type_.signed)


def _wide_values(e: Emitter, parts: list[Value]) -> list[Value]:
    b = e.b
    low, high = (b.resize(p, "i128") for p in parts)
    return [b.or_(low, b.shl(high, integer("i128", 64)))]


# ---- stores --------------------------------------------------------------------------------------


def store(e: Emitter, access: Access, values: list[Value], volatile: bool = False) -> None:
    """Write integers to the current lanes' addresses."""
    b = e.b
    if not access.address.per_lane and not any(v.per_lane for v in values):
        pointer = _resolve(e, access)
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
    good, pointers = _line_test(e, access, group)
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
        lanes = _part_mask(e, mask, i * group, group)
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


@instruction("st", mods=f"v2 v4 v8 {SPACES} {_CACHE}", operands=(2, 3))
def st(e: Emitter, ins: Instruction) -> None:
    b, type_ = e.b, type_of(e, ins)
    where, source = ins.operands[:2]
    sources = source.parts if isinstance(source, Vector) else (source,)
    if type_.bits == 1 or len(sources) != _count(ins):
        raise e.error("vector of the wrong length")
    if type_.bits == 128:
        whole = e.read(source, "i128")
        values = [b.resize(whole, "i64"), b.resize(b.lshr(whole, integer("i128", 64)), "i64")]
        store(e, make_access(e, ins, where, 8, 2), values)
        return
    if type_.is_float:
        values = [b.bitcast(e.read_as(s, type_), type_.llvm) for s in sources]
    else:
        values = [e.read(s, type_.llvm) for s in sources]
    if isinstance(where, Address) and is_param_slot(e, where):
        store_param(e, where, values, type_.bytes)
        return
    volatile = bool({"volatile", "relaxed", "release", "mmio"} & set(ins.mods))
    store(e, make_access(e, ins, where, type_.bytes, len(values)), values, volatile)


@instruction("prefetch", "prefetchu", "discard", "applypriority",
             mods=f"{SPACES} {_CACHE} L1 L2 tensormap", operands=(1, 2))  # fmt: skip
def hint(e: Emitter, ins: Instruction) -> None:
    """Hints about caches: nothing to do."""


@instruction("createpolicy", mods=f"{_CACHE} fractional range cvt L2 {SPACES}", operands=(1, 4))
def create_policy(e: Emitter, ins: Instruction) -> None:
    e.write(ins.operands[0], integer("i64", 0))


@instruction(
    "cp", mods=f"async {SPACES} {_CACHE} commit_group wait_group wait_all bulk", operands=(0, 5)
)
def cp_async(e: Emitter, ins: Instruction) -> None:
    """cp.async at once; its groups have nothing left to wait for."""
    if "bulk" in ins.mods or "async" not in ins.mods:
        raise e.error("only cp.async of up to 16 bytes is supported")
    if not {"commit_group", "wait_group", "wait_all"}.isdisjoint(ins.mods):
        return
    from .syntax import Immediate

    b = e.b
    size = ins.operands[2]
    if not isinstance(size, Immediate) or size.value not in (4, 8, 16):
        raise e.error("the size must be 4, 8 or 16")
    bytes_, count = (4, 1) if size.value == 4 else (8, size.value // 8)
    source = Access(e.address(ins.operands[1]), False, bytes_, count, None)
    shape = e.shapes.of(ins.operands[1])
    source.step = shape.stride if shape else None
    target = Access(
        b.and_(e.address(ins.operands[0]), integer("i64", 0xFFFFFFFF)), True, bytes_, count, None
    )
    values = _with_size(e, ins, source)
    store(e, target, values)


def _with_size(e: Emitter, ins: Instruction, source: Access) -> list[Value]:
    """Only the first `source size` bytes are read (0 or all of them where front ends use this)."""
    b = e.b
    if len(ins.operands) < 4:
        return load(e, source)
    given = e.read(ins.operands[3], "i32")
    outer = e.mask
    some = b.splat(b.icmp("ne", given, integer("i32", 0)))
    e.mask = b.and_(outer, b.mask_bits(some))
    source.address = b.splat(source.address)
    values = load(e, source)
    e.mask = outer
    results = []
    for i, value in enumerate(values):
        kept = b.intrinsic("usub.sat", "i32", given, integer("i32", i * source.bytes))
        whole = b.icmp("uge", kept, integer("i32", source.bytes))
        bits = b.resize(
            b.shl(b.intrinsic("umin", "i32", kept, integer("i32", 7)), integer("i32", 3)),
            value.type,
        )
        mask = b.sub(
            b.shl(
                integer(value.type, 1),
                b.intrinsic("umin", value.type, bits, integer(value.type, source.bytes * 8 - 1)),
            ),
            integer(value.type, 1),
        )
        results.append(b.select(whole, value, b.and_(value, mask)))
    return results
