"""How a register's value runs along the lanes: by how much it grows from lane to lane.

A shape holds in every lane, also those that do not run, within each group of lanes that has
consecutive threads (see abi.GROUPS). Arithmetic wraps, and extending a value that wrapped between
two lanes breaks the line, at most once: so code that uses a shape compares a group's first and
last value at run time, which is exact then. Knowing the shape saves looking at the lanes between.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..abi import GROUPS
from ..ir import Address, Function, Immediate, Instruction, Operand, Register, Special, Symbol
from ..table import Effect, effect_of
from .cfg import Graph
from .divergence import Divergence
from .uses import writes

STRIDE_MAX = 1 << 16


@dataclass(slots=True, frozen=True)
class Shape:
    stride: int
    wraps: bool = False  # extended from a narrower value


FLAT = Shape(0)
_LINEAR_TYPES = frozenset(("u32", "s32", "b32", "u64", "s64", "b64"))


class Shapes:
    """Shapes of a function's registers."""

    def __init__(
        self, function: Function, graph: Graph, divergence: Divergence, variant: int
    ) -> None:
        self.group = GROUPS[variant]
        self.divergence = divergence
        self.definitions: dict[int, list[Instruction]] = {}
        for block in graph.blocks:
            for ins in block.instructions:
                for r in writes(ins):
                    self.definitions.setdefault(r.index, []).append(ins)
        self.shapes: dict[int, Shape | None] = {}  # absent: not known yet; None: no shape
        if self.group:
            self._solve(function)

    def _solve(self, function: Function) -> None:
        varying = self.divergence.varying
        dirty = True
        while dirty:
            dirty = False
            for register, definitions in self.definitions.items():
                if register not in varying or self.shapes.get(register, FLAT) is None:
                    continue
                new = self._join(register, definitions)
                if new is not _UNKNOWN and self.shapes.get(register, _UNKNOWN) != new:
                    self.shapes[register] = new  # type: ignore[assignment]
                    dirty = True

    def _join(self, register: int, definitions: list[Instruction]) -> object:
        if register in self.divergence.blended:
            return None
        result: object = _UNKNOWN
        for ins in definitions:
            shape = self._transfer(ins)
            if shape is _UNKNOWN:
                continue
            if shape is None:
                return None
            assert isinstance(shape, Shape)
            if isinstance(result, Shape):
                if result.stride != shape.stride:
                    return None
                shape = Shape(shape.stride, shape.wraps or result.wraps)
            result = shape
        return result

    # ---- operands --------------------------------------------------------------------------------

    def constant(self, operand: Operand) -> int | None:
        """The operand's value if it is a literal, or a register that only ever holds one."""
        if isinstance(operand, Immediate):
            value = operand.value
            return value - (1 << 64) if value >> 63 else value
        if isinstance(operand, Register):
            definitions = self.definitions.get(operand.index, [])
            if len(definitions) == 1 and definitions[0].opcode == "mov":
                source = definitions[0].operands[1]
                if isinstance(source, Immediate) and definitions[0].guard is None:
                    return self.constant(source)
        return None

    def of(self, operand: Operand) -> Shape | None:
        """The shape of an operand, None if it has none."""
        shape = self._operand(operand)
        return shape if isinstance(shape, Shape) else None

    def _operand(self, operand: Operand) -> object:
        if isinstance(operand, Register):
            if operand.index not in self.divergence.varying:
                return FLAT
            return self.shapes.get(operand.index, _UNKNOWN if self.group else None)
        if isinstance(operand, Special):
            base, _, component = operand.name.partition(".")
            if not self.group or base.startswith("lanemask"):
                return None
            if base == "laneid" or (base == "tid" and component in ("", "x")):
                return Shape(1)
            return FLAT
        if isinstance(operand, Address):
            return self._operand(operand.base)
        if isinstance(operand, Symbol):
            space = operand.variable.space if operand.variable else ""
            return None if space in ("local", "param") else FLAT
        return FLAT if isinstance(operand, Immediate) else None

    # ---- instructions ----------------------------------------------------------------------------

    def _transfer(self, ins: Instruction) -> object:
        if effect_of(ins) is not Effect.LANEWISE or len(writes(ins)) != 1:
            return None
        if ins.guard is not None and ins.guard.index in self.divergence.varying:
            return None
        shapes = [self._operand(o) for o in ins.operands[1:]]
        if any(s is None for s in shapes):
            return None
        if any(s is _UNKNOWN for s in shapes):
            return _UNKNOWN
        known = [s for s in shapes if isinstance(s, Shape)]
        if all(s.stride == 0 for s in known):
            return FLAT
        result = self._linear(ins, known)
        if result is None or abs(result.stride) > STRIDE_MAX:
            return None
        return result

    def _linear(self, ins: Instruction, shapes: list[Shape]) -> Shape | None:
        name, mods = ins.opcode, ins.mods
        if name in ("mov", "cvta"):
            return shapes[0]
        if name == "cvt":
            return self._extend(mods, shapes[0])
        if not mods or mods[-1] not in _LINEAR_TYPES or "hi" in mods or "sat" in mods:
            return None
        if name in ("add", "sub") and "cc" not in mods:
            return _sum(shapes[0], shapes[1], -1 if name == "sub" else 1)
        if name == "shl":
            amount = self.constant(ins.operands[2])
            if amount is None or not 0 <= amount < 16:
                return None
            return Shape(shapes[0].stride << amount, shapes[0].wraps)
        if name in ("mul", "mad") and ("lo" in mods or "wide" in mods):
            product = self._product(ins, shapes, "wide" in mods)
            if product is None or name == "mul":
                return product
            return _sum(product, shapes[2], 1)
        return None

    def _product(self, ins: Instruction, shapes: list[Shape], wide: bool) -> Shape | None:
        a, b = shapes[0], shapes[1]
        factor = self.constant(ins.operands[2])
        if factor is None:
            factor, a = self.constant(ins.operands[1]), b
        if factor is None:
            return FLAT if shapes[0].stride == shapes[1].stride == 0 else None
        return Shape(a.stride * factor, a.wraps or (wide and a.stride != 0))

    def _extend(self, mods: tuple[str, ...], shape: Shape) -> Shape | None:
        if len(mods) != 2 or any(m not in _LINEAR_TYPES for m in mods):
            return None
        to, source = int(mods[0][1:]), int(mods[1][1:])
        if to < source:
            return Shape(shape.stride)
        return Shape(shape.stride, shape.wraps or (to > source and shape.stride != 0))


def _sum(a: Shape, b: Shape, sign: int) -> Shape | None:
    if a.wraps and b.wraps:
        return None
    return Shape(a.stride + sign * b.stride, a.wraps or b.wraps)


class _Unknown:
    pass


_UNKNOWN = _Unknown()
