"""cvt between all types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Instruction
from ..table import lanewise
from ..types import TYPES, PtxType
from .builder import Value, integer
from .floats import (
    DIRECTIONS,
    constant,
    flush,
    from_half,
    saturate,
    to_half,
    to_odd,
    widen,
)
from .ints import join

if TYPE_CHECKING:
    from .emitter import Emitter

_WHOLE = {"rni": "roundeven", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}


@lanewise(
    "cvt", mods="rn rz rm rp rna rni rzi rmi rpi ftz sat satfinite relu pack", operands=(2, 4)
)
def cvt(e: Emitter, ins: Instruction) -> None:
    types = [TYPES[m] for m in ins.mods if m in TYPES]
    if "pack" in ins.mods:
        _pack_integers(e, ins, types)
        return
    if len(types) != 2:
        raise e.error("two types are needed")
    to, source = types
    if to.lanes == 2:
        if len(ins.operands) != 3:
            raise e.error("two sources are needed")
        high, low = (_to_float(e, ins, widen(e, o, source)[0], to) for o in ins.operands[1:])
        e.write(ins.operands[0], join(e, low, high))
        return
    if to.is_float and source.is_float:
        value = widen(e, ins.operands[1], source, "ftz" in ins.mods)[0]
        e.write(ins.operands[0], _float_to_float(e, ins, value, to, source))
    elif to.is_float:
        e.write(ins.operands[0], _int_to_float(e, ins, to, source))
    elif source.is_float:
        value = widen(e, ins.operands[1], source, "ftz" in ins.mods)[0]
        e.write(ins.operands[0], _float_to_int(e, ins, value, to), to.signed)
    else:
        value = e.read(ins.operands[1], source.llvm, source.signed)
        if "sat" in ins.mods:
            value = _clamp(e, value, source, to)
        e.write(ins.operands[0], e.b.resize(value, to.llvm, source.signed), to.signed)


def _clamp(e: Emitter, value: Value, source: PtxType, to: PtxType) -> Value:
    """To the range of `to`, in the source's own type (widened, so that both ranges fit)."""
    b = e.b
    wide = f"i{max(source.bits, to.bits) * 2 if max(source.bits, to.bits) < 64 else 128}"
    value = b.resize(value, wide, source.signed)
    low = -(1 << to.bits - 1) if to.signed else 0
    high = (1 << to.bits - 1) - 1 if to.signed else (1 << to.bits) - 1
    value = b.intrinsic("smax", wide, value, integer(wide, low))
    return b.intrinsic("smin", wide, value, integer(wide, high))


def _pack_integers(e: Emitter, ins: Instruction, types: list[PtxType]) -> None:
    """cvt.pack.sat.TO.s32{.b32} d, a, b{, c}: a above b, both saturated, above what c holds."""
    b, to = e.b, types[0]
    high, low = (_clamp(e, e.read(o, "i32"), TYPES["s32"], to) for o in ins.operands[1:3])
    mask = integer("i32", (1 << to.bits) - 1)
    high, low = (b.and_(b.resize(v, "i32"), mask) for v in (high, low))
    result = b.or_(b.shl(high, integer("i32", to.bits)), low)
    if len(ins.operands) == 4 and to.bits < 16:
        above = b.shl(e.read(ins.operands[3], "i32"), integer("i32", 2 * to.bits))
        result = b.or_(result, above)
    e.write(ins.operands[0], result)


def _rounding(ins: Instruction) -> int:
    return next((DIRECTIONS[m] for m in ins.mods if m in DIRECTIONS), 0)


def _int_to_float(e: Emitter, ins: Instruction, to: PtxType, source: PtxType) -> Value:
    b = e.b
    value = e.read(ins.operands[1], source.llvm, source.signed)
    convert = "sitofp" if source.signed else "uitofp"
    code = _rounding(ins)
    if to.kind in "hw":
        result = to_odd(e, b.cast(convert, value, "double"))
        return _to_float(e, ins, result, to)
    llvm = "double" if to.bits == 64 else "float"
    if code:
        wide = b.resize(value, "i64", source.signed)
        result = _helper_from_int(e, wide, source.signed, code, llvm)
    else:
        result = b.cast(convert, value, llvm)
    if "sat" in ins.mods:
        result = saturate(e, result)
    return b.bitcast(result, to.llvm)


def _helper_from_int(e: Emitter, value: Value, signed: bool, code: int, llvm: str) -> Value:
    b = e.b
    slot = b.spill(value)
    out = b.alloca(f"<32 x {llvm}>")
    operation = 7 if signed else 8
    packed = code | operation << 4 | int(llvm == "double") << 8
    e.call_helper("round", "void", f"i32 {packed}, ptr {slot}, ptr {slot}, ptr {slot}, ptr {out}")
    result = b.load(llvm, out, 64, True)
    return result if value.per_lane else b.lane(result, 0)


def _float_to_int(e: Emitter, ins: Instruction, value: Value, to: PtxType) -> Value:
    """Rounded, clamped to the type's range; NaN gives 0."""
    mode = next((m for m in ins.mods if m in _WHOLE), "rzi")
    whole = e.b.intrinsic(_WHOLE[mode], value.type, value)
    return e.b.intrinsic("fptosi.sat" if to.signed else "fptoui.sat", to.llvm, whole)


def _float_to_float(
    e: Emitter, ins: Instruction, value: Value, to: PtxType, source: PtxType
) -> Value:
    b = e.b
    mode = next((m for m in ins.mods if m in _WHOLE), "")
    if mode:
        value = b.intrinsic(_WHOLE[mode], value.type, value)
    if to.kind == "f" and to.bits == 64:
        if value.type == "float":
            value = b.cast("fpext", value, "double")
        if "sat" in ins.mods:
            value = saturate(e, value)
        return b.bitcast(value, "i64")
    if value.type == "double":
        value = _narrow_double(e, ins, value, to)
    return _to_float(e, ins, value, to)


def _narrow_double(e: Emitter, ins: Instruction, value: Value, to: PtxType) -> Value:
    b = e.b
    if to.kind != "f":
        return to_odd(e, value)
    code = _rounding(ins)
    if not code:
        return b.cast("fptrunc", value, "float")
    slot = b.spill(value)
    out = b.alloca("<32 x float>")
    packed = code | 6 << 4
    e.call_helper("round", "void", f"i32 {packed}, ptr {slot}, ptr {slot}, ptr {slot}, ptr {out}")
    result = b.load("float", out, 64, True)
    return result if value.per_lane else b.lane(result, 0)


def _to_float(e: Emitter, ins: Instruction, value: Value, to: PtxType) -> Value:
    """A float to the bits of f32, f16, bf16 or tf32."""
    b = e.b
    if "relu" in ins.mods:
        zero = constant("float", 0.0)
        value = b.select(b.fcmp("ole", value, zero), zero, value)
    if "sat" in ins.mods:
        value = saturate(e, value)
    if to.kind == "f":
        if "ftz" in ins.mods:
            value = flush(e, value)
        return b.bitcast(value, "i32")
    if to.kind == "t":
        return _to_tf32(e, ins, value)
    bits = to_half(e, value, to.kind)
    code = _rounding(ins)
    if code:
        bits = _redirect(e, bits, value, to.kind, code)
    if "satfinite" in ins.mods:
        bits = _finite(e, bits, to.kind)
    return bits


def _to_tf32(e: Emitter, ins: Instruction, value: Value) -> Value:
    b = e.b
    bits = b.bitcast(value, "i32")
    special = b.icmp("uge", b.and_(bits, integer("i32", 0x7FFFFFFF)), integer("i32", 0x7F800000))
    if "rz" in ins.mods:
        rounded = bits
    elif "rna" in ins.mods:
        rounded = b.add(bits, integer("i32", 0x1000))
    else:
        odd = b.and_(b.lshr(bits, integer("i32", 13)), integer("i32", 1))
        rounded = b.add(bits, b.add(odd, integer("i32", 0xFFF)))
    return b.and_(b.select(special, bits, rounded), integer("i32", ~0x1FFF))


def _redirect(e: Emitter, bits: Value, value: Value, kind: str, code: int) -> Value:
    """Step from the nearest 16-bit value to the one on the side that the direction wants."""
    b = e.b
    back = from_half(e, bits, kind)
    one = integer("i16", 1)
    negative = b.icmp("slt", bits, integer("i16", 0))
    below, above = b.fcmp("olt", back, value), b.fcmp("ogt", back, value)
    smaller, larger = b.sub(bits, one), b.add(bits, one)
    if code == 1:
        outside = b.select(negative, below, above)
        return b.select(outside, smaller, bits)
    if code == 2:
        return b.select(above, b.select(negative, larger, smaller), bits)
    return b.select(below, b.select(negative, smaller, larger), bits)


def _finite(e: Emitter, bits: Value, kind: str) -> Value:
    """Infinities become the largest finite value."""
    b = e.b
    infinity = 0x7C00 if kind == "h" else 0x7F80
    magnitude = b.and_(bits, integer("i16", 0x7FFF))
    infinite = b.icmp("eq", magnitude, integer("i16", infinity))
    return b.select(infinite, b.sub(bits, integer("i16", 1)), bits)
