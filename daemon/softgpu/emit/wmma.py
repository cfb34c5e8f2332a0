"""wmma: matrices in fragments of a warp, whose layout PTX leaves open.

Here lane l holds elements l*n to l*n + n-1 of a matrix, row by row, n being its elements over 32;
where a fragment has room for more (some of 16-bit types do), it holds them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..ir import Instruction, Operand, Vector
from ..table import Effect, Result, Trait, instruction
from .access import make_access
from .builder import Value, integer
from .matrix import PLANE
from .memory import SPACES

if TYPE_CHECKING:
    from .emitter import Emitter

# native/softgpu/block/warp_wmma.c: kind, bits of an element in fragments and in memory
_KINDS = {"f16": (0, 16), "bf16": (1, 16), "tf32": (2, 32), "s8": (3, 8), "u8": (4, 8),
          "s4": (5, 4), "u4": (6, 4), "b1": (7, 1), "f64": (8, 64), "f32": (9, 32),
          "s32": (10, 32)}  # fmt: skip
_SHAPES = {
    "m16n16k16": ("f16", "bf16", "s8", "u8"), "m8n32k16": ("f16", "bf16", "s8", "u8"),
    "m32n8k16": ("f16", "bf16", "s8", "u8"), "m16n16k8": ("tf32",), "m8n8k4": ("f64",),
    "m8n8k32": ("s4", "u4"), "m8n8k128": ("b1",),
}  # fmt: skip
_REAL = ("f16", "f32")


@dataclass(frozen=True)
class _Matrix:
    rows: int
    columns: int
    kind: str
    inner: bool = False  # A or B

    @property
    def bits(self) -> int:
        return _KINDS[self.kind][1]

    @property
    def words(self) -> int:
        """Of a lane's fragment, which may have room for each element twice or more."""
        if self.kind == "f16" and self.inner:
            return 8
        return self.rows * self.columns * self.bits // 32 // 32

    @property
    def shape(self) -> int:
        return self.rows | self.columns << 8 | self.bits << 16 | self.words << 24


def _sizes(e: Emitter, ins: Instruction) -> tuple[int, int, int, str]:
    shape = next((m for m in ins.mods if m in _SHAPES), "")
    if not shape:
        raise e.unsupported("this form of wmma is not supported")
    m, rest = shape[1:].split("n")
    n, k = rest.split("k")
    return int(m), int(n), int(k), shape


def _matrix(e: Emitter, ins: Instruction, which: str, kind: str) -> _Matrix:
    m, n, k, shape = _sizes(e, ins)
    if which in "ab" and kind not in _SHAPES[shape]:
        raise e.unsupported("this form of wmma is not supported")
    if which == "a":
        return _Matrix(m, k, kind, True)
    if which == "b":
        # Held column by column, so that both are rows of the same length to the multiplication.
        return _Matrix(n, k, kind, True)
    return _Matrix(m, n, kind)


def _parts(e: Emitter, operand: Operand, matrix: _Matrix) -> tuple[Operand, ...]:
    parts = operand.parts if isinstance(operand, Vector) else (operand,)
    if len(parts) * (2 if matrix.bits == 64 else 1) != matrix.words:
        raise e.error("fragment of the wrong length")
    return parts


def _spill(e: Emitter, operand: Operand, matrix: _Matrix) -> str:
    """A fragment's words as arrays of lanes."""
    b = e.b
    slot = b.alloca(f"[{32 * matrix.words} x i32]")
    for i, part in enumerate(_parts(e, operand, matrix)):
        if matrix.bits == 64:
            wide = b.splat(e.read(part, "i64"))
            b.store(b.resize(wide, "i32"), b.offset(slot, 2 * i * PLANE), 64)
            high = b.resize(b.lshr(wide, integer("i64", 32)), "i32")
            b.store(high, b.offset(slot, (2 * i + 1) * PLANE), 64)
        else:
            b.store(b.splat(e.read(part, "i32")), b.offset(slot, i * PLANE), 64)
    return slot


def _take(e: Emitter, operand: Operand, matrix: _Matrix, slot: str) -> None:
    b = e.b

    def word(i: int) -> Value:
        raw = b.load("i32", b.offset(slot, i * PLANE), 64, True)
        return b.value("i32", True, f"freeze {raw}")

    for i, part in enumerate(_parts(e, operand, matrix)):
        if matrix.bits == 64:
            low, high = (b.resize(word(2 * i + j), "i64") for j in range(2))
            e.write(part, b.or_(low, b.shl(high, integer("i64", 32))))
        else:
            e.write(part, word(i))


def _move(e: Emitter, ins: Instruction, matrix: _Matrix, at: Operand, slot: str) -> None:
    """Between memory and words; both directions."""
    b = e.b
    store = ins.mods[0] == "store"
    by_column = ("row" not in ins.mods) != ("b" in ins.mods)  # B is held by columns
    access = make_access(e, ins, at, max(matrix.bits // 8, 1), 1)
    lines = matrix.rows if by_column else matrix.columns
    stride: Value = integer("i32", lines)
    if len(ins.operands) > 2:
        stride = b.lane(e.read(ins.operands[2], "i32"), 0)
    how = int(by_column) | int(store) << 1 | access.space << 2
    address = b.lane(access.address, 0)
    e.call_helper(
        "fragment",
        "void",
        f"ptr %w, i32 {matrix.shape}, i32 {how}, {address}, {stride}, ptr {slot}",
    )


def _multiply(e: Emitter, ins: Instruction) -> None:
    m, n, k, shape = _sizes(e, ins)
    kinds = [x for x in ins.mods if x in _KINDS]
    if len(kinds) == 2 and shape in ("m16n16k16", "m8n32k16", "m32n8k16"):
        kinds = [kinds[0], "f16", "f16", kinds[1]]  # .dtype.ctype
    if len(kinds) != 4 or not {"row", "col"} & set(ins.mods):
        raise e.unsupported("this form of wmma is not supported")
    matrices = [_matrix(e, ins, which, kind) for which, kind in zip("dabc", kinds, strict=True)]
    slots = [
        _spill(e, operand, matrix)
        for operand, matrix in zip(ins.operands[1:], matrices[1:], strict=True)
    ]
    out = e.b.alloca(f"[{32 * matrices[0].words} x i32]")
    code = sum(_KINDS[kind][0] << 4 * i for i, kind in enumerate(kinds))
    code |= int("satfinite" in ins.mods) << 16 | int("and" in ins.mods) << 17
    pointers = ", ".join(f"ptr {s}" for s in slots)
    e.call_helper("wmma", "void", f"i32 {code}, i32 {m | n << 8 | k << 16}, {pointers}, ptr {out}")
    _take(e, ins.operands[0], matrices[0], out)


@instruction(
    "wmma",
    mods=f"load store mma a b c d sync aligned row col satfinite rn xor and popc {SPACES} "
    f"{' '.join(_SHAPES)} s4 u4 b1",
    operands=(2, 4),
    result=Result.FIRST,
    effect=Effect.ACTS,
    traits=Trait.VARYING | Trait.MEETS,
)
def wmma(e: Emitter, ins: Instruction) -> None:
    if ins.mods[0] == "mma":
        _multiply(e, ins)
        return
    kind = next((m for m in reversed(ins.mods) if m in _KINDS), "")
    which = ins.mods[1]
    if not kind or which not in "abcd":
        raise e.unsupported("this form of wmma is not supported")
    matrix = _matrix(e, ins, which, kind)
    if ins.mods[0] == "store":
        _move(e, ins, matrix, ins.operands[0], _spill(e, ins.operands[1], matrix))
    else:
        slot = e.b.alloca(f"[{32 * matrix.words} x i32]")
        _move(e, ins, matrix, ins.operands[1], slot)
        _take(e, ins.operands[0], matrix, slot)
