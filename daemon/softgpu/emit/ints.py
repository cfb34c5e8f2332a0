"""Integer arithmetic; add, sub, mul and the like of floats go to floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Instruction
from ..table import Effect, Result, Trait, instruction, lanewise
from ..types import TYPES, PtxType
from . import floats
from .builder import Value, integer

if TYPE_CHECKING:
    from .emitter import Emitter

ROUNDING = "rn rz rm rp rna"
FLOAT_MODS = f"{ROUNDING} ftz sat NaN xorsign abs approx full"


def type_of(e: Emitter, ins: Instruction) -> PtxType:
    """The last type suffix."""
    for mod in reversed(ins.mods):
        if mod in TYPES:
            return TYPES[mod]
    raise e.error("a type is missing")


def ints(e: Emitter, ins: Instruction, type_: PtxType) -> list[Value]:
    """All sources as integers of the type."""
    return [e.read(o, type_.llvm, type_.signed) for o in ins.operands[1:]]


def packed(e: Emitter, ins: Instruction, type_: PtxType) -> list[Value]:
    """Sources of a two-lane integer type, as pairs of i16."""
    return [v for o in ins.operands[1:] for v in halves(e, e.read(o, "i32"))]


def halves(e: Emitter, value: Value) -> list[Value]:
    high = e.b.lshr(value, integer("i32", 16))
    return [e.b.resize(value, "i16"), e.b.resize(high, "i16")]


def join(e: Emitter, low: Value, high: Value) -> Value:
    b = e.b
    high = b.shl(b.resize(high, "i32"), integer("i32", 16))
    return b.or_(b.resize(low, "i32"), high)


@lanewise("add", "sub", mods=f"cc {FLOAT_MODS}", operands=(3, 3))
def add_sub(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    if type_.is_float:
        floats.arithmetic(e, ins, type_)
        return
    b = e.b
    if type_.lanes == 2:
        parts = packed(e, ins, type_)
        low, high = (b.op(ins.opcode, parts[i], parts[i + 2]) for i in (0, 1))
        e.write(ins.operands[0], join(e, low, high))
        return
    x, y = ints(e, ins, type_)
    if "sat" in ins.mods:
        name = "sadd.sat" if ins.opcode == "add" else "ssub.sat"
        e.write(ins.operands[0], b.intrinsic(name, x.type, x, y))
        return
    result = b.op(ins.opcode, x, y)
    if ins.carry is not None:
        carry = b.icmp("ult", result, x) if ins.opcode == "add" else b.icmp("ult", x, y)
        e.write(ins.carry, carry)
    e.write(ins.operands[0], result)


@instruction(
    "addc",
    "subc",
    mods="cc",
    operands=(3, 3),
    result=Result.FIRST,
    effect=Effect.NONE,
    traits=Trait.READS_CARRY,
)
def add_carry(e: Emitter, ins: Instruction) -> None:
    x, y = ints(e, ins, type_of(e, ins))
    _finish_carry(e, ins, x, y, ins.opcode == "subc")


def _finish_carry(e: Emitter, ins: Instruction, x: Value, y: Value, subtract: bool) -> None:
    """x + y + carry, or x - y - borrow, and the new carry."""
    b = e.b
    assert ins.carry is not None
    carry = b.cast("zext", e.read(ins.carry, "i1"), x.type)
    operation = "sub" if subtract else "add"
    first = b.op(operation, x, y)
    result = b.op(operation, first, carry)
    if "cc" in ins.mods:
        if subtract:
            out = b.or_(b.icmp("ult", x, y), b.icmp("ult", first, carry))
        else:
            out = b.or_(b.icmp("ult", first, x), b.icmp("ult", result, first))
        e.write(ins.carry, out)
    e.write(ins.operands[0], result)


def _high(e: Emitter, x: Value, y: Value, signed: bool) -> Value:
    b = e.b
    wide = f"i{x.bits * 2}"
    product = b.mul(b.resize(x, wide, signed), b.resize(y, wide, signed))
    return b.resize(b.lshr(product, integer(wide, x.bits)), x.type)


def _product(e: Emitter, ins: Instruction, type_: PtxType) -> Value:
    x, y = e.read(ins.operands[1], type_.llvm), e.read(ins.operands[2], type_.llvm)
    if "wide" in ins.mods:
        wide = f"i{type_.bits * 2}"
        return e.b.mul(e.b.resize(x, wide, type_.signed), e.b.resize(y, wide, type_.signed))
    if "hi" in ins.mods:
        return _high(e, x, y, type_.signed)
    return e.b.mul(x, y)


@lanewise("mul", mods=f"lo hi wide {FLOAT_MODS}", operands=(3, 3))
def mul(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    if type_.is_float:
        floats.arithmetic(e, ins, type_)
        return
    e.write(ins.operands[0], _product(e, ins, type_), type_.signed)


@lanewise("mad", mods=f"lo hi wide cc {FLOAT_MODS}", operands=(4, 4))
def mad(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    if type_.is_float:
        floats.arithmetic(e, ins, type_)
        return
    b = e.b
    product = _product(e, ins, type_)
    addend = e.read(ins.operands[3], product.type, type_.signed)
    if "sat" in ins.mods:
        result = b.intrinsic("sadd.sat", product.type, product, addend)
    else:
        result = b.add(product, addend)
    if ins.carry is not None:
        e.write(ins.carry, b.icmp("ult", result, product))
    e.write(ins.operands[0], result, type_.signed)


@instruction(
    "madc",
    mods="lo hi cc",
    operands=(4, 4),
    result=Result.FIRST,
    effect=Effect.NONE,
    traits=Trait.READS_CARRY,
)
def madc(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    _finish_carry(e, ins, _product(e, ins, type_), e.read(ins.operands[3], type_.llvm), False)


@lanewise("mul24", "mad24", mods="lo hi sat", operands=(3, 4))
def mul24(e: Emitter, ins: Instruction) -> None:
    b, type_ = e.b, type_of(e, ins)
    factors = []
    for operand in ins.operands[1:3]:
        value = b.shl(e.read(operand, "i32"), integer("i32", 8))
        value = (b.ashr if type_.signed else b.lshr)(value, integer("i32", 8))
        factors.append(b.resize(value, "i64", type_.signed))
    product = b.mul(*factors)
    if "hi" in ins.mods:
        product = b.lshr(product, integer("i64", 16))
    result = b.resize(product, "i32")
    if ins.opcode == "mad24":
        addend = e.read(ins.operands[3], "i32")
        if "sat" in ins.mods:
            result = b.intrinsic("sadd.sat", "i32", result, addend)
        else:
            result = b.add(result, addend)
    e.write(ins.operands[0], result)


@lanewise("sad", operands=(4, 4))
def sad(e: Emitter, ins: Instruction) -> None:
    b, type_ = e.b, type_of(e, ins)
    x, y, z = ints(e, ins, type_)
    less = b.icmp("slt" if type_.signed else "ult", x, y)
    e.write(ins.operands[0], b.add(z, b.select(less, b.sub(y, x), b.sub(x, y))))


@lanewise("div", "rem", mods=FLOAT_MODS, operands=(3, 3))
def div_rem(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    if type_.is_float:
        floats.arithmetic(e, ins, type_)
        return
    x, y = ints(e, ins, type_)
    x, y = e.b.match(x, y)
    quotient = ins.opcode == "div"
    if not x.per_lane:
        result = _divide_scalar(e, x, y, type_.signed, quotient)
    elif type_.bits <= 32:
        result = _divide_narrow(e, x, y, type_.signed, quotient)
    else:
        result = _divide_wide(e, x, y, type_.signed, quotient)
    e.write(ins.operands[0], result)


def _divide_scalar(e: Emitter, x: Value, y: Value, signed: bool, quotient: bool) -> Value:
    b = e.b
    zero, one = integer(x.type, 0), integer(x.type, 1)
    by_zero = b.icmp("eq", y, zero)
    safe = b.select(by_zero, one, y)
    if signed:  # the one quotient that overflows
        minus = b.icmp("eq", y, integer(x.type, -1))
        safe = b.select(minus, one, safe)
        result = b.op("sdiv" if quotient else "srem", x, safe)
        result = b.select(minus, b.neg(x) if quotient else zero, result)
    else:
        result = b.op("udiv" if quotient else "urem", x, safe)
    return b.select(by_zero, integer(x.type, -1) if quotient else x, result)


def _divide_narrow(e: Emitter, x: Value, y: Value, signed: bool, quotient: bool) -> Value:
    """Through double, whose quotient of 32-bit integers never rounds across an integer."""
    b = e.b
    convert = "sitofp" if signed else "uitofp"
    by_zero = b.icmp("eq", y, integer(y.type, 0))
    safe = b.select(by_zero, integer(y.type, 1), y)
    real = b.op("fdiv", b.cast(convert, x, "double"), b.cast(convert, safe, "double"))
    # -2^31 / -1 is 2^31: through i64, then it wraps as hardware does.
    whole = b.resize(b.cast("fptosi", real, "i64"), x.type)
    if quotient:
        return b.select(by_zero, integer(x.type, -1), whole)
    return b.select(by_zero, x, b.sub(x, b.mul(whole, safe)))


def _divide_wide(e: Emitter, x: Value, y: Value, signed: bool, quotient: bool) -> Value:
    b = e.b
    a, d = b.spill(x), b.spill(y)
    out = b.alloca("<32 x i64>")
    code = int(signed) + (0 if quotient else 2)
    e.call_helper("divide", "void", f"i32 {code}, ptr {a}, ptr {d}, ptr {out}")
    return b.load("i64", out, 64, True)


@lanewise("abs", mods="ftz", operands=(2, 2))
def absolute(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    if type_.is_float:
        floats.sign_bit(e, ins, type_)
        return
    (x,) = ints(e, ins, type_)
    negative = e.b.icmp("slt", x, integer(x.type, 0))
    e.write(ins.operands[0], e.b.select(negative, e.b.neg(x), x))


@lanewise("neg", mods="ftz", operands=(2, 2))
def negate(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    if type_.is_float:
        floats.sign_bit(e, ins, type_)
        return
    (x,) = ints(e, ins, type_)
    e.write(ins.operands[0], e.b.neg(x))


@lanewise("min", "max", mods=f"relu {FLOAT_MODS}", operands=(3, 4))
def min_max(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    if type_.is_float:
        floats.min_max(e, ins, type_)
        return
    b = e.b
    name = ("s" if type_.signed else "u") + ins.opcode
    if type_.lanes == 2:
        x = packed(e, ins, type_)
        low, high = (b.intrinsic(name, "i16", x[i], x[i + 2]) for i in (0, 1))
        if "relu" in ins.mods:
            low, high = (b.intrinsic("smax", "i16", v, integer("i16", 0)) for v in (low, high))
        e.write(ins.operands[0], join(e, low, high))
        return
    result = b.intrinsic(name, type_.llvm, *ints(e, ins, type_))
    if "relu" in ins.mods:
        result = b.intrinsic("smax", type_.llvm, result, integer(type_.llvm, 0))
    e.write(ins.operands[0], result)
