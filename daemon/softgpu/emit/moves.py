"""Moves, selections, comparisons, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..abi import SHARED_WINDOW
from ..ir import Address, Instruction, Operand, Pair, Register, Symbol, Vector
from ..table import Effect, Result, instruction, lanewise
from ..types import PtxType
from .builder import Value, integer
from .floats import widen
from .ints import join, type_of

if TYPE_CHECKING:
    from .emitter import Emitter


@lanewise("mov", operands=(2, 2))
def mov(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    target, source = ins.operands
    if isinstance(source, Vector):
        e.write(target, _pack(e, source, type_))
    elif isinstance(target, Vector):
        _unpack(e, target, e.read(source, type_.llvm), type_)
    else:
        e.write(target, e.read(source, type_.llvm))


def _pack(e: Emitter, source: Vector, type_: PtxType) -> Value:
    b = e.b
    bits = _part_bits(e, len(source.parts), type_)
    result = b.resize(e.read(source.parts[0], f"i{bits}"), type_.llvm)
    for i, part in enumerate(source.parts[1:], 1):
        piece = b.resize(e.read(part, f"i{bits}"), type_.llvm)
        result = b.or_(result, b.shl(piece, integer(type_.llvm, bits * i)))
    return result


def _unpack(e: Emitter, target: Vector, value: Value, type_: PtxType) -> None:
    b = e.b
    bits = _part_bits(e, len(target.parts), type_)
    pieces = [
        b.resize(b.lshr(value, integer(type_.llvm, bits * i)), f"i{bits}")
        for i in range(len(target.parts))
    ]
    for part, piece in zip(target.parts, pieces, strict=True):
        e.write(part, piece)


def _part_bits(e: Emitter, parts: int, type_: PtxType) -> int:
    if parts not in (2, 4) or type_.bits // parts < 8:
        raise e.error("vector of a size that does not fit the type")
    return type_.bits // parts


@lanewise("selp", operands=(4, 4))
def selp(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    x, y = (e.read(o, type_.llvm) for o in ins.operands[1:3])
    e.write(ins.operands[0], e.b.select(e.read(ins.operands[3], "i1"), x, y))


@lanewise("slct", mods="ftz", operands=(4, 4))
def slct(e: Emitter, ins: Instruction) -> None:
    b = e.b
    type_ = type_of(e, Instruction(ins.opcode, ins.mods[:-1], ins.operands, ins.line))
    x, y = (e.read(o, type_.llvm) for o in ins.operands[1:3])
    condition = e.read(ins.operands[3], "i32")
    if ins.mods[-1] == "f32":
        chosen = b.fcmp("oge", b.bitcast(condition, "float"), Value("float", "0.0"))
    else:
        chosen = b.icmp("sge", condition, integer("i32", 0))
    e.write(ins.operands[0], b.select(chosen, x, y))


_INT_RELATIONS = {"eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}
_UNSIGNED = {"lo": "ult", "ls": "ule", "hi": "ugt", "hs": "uge"}
_FLOAT_RELATIONS = {"eq": "oeq", "ne": "one", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge",
                    "equ": "ueq", "neu": "une", "ltu": "ult", "leu": "ule", "gtu": "ugt",
                    "geu": "uge", "num": "ord", "nan": "uno"}  # fmt: skip
RELATIONS = f"{' '.join(_UNSIGNED)} {' '.join(_FLOAT_RELATIONS)}"


def _compare(e: Emitter, ins: Instruction, type_: PtxType) -> list[Value]:
    """One predicate, or two for packed types."""
    relation = ins.mods[0]
    operands = ins.operands[1:3]
    if type_.is_float:
        if relation not in _FLOAT_RELATIONS:
            raise e.error(f"unknown comparison '.{relation}'")
        x, y = (widen(e, o, type_, "ftz" in ins.mods) for o in operands)
        return [e.b.fcmp(_FLOAT_RELATIONS[relation], a, c) for a, c in zip(x, y, strict=True)]
    if relation in _UNSIGNED:
        predicate = _UNSIGNED[relation]
    elif relation in ("eq", "ne"):
        predicate = relation
    elif relation in _INT_RELATIONS:
        predicate = ("s" if type_.signed else "u") + relation
    else:
        raise e.error(f"unknown comparison '.{relation}'")
    a, c = (e.read(o, type_.llvm, type_.signed) for o in operands)
    return [e.b.icmp(predicate, a, c)]


def _combine(e: Emitter, ins: Instruction, value: Value) -> Value:
    """The boolean operation of setp.CMP.and and so on, with the fourth operand."""
    kind = next((m for m in ins.mods[1:2] if m in ("and", "or", "xor")), "")
    if not kind:
        return value
    if len(ins.operands) < 4:
        raise e.error("a predicate operand is missing")
    return e.b.op(kind, value, e.read(ins.operands[3], "i1"))


@lanewise("setp", mods=f"and or xor ftz {RELATIONS}", operands=(3, 4))
def setp(e: Emitter, ins: Instruction) -> None:
    target = ins.operands[0]
    values = _compare(e, ins, type_of(e, ins))
    targets = [target.first, target.second] if isinstance(target, Pair) else [target]
    if len(values) == 1 and len(targets) == 2:
        values.append(e.b.not_(values[0]))
    if len(values) > len(targets):
        raise e.error("two destinations are needed")
    results = [_combine(e, ins, v) for v in values]
    for where, value in zip(targets, results, strict=True):
        e.write(where, value)


@lanewise(
    "set",
    mods=f"and or xor ftz {RELATIONS}",
    operands=(3, 4),
)
def set_(e: Emitter, ins: Instruction) -> None:
    b = e.b
    type_ = type_of(e, ins)
    into = type_of(e, Instruction(ins.opcode, ins.mods[:-1], ins.operands, ins.line))
    values = [_combine(e, ins, v) for v in _compare(e, ins, type_)]
    ones = {"f32": (32, 0x3F800000), "f16": (16, 0x3C00), "bf16": (16, 0x3F80),
            "f16x2": (16, 0x3C00), "bf16x2": (16, 0x3F80)}.get(into.name)  # fmt: skip
    bits, one = ones or (into.bits // len(values), -1)
    llvm = f"i{bits}"
    results = [b.select(v, integer(llvm, one), integer(llvm, 0)) for v in values]
    e.write(ins.operands[0], results[0] if len(results) == 1 else join(e, *results))


@lanewise(
    "testp",
    mods="finite infinite number notanumber normal subnormal",
    operands=(2, 2),
)
def testp(e: Emitter, ins: Instruction) -> None:
    b, type_ = e.b, type_of(e, ins)
    bits = e.read(ins.operands[1], type_.llvm)
    fraction = 23 if type_.bits == 32 else 52
    magnitude = b.and_(bits, integer(bits.type, (1 << type_.bits - 1) - 1))
    infinity = integer(bits.type, ((1 << type_.bits - 1) - 1) ^ ((1 << fraction) - 1))
    smallest = integer(bits.type, 1 << fraction)
    zero = integer(bits.type, 0)
    kind = ins.mods[0]
    if kind in ("normal", "subnormal"):
        below = b.icmp("ult", magnitude, smallest)
        if kind == "normal":
            result = b.and_(b.not_(below), b.icmp("ult", magnitude, infinity))
        else:
            result = b.and_(below, b.icmp("ne", magnitude, zero))
    else:
        relation = {"finite": "ult", "infinite": "eq", "number": "ule", "notanumber": "ugt"}[kind]
        result = b.icmp(relation, magnitude, infinity)
    e.write(ins.operands[0], result)


_CVTA = "to global shared shared__cta shared__cluster const local param param__entry"


def _space(ins: Instruction) -> str:
    for mod in ins.mods:
        base = mod.split("__")[0]
        if base in ("shared", "local", "const", "global", "param"):
            return base
    return ""


@lanewise("cvta", mods=_CVTA, operands=(2, 2))
def cvta(e: Emitter, ins: Instruction) -> None:
    """All spaces but shared have generic addresses already."""
    b = e.b
    value = _address_value(e, ins.operands[1])
    if _space(ins) == "shared":
        base = Value("i64", "%shared.i")
        value = b.sub(value, base) if "to" in ins.mods else b.add(value, base)
    e.write(ins.operands[0], value)


def _address_value(e: Emitter, operand: Operand) -> Value:
    if isinstance(operand, Address):
        return e.address(operand)
    if isinstance(operand, (Register, Symbol)):
        return e.read(operand, "i64")
    return e.read(operand, "i64")


@instruction("isspacep", mods=_CVTA, operands=(2, 2), result=Result.FIRST, effect=Effect.NONE)
def isspacep(e: Emitter, ins: Instruction) -> None:
    b = e.b
    address = e.read(ins.operands[1], "i64")
    shared = b.icmp("ult", b.sub(address, Value("i64", "%shared.i")), integer("i64", SHARED_WINDOW))
    local = b.icmp(
        "ult", b.sub(address, Value("i64", "%f.local_base")), Value("i64", "%f.local_bytes")
    )
    space = _space(ins)
    if space == "shared":
        result = shared
    elif space == "local":
        result = local
    elif space == "global":
        result = b.not_(b.or_(shared, local))
    else:
        result = integer("i1", 0)
    e.write(ins.operands[0], result)


@instruction(
    "mapa", "getctarank", mods=f"{_CVTA}", operands=(2, 3), result=Result.FIRST, effect=Effect.NONE
)
def cluster_address(e: Emitter, ins: Instruction) -> None:
    """A cluster is one block here: rank 0, and every address is this block's own."""
    if ins.opcode == "getctarank":
        e.write(ins.operands[0], integer("i32", 0))
    else:
        e.write(ins.operands[0], e.read(ins.operands[1], type_of(e, ins).llvm))
