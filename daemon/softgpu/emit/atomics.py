"""atom and red."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Instruction, Operand, Vector
from ..table import Effect, Result, Trait, instruction
from ..types import PtxType
from .access import make_access
from .builder import Value
from .ints import type_of
from .memory import SPACES

if TYPE_CHECKING:
    from .emitter import Emitter

# native/softgpu/block/warp_memory.c
_OPERATIONS = ("add", "min", "max", "inc", "dec", "and", "or", "xor", "exch", "cas")
_TYPES = {"b16": 0, "u16": 0, "s16": 0, "u32": 1, "b32": 1, "s32": 2, "u64": 3, "b64": 3, "s64": 4,
          "f32": 5, "f64": 6, "f16": 7, "bf16": 8, "f16x2": 9, "bf16x2": 10}  # fmt: skip
_MODS = (
    f"{SPACES} {' '.join(_OPERATIONS)} relaxed acquire release acq_rel cta gpu sys cluster noftz "
    "L2__cache_hint v2 v4 v8 ftz async"
)


@instruction(
    "atom",
    mods=_MODS,
    operands=(3, 5),
    result=Result.FIRST,
    effect=Effect.ACTS,
    traits=Trait.VARYING,
)
def atom(e: Emitter, ins: Instruction) -> None:
    _atomic(e, ins, ins.operands[0], ins.operands[1], ins.operands[2:])


@instruction("red", mods=_MODS, operands=(2, 3), result=Result.NONE, effect=Effect.ACTS)
def red(e: Emitter, ins: Instruction) -> None:
    if "async" in ins.mods:
        raise e.unsupported("red.async is not supported")
    _atomic(e, ins, None, ins.operands[0], ins.operands[1:])


def _atomic(
    e: Emitter,
    ins: Instruction,
    target: Operand | None,
    where: Operand,
    sources: tuple[Operand, ...],
) -> None:
    b, type_ = e.b, type_of(e, ins)
    name = next((m for m in ins.mods if m in _OPERATIONS), "")
    if not name or type_.name not in _TYPES:
        raise e.error("unknown atomic operation")
    first = sources[0]
    if isinstance(first, Vector):
        _vector(e, ins, type_, name, target, where, first)
        return
    access = make_access(e, ins, where, type_.bytes, 1)
    values = [_operand(e, s, type_) for s in sources[: 2 if name == "cas" else 1]]
    if name == "cas" and len(values) < 2:
        raise e.error("an operand is missing")
    result = _call(e, access.address, access.space, name, type_, values, target is not None)
    if target is not None:
        e.write(target, b.value(type_.llvm, True, f"freeze {result}"))


def _operand(e: Emitter, operand: Operand, type_: PtxType) -> Value:
    if type_.kind == "f" and type_.lanes == 1:
        return e.b.bitcast(e.read_as(operand, type_), type_.llvm)
    return e.read(operand, type_.llvm)


def _vector(
    e: Emitter, ins: Instruction, type_: PtxType, name: str, target: Operand | None,
    where: Operand, sources: Vector,
) -> None:  # fmt: skip
    """Each element by itself: vector atomics promise no more."""
    from .builder import integer

    access = make_access(e, ins, where, type_.bytes, 1)
    targets = target.parts if isinstance(target, Vector) else ()
    for i, source in enumerate(sources.parts):
        address = e.b.add(access.address, integer("i64", i * type_.bytes))
        values = [_operand(e, source, type_)]
        result = _call(e, address, access.space, name, type_, values, bool(targets))
        if i < len(targets):
            e.write(targets[i], result)


def _call(
    e: Emitter, address: Value, space: int, name: str, type_: PtxType, values: list[Value],
    wanted: bool,
) -> Value:  # fmt: skip
    b = e.b
    where = e.scratch("address", address)
    slots = [e.scratch(k, v) for k, v in zip(("value", "other"), values, strict=False)]
    slots += ["null"] * (2 - len(slots))
    out = e.scratch_slot("out") if wanted else "null"
    code = _OPERATIONS.index(name) | _TYPES[type_.name] << 8
    e.call_helper(
        "atom", "void",
        f"ptr %w, i32 {e.mask.text}, ptr {where}, ptr {slots[0]}, ptr {slots[1]}, ptr {out}, "
        f"i32 {code}, i32 {space}",
    )  # fmt: skip
    if not wanted:
        return Value(type_.llvm, "0")
    return b.load(type_.llvm, out, 64, True)
