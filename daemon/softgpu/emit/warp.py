"""Instructions between the lanes of a warp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Instruction, Operand, Pair
from ..table import Effect, Result, Trait, instruction
from .builder import LANES, Value, integer, lanes_constant
from .collective import for_each_group
from .ints import type_of

if TYPE_CHECKING:
    from .emitter import Emitter

_IOTA = list(range(LANES))


def gather(e: Emitter, value: Value, index: Value) -> Value:
    """value[index[lane]] of 32-bit values; index from 0 to 31."""
    b = e.b
    value = b.splat(value)
    if not index.per_lane:
        slot = b.spill(value)
        where = b.value("ptr", False, f"getelementptr i32, ptr {slot}, i32 {index.text}")
        return b.load("i32", where.text, 4)
    slot = b.spill(value)
    symbol = "@llvm.masked.gather.v32i32.v32p0"
    b.module.declare(symbol, f"declare <32 x i32> {symbol}(<32 x ptr>, i32, <32 x i1>, <32 x i32>)")
    pointers = b.name()
    b.line(f"{pointers} = getelementptr i32, ptr {slot}, {index}")
    return b.value(
        "i32", True,
        f"call <32 x i32> {symbol}(<32 x ptr> {pointers}, i32 4, <32 x i1> splat (i1 true), "
        "<32 x i32> poison)",
    )  # fmt: skip


def _split(target: Operand) -> tuple[Operand, Operand | None]:
    if isinstance(target, Pair):
        return target.first, target.second
    return target, None


@instruction(
    "shfl",
    mods="sync up down bfly idx",
    operands=(4, 5),
    result=Result.FIRST,
    effect=Effect.ACTS,
    traits=Trait.VARYING | Trait.MEETS | Trait.NAMES_MEMBERS,
)
def shfl(e: Emitter, ins: Instruction) -> None:
    b = e.b
    target, predicate = _split(ins.operands[0])
    value = e.read(ins.operands[1], "i32")
    amount, control = (e.read(o, "i32") for o in ins.operands[2:4])
    mode = next((m for m in ins.mods if m in ("up", "down", "bfly", "idx")), "")
    fixed = _shfl_fixed(mode, amount, control)
    if fixed is not None:
        index, inside = fixed
        picks = ", ".join(f"i32 {i}" for i in index)
        source = b.splat(value)
        result = b.value(
            "i32", True,
            f"shufflevector {source}, {source.full_type} poison, <32 x i32> <{picks}>",
        )  # fmt: skip
        valid: Value = lanes_constant("i1", [int(i) for i in inside])
        valid = Value("i1", valid.text.replace("i1 1", "i1 true").replace("i1 0", "i1 false"), True)
    else:
        where, valid = _shfl_index(e, mode, amount, control)
        result = gather(e, value, where)
    e.write(target, result)
    if predicate is not None:
        e.write(predicate, valid)


def _shfl_fixed(mode: str, amount: Value, control: Value) -> tuple[list[int], list[bool]] | None:
    """Sources and validity, where both operands are literals."""
    if amount.constant is None or control.constant is None:
        return None
    step, clamp, segment = amount.constant & 31, control.constant & 31, control.constant >> 8 & 31
    index, inside = [], []
    for lane in _IOTA:
        top = lane & segment | clamp & ~segment
        bottom = lane & segment
        if mode == "up":
            source, ok = lane - step, lane - step >= top
        elif mode == "down":
            source, ok = lane + step, lane + step <= top
        elif mode == "bfly":
            source, ok = lane ^ step, lane ^ step <= top
        else:
            source = bottom | step & ~segment & 31
            ok = source <= top
        index.append(source if ok else lane)
        inside.append(ok)
    return index, inside


def _shfl_index(e: Emitter, mode: str, amount: Value, control: Value) -> tuple[Value, Value]:
    b = e.b
    lane = lanes_constant("i32", _IOTA)
    low = integer("i32", 31)
    step, clamp = b.and_(amount, low), b.and_(control, low)
    segment = b.and_(b.lshr(control, integer("i32", 8)), low)
    bottom = b.and_(lane, segment)
    top = b.or_(bottom, b.and_(clamp, b.not_(segment)))
    if mode == "up":
        source = b.sub(lane, step)
        inside = b.icmp("sge", source, top)
    elif mode == "down":
        source = b.add(lane, step)
        inside = b.icmp("sle", source, top)
    elif mode == "bfly":
        source = b.xor(lane, step)
        inside = b.icmp("sle", source, top)
    else:
        source = b.or_(bottom, b.and_(step, b.and_(b.not_(segment), low)))
        inside = b.icmp("sle", source, top)
    return b.and_(b.select(inside, source, lane), low), inside


def _members(e: Emitter, operand: Operand) -> Value:
    """The lanes that the instruction names and that run it; it may differ between lanes."""
    return e.b.and_(e.mask, e.read(operand, "i32"))


@instruction(
    "vote",
    mods="sync all any uni ballot",
    operands=(2, 3),
    result=Result.FIRST,
    effect=Effect.ACTS,
    traits=Trait.COLLECTIVE | Trait.MEETS | Trait.NAMES_MEMBERS,
)
def vote(e: Emitter, ins: Instruction) -> None:
    b = e.b
    bits = b.mask_bits(e.read(ins.operands[1], "i1"))
    members = _members(e, ins.operands[2]) if len(ins.operands) > 2 else e.mask
    yes = b.and_(bits, members)
    mode = next(m for m in ins.mods if m != "sync")
    zero = integer("i32", 0)
    if mode == "ballot":
        result = yes
    elif mode == "any":
        result = b.icmp("ne", yes, zero)
    elif mode == "all":
        result = b.icmp("eq", yes, members)
    else:
        result = b.or_(b.icmp("eq", yes, members), b.icmp("eq", yes, zero))
    e.write(ins.operands[0], result)


@instruction(
    "activemask", operands=(1, 1), result=Result.FIRST, effect=Effect.ACTS, traits=Trait.COLLECTIVE
)
def activemask(e: Emitter, ins: Instruction) -> None:
    e.write(ins.operands[0], e.mask)


@instruction(
    "elect",
    mods="sync",
    operands=(2, 2),
    result=Result.FIRST,
    effect=Effect.ACTS,
    traits=Trait.VARYING | Trait.MEETS | Trait.NAMES_MEMBERS,
)
def elect(e: Emitter, ins: Instruction) -> None:
    b = e.b
    target, predicate = _split(ins.operands[0])
    members = _members(e, ins.operands[1])
    leader = b.intrinsic("cttz", "i32", members, flags=("i1 false",))
    e.write(target, leader)
    if predicate is not None:
        e.write(predicate, b.icmp("eq", lanes_constant("i32", _IOTA), leader))


@instruction(
    "match",
    mods="sync any all",
    operands=(3, 3),
    result=Result.FIRST,
    effect=Effect.ACTS,
    traits=Trait.VARYING | Trait.MEETS | Trait.NAMES_MEMBERS,
)
def match(e: Emitter, ins: Instruction) -> None:
    """For each lane, the members that hold the same value."""
    b = e.b
    target, predicate = _split(ins.operands[0])
    type_ = type_of(e, ins)
    value = b.splat(e.read(ins.operands[1], type_.llvm))
    members = _members(e, ins.operands[2])
    result: Value = b.splat(integer("i32", 0))
    for lane in _IOTA:
        other = b.lane(value, lane)
        same = b.and_(b.mask_bits(b.icmp("eq", value, other)), b.lane(members, lane))
        full = f"<{LANES} x i32>"
        result = b.value("i32", True, f"insertelement {full} {result.text}, {same}, i64 {lane}")
    if "all" in ins.mods:
        everyone = b.icmp("eq", result, members)
        e.write(target, b.select(everyone, members, integer("i32", 0)))
        if predicate is not None:
            e.write(predicate, everyone)
    else:
        e.write(target, result)


@instruction(
    "redux",
    mods="sync add min max and or xor NaN abs",
    operands=(3, 3),
    result=Result.FIRST,
    effect=Effect.ACTS,
    traits=Trait.COLLECTIVE | Trait.MEETS | Trait.NAMES_MEMBERS,
)
def redux(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    members = _members(e, ins.operands[2])
    value = e.b.splat(e.read(ins.operands[1], "i32"))
    reduce = _redux_float if type_.is_float else _redux_whole
    if members.per_lane:
        result = for_each_group(e, members, lambda group: reduce(e, ins, value, group))
    else:
        result = reduce(e, ins, value, members)
    e.write(ins.operands[0], result)


def _redux_whole(e: Emitter, ins: Instruction, value: Value, members: Value) -> Value:
    b, signed = e.b, type_of(e, ins).signed
    name = next(m for m in ins.mods if m != "sync")
    neutral = {"add": 0, "or": 0, "xor": 0, "and": -1,
               "min": 0x7FFFFFFF if signed else -1,
               "max": 0x80000000 if signed else 0}[name]  # fmt: skip
    value = b.select(b.mask_lanes(members), value, integer("i32", neutral))
    operation = name if name not in ("min", "max") else ("s" if signed else "u") + name
    symbol = f"@llvm.vector.reduce.{operation}.v32i32"
    b.module.declare(symbol, f"declare i32 {symbol}(<32 x i32>)")
    return b.value("i32", False, f"call i32 {symbol}({value})")


def _redux_float(e: Emitter, ins: Instruction, bits: Value, members: Value) -> Value:
    """min and max of f32 as integers whose order is that of floats."""
    b = e.b
    name = "min" if "min" in ins.mods else "max"
    lanes = b.mask_lanes(members)
    if "abs" in ins.mods:
        bits = b.and_(bits, integer("i32", 0x7FFFFFFF))
    nan = b.icmp("ugt", b.and_(bits, integer("i32", 0x7FFFFFFF)), integer("i32", 0x7F800000))
    ordered = b.xor(bits, b.lshr(b.ashr(bits, integer("i32", 31)), integer("i32", 1)))
    worst = integer("i32", 0x7FFFFFFF if name == "min" else 0x80000000)
    usable = b.and_(lanes, b.not_(nan))
    value = b.select(usable, ordered, worst)
    symbol = f"@llvm.vector.reduce.s{name}.v32i32"
    b.module.declare(symbol, f"declare i32 {symbol}(<32 x i32>)")
    best = b.value("i32", False, f"call i32 {symbol}({value})")
    result = b.xor(best, b.lshr(b.ashr(best, integer("i32", 31)), integer("i32", 1)))
    none = b.icmp("eq", b.mask_bits(usable), integer("i32", 0))
    quiet = integer("i32", 0x7FFFFFFF)
    if "NaN" in ins.mods:
        some = b.icmp("ne", b.mask_bits(b.and_(lanes, nan)), integer("i32", 0))
        none = b.or_(none, some)
    return b.select(none, quiet, result)
