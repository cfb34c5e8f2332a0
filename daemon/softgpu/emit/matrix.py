"""mma.sync of the m16n8 shapes, ldmatrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Instruction, Operand, Vector
from ..table import Effect, Result, Trait, instruction
from .access import make_access
from .builder import Value
from .memory import SPACES

if TYPE_CHECKING:
    from .emitter import Emitter

# native/softgpu/block/warp_matrix.c
_ELEMENTS = {"f16": 0, "bf16": 1, "tf32": 2, "s8": 3, "u8": 4}
_PER_REGISTER = {"f16": 2, "bf16": 2, "tf32": 1, "s8": 4, "u8": 4}
PLANE = 128


def _parts(operand: Operand) -> tuple[Operand, ...]:
    return operand.parts if isinstance(operand, Vector) else (operand,)


def _spill(e: Emitter, operands: tuple[Operand, ...]) -> str:
    """Registers as arrays of lanes, one after the other."""
    b = e.b
    slot = b.alloca(f"[{32 * max(len(operands), 1)} x i32]")
    for i, operand in enumerate(operands):
        b.store(b.splat(e.read(operand, "i32")), b.offset(slot, i * PLANE), 64)
    return slot


def _take(e: Emitter, operands: tuple[Operand, ...], slot: str) -> None:
    for i, operand in enumerate(operands):
        raw = e.b.load("i32", e.b.offset(slot, i * PLANE), 64, True)
        e.write(operand, Value("i32", e.b.value("i32", True, f"freeze {raw}").text, True))


@instruction(
    "mma",
    mods="sync aligned row col m16n8k4 m16n8k8 m16n8k16 m16n8k32 satfinite",
    operands=(4, 4),
    result=Result.FIRST,
    effect=Effect.NONE,
    traits=Trait.VARYING | Trait.MEETS,
)
def mma(e: Emitter, ins: Instruction) -> None:
    kinds = [m for m in ins.mods if m in (*_ELEMENTS, "f32", "s32")]
    shape = next((m for m in ins.mods if m.startswith("m16")), "")
    layouts = [m for m in ins.mods if m in ("row", "col")]
    if len(kinds) != 4 or not shape or layouts != ["row", "col"] or "satfinite" in ins.mods:
        raise e.unsupported("this form of mma is not supported")
    to, left, right, addend = kinds
    if left not in _ELEMENTS or _PER_REGISTER[left] != _PER_REGISTER.get(right, 0):
        raise e.unsupported("this form of mma is not supported")
    target, a, b, c = (_parts(o) for o in ins.operands)
    depth = int(shape[shape.index("k") + 1 :])
    registers = depth // (2 * _PER_REGISTER[left])
    narrow = [2 if kind == "f16" else 4 for kind in (to, addend)]
    if [len(target), len(a), len(b), len(c)] != [narrow[0], registers, registers // 2, narrow[1]]:
        raise e.error("operands of the wrong length")
    code = _ELEMENTS[left] | _ELEMENTS[right] << 4 | registers << 8
    code |= int(addend == "f16") << 16 | int(to == "f16") << 17
    slots = [_spill(e, part) for part in (a, b, c)]
    out = e.b.alloca("[128 x i32]")
    pointers = ", ".join(f"ptr {s}" for s in slots)
    e.call_helper("mma", "void", f"i32 {code}, {pointers}, ptr {out}")
    _take(e, target, out)


@instruction(
    "ldmatrix",
    mods=f"sync aligned m8n8 x1 x2 x4 trans {SPACES}",
    operands=(2, 2),
    result=Result.FIRST,
    effect=Effect.ACTS,
    traits=Trait.VARYING | Trait.MEETS,
)
def ldmatrix(e: Emitter, ins: Instruction) -> None:
    target = _parts(ins.operands[0])
    count = next((int(m[1:]) for m in ins.mods if m in ("x1", "x2", "x4")), 0)
    if len(target) != count or "b16" not in ins.mods:
        raise e.error("operands of the wrong length")
    access = make_access(e, ins, ins.operands[1], 16, 1)
    where = e.scratch("address", access.address)
    out = e.b.alloca(f"[{32 * count} x i32]")
    e.call_helper(
        "ldmatrix", "void",
        f"ptr %w, ptr {where}, ptr {out}, i32 {count}, i32 {int('trans' in ins.mods)}, "
        f"i32 {access.space}",
    )  # fmt: skip
    _take(e, target, out)
