"""Floating-point arithmetic: f32 and f64 as they are; f16 and bf16 through wider types, rounded
once.

Operands become lists: one value for scalar types, two for packed ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Instruction, Operand
from ..types import PtxType
from .builder import Value, integer

if TYPE_CHECKING:
    from .emitter import Emitter

# native/softgpu/block/math_round.c
DIRECTIONS = {"rz": 1, "rm": 2, "rp": 3}
ROUND_OPS = {"add": 0, "sub": 1, "mul": 2, "div": 3, "fma": 4, "sqrt": 5, "narrow": 6,
             "from_s64": 7, "from_u64": 8}  # fmt: skip
SMALLEST = {"h": 0x38800000, "w": 0x00800000, "f": 0x00800000}  # normal, as f32 bits


def constant(type_: str, value: float) -> Value:
    """A floating-point literal."""
    import struct

    if type_ == "float":
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return Value(type_, f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}")


def direction(ins: Instruction) -> int:
    """0 nearest, else see DIRECTIONS."""
    return next((DIRECTIONS[m] for m in ins.mods if m in DIRECTIONS), 0)


def flush(e: Emitter, value: Value, kind: str = "f") -> Value:
    """Subnormals become zeros of their sign."""
    b = e.b
    bits = b.bitcast(value, "i32")
    small = b.icmp("ult", b.and_(bits, integer("i32", 0x7FFFFFFF)), integer("i32", SMALLEST[kind]))
    zero = b.and_(bits, integer("i32", 0x80000000))
    return b.bitcast(b.select(small, zero, bits), "float")


def saturate(e: Emitter, value: Value) -> Value:
    """To [0, 1]; NaN to 0."""
    b = e.b
    zero, one = constant(value.type, 0.0), constant(value.type, 1.0)
    value = b.select(b.fcmp("ogt", value, zero), value, zero)
    return b.select(b.fcmp("olt", value, one), value, one)


# ---- narrow formats ------------------------------------------------------------------------------


def from_half(e: Emitter, bits: Value, kind: str) -> Value:
    """i16 to float: exact."""
    b = e.b
    if kind == "h":
        return b.cast("fpext", b.bitcast(bits, "half"), "float")
    return b.bitcast(b.shl(b.resize(bits, "i32"), integer("i32", 16)), "float")


def to_half(e: Emitter, value: Value, kind: str) -> Value:
    """float to i16, to nearest even; NaN becomes 0x7fff."""
    b = e.b
    nan = b.fcmp("uno", value, value)
    if kind == "h":
        bits = b.bitcast(b.cast("fptrunc", value, "half"), "i16")
    else:
        word = b.bitcast(value, "i32")
        odd = b.and_(b.lshr(word, integer("i32", 16)), integer("i32", 1))
        rounded = b.add(word, b.add(odd, integer("i32", 0x7FFF)))
        bits = b.resize(b.lshr(rounded, integer("i32", 16)), "i16")
    return b.select(nan, integer("i16", 0x7FFF), bits)


def to_odd(e: Emitter, value: Value) -> Value:
    """double to float, inexact results to odd: rounding that once more is rounding once."""
    b = e.b
    narrow = b.cast("fptrunc", value, "float")
    back = b.cast("fpext", narrow, "double")
    inexact = b.fcmp("one", back, value)
    bits = b.bitcast(narrow, "i32")
    magnitude = b.intrinsic("fabs", "double", value)
    above = b.fcmp("ogt", b.intrinsic("fabs", "double", back), magnitude)
    down = b.select(above, b.sub(bits, integer("i32", 1)), bits)
    odd = b.or_(down, integer("i32", 1))
    return b.bitcast(b.select(inexact, odd, bits), "float")


def _fma_to_odd(e: Emitter, x: Value, y: Value, z: Value) -> Value:
    """float x*y + z with one rounding, to odd, as float: for operands of at most 11 bits."""
    b = e.b
    x, y, z = (b.cast("fpext", v, "double") for v in (x, y, z))
    product = b.op("fmul", x, y)  # exact
    total = b.op("fadd", product, z)
    other = b.op("fsub", total, product)
    error = b.op("fadd", b.op("fsub", product, b.op("fsub", total, other)), b.op("fsub", z, other))
    zero = constant("double", 0.0)
    inexact = b.fcmp("one", error, zero)
    bits = b.bitcast(total, "i64")
    opposite = b.xor(b.fcmp("olt", error, zero), b.fcmp("olt", total, zero))
    down = b.select(opposite, b.sub(bits, integer("i64", 1)), bits)
    exact = b.bitcast(b.select(inexact, b.or_(down, integer("i64", 1)), bits), "double")
    return to_odd(e, exact)


# ---- operands ------------------------------------------------------------------------------------


def widen(e: Emitter, operand: Operand, type_: PtxType, ftz: bool = False) -> list[Value]:
    """An operand's values in the type that computes."""
    b = e.b
    if type_.kind in "ft" and type_.lanes == 1:
        value = e.read_as(operand, PtxType("f32", "f", 32) if type_.kind == "t" else type_)
        return [flush(e, value) if ftz and value.type == "float" else value]
    bits = e.read(operand, type_.llvm)
    if type_.lanes == 2:
        half = f"i{type_.bits // 2}"
        high = b.lshr(bits, integer(type_.llvm, type_.bits // 2))
        parts = [b.resize(bits, half), b.resize(high, half)]
    else:
        parts = [bits]
    if type_.kind == "f":
        values = [b.bitcast(p, "float") for p in parts]
    else:
        values = [from_half(e, p, type_.kind) for p in parts]
    return [flush(e, v, type_.kind) for v in values] if ftz else values


def narrow(e: Emitter, values: list[Value], type_: PtxType) -> Value:
    """The bits of a result."""
    b = e.b
    if type_.kind in "hw":
        parts = [to_half(e, v, type_.kind) for v in values]
    else:
        parts = [b.bitcast(v, f"i{v.bits}") for v in values]
    if len(parts) == 1:
        return parts[0]
    low, high = (b.resize(p, type_.llvm) for p in parts)
    return b.or_(low, b.shl(high, integer(type_.llvm, type_.bits // 2)))


def directed(e: Emitter, name: str, code: int, args: list[Value]) -> Value:
    """An operation with a rounding direction, by C."""
    b = e.b
    wide = args[0].type == "double"
    scalar = not any(a.per_lane for a in args)
    slots = [b.spill(a) for a in args]
    slots += [slots[0]] * (3 - len(slots))
    out = b.alloca(f"<32 x {args[0].type}>")
    packed = code | ROUND_OPS[name] << 4 | int(wide) << 8
    pointers = ", ".join(f"ptr {s}" for s in slots)
    e.call_helper("round", "void", f"i32 {packed}, {pointers}, ptr {out}")
    result = b.load(args[0].type, out, 64, True)
    return b.lane(result, 0) if scalar else result


# ---- instructions --------------------------------------------------------------------------------

_OPERATIONS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}


def arithmetic(e: Emitter, ins: Instruction, type_: PtxType) -> None:
    """add, sub, mul, div, fma and mad of floats."""
    ftz = "ftz" in ins.mods
    columns = [widen(e, o, type_, ftz) for o in ins.operands[1:]]
    name = "fma" if ins.opcode in ("fma", "mad") else ins.opcode
    results = []
    for args in zip(*columns, strict=True):
        value = _one(e, ins, name, list(args), type_)
        if ftz and value.type == "float":
            value = flush(e, value, type_.kind)
        if "sat" in ins.mods:
            value = saturate(e, value)
        if "relu" in ins.mods:
            value = _relu(e, value)
        results.append(value)
    e.write(ins.operands[0], narrow(e, results, type_))


def _relu(e: Emitter, value: Value) -> Value:
    b = e.b
    zero = constant(value.type, 0.0)
    negative = b.fcmp("ole", value, zero)
    return b.select(negative, zero, value)


def _one(e: Emitter, ins: Instruction, name: str, args: list[Value], type_: PtxType) -> Value:
    code = direction(ins)
    if code and type_.kind == "f":
        return directed(e, name, code, args)
    if name == "fma":
        if type_.kind in "hw":
            return _fma_to_odd(e, *args)
        return e.b.intrinsic("fma", args[0].type, *args)
    return e.b.op(_OPERATIONS[name], args[0], args[1])


def sign_bit(e: Emitter, ins: Instruction, type_: PtxType) -> None:
    """abs and neg."""
    b = e.b
    bits = (
        e.read(ins.operands[1], type_.llvm)
        if not _literal(ins)
        else b.bitcast(e.read_as(ins.operands[1], type_), type_.llvm)
    )
    if "ftz" in ins.mods:
        values = widen(e, ins.operands[1], type_, True)
        bits = narrow(e, values, type_)
    width = type_.bits // type_.lanes
    sign = 1 << width - 1
    if type_.lanes == 2:
        sign |= sign << width
    if ins.opcode == "neg":
        e.write(ins.operands[0], b.xor(bits, integer(bits.type, sign)))
    else:
        e.write(ins.operands[0], b.and_(bits, integer(bits.type, ~sign)))


def _literal(ins: Instruction) -> bool:
    from ..ir import Immediate

    return isinstance(ins.operands[1], Immediate)


def min_max(e: Emitter, ins: Instruction, type_: PtxType) -> None:
    ftz = "ftz" in ins.mods
    columns = [widen(e, o, type_, ftz) for o in ins.operands[1:]]
    results = []
    for args in zip(*columns, strict=True):
        value = args[0]
        for other in args[1:]:
            value = _extreme(e, ins, value, other)
        results.append(_relu(e, value) if "relu" in ins.mods else value)
    e.write(ins.operands[0], narrow(e, results, type_))


def _extreme(e: Emitter, ins: Instruction, x: Value, y: Value) -> Value:
    """The number, if one is NaN (either's NaN with .NaN); -0 is below +0."""
    b = e.b
    word = f"i{x.bits}"
    signs: Value | None = None
    if "xorsign" in ins.mods:
        top = integer(word, 1 << x.bits - 1)
        signs = b.and_(b.xor(b.bitcast(x, word), b.bitcast(y, word)), top)
        x, y = b.intrinsic("fabs", x.type, x), b.intrinsic("fabs", y.type, y)
    less = b.fcmp("olt" if ins.opcode == "min" else "ogt", x, y)
    result = b.select(less, x, y)
    combine = "or" if ins.opcode == "min" else "and"
    both = b.bitcast(b.op(combine, b.bitcast(x, word), b.bitcast(y, word)), x.type)
    result = b.select(b.fcmp("oeq", x, y), both, result)
    if "NaN" in ins.mods:
        quiet = b.bitcast(integer(word, (1 << x.bits - 1) - 1), x.type)
        result = b.select(b.fcmp("uno", x, y), quiet, result)
    else:
        result = b.select(b.fcmp("uno", y, y), x, result)
    if signs is not None:
        result = b.bitcast(b.or_(b.bitcast(result, word), signs), x.type)
    return result
