"""The one table of instructions: opcode to the function that emits it.

To add an instruction, write `@instruction("name", ...)` on a function in the module of its family.
`mods` lists every modifier that the family understands; a module with any other is refused when it
is loaded, by name and line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import PtxError
from .types import TYPES

if TYPE_CHECKING:
    from .emitter import Emitter
    from .syntax import Instruction

Emit = Callable[["Emitter", "Instruction"], None]

_TABLE: dict[str, tuple[Emit, frozenset[str], tuple[int, int]]] = {}


def instruction(
    *names: str, mods: str = "", types: bool = True, operands: tuple[int, int] = (0, 9)
) -> Callable[[Emit], Emit]:
    """Register an emitter; `types`: all type suffixes are modifiers too; `operands`: how few and
    many."""
    allowed = frozenset(mods.split()) | (frozenset(TYPES) if types else frozenset())

    def register(emit: Emit) -> Emit:
        for name in names:
            _TABLE[name] = (emit, allowed, operands)
        return emit

    return register


def emitter_for(ins: Instruction) -> Emit:
    return _TABLE[ins.opcode][0]


def check_instruction(ins: Instruction) -> None:
    """Raise PtxError if the instruction is one that this compiler does not know."""
    from . import families  # noqa: F401  (fills the table)

    found = _TABLE.get(ins.opcode)
    if found is None:
        raise PtxError(ins.line, f"unknown or unsupported instruction '{ins.full_name}'")
    for mod in ins.mods:
        if mod not in found[1]:
            raise PtxError(
                ins.line, f"unknown or unsupported modifier '.{mod}' in '{ins.full_name}'"
            )
    few, many = found[2]
    if not few <= len(ins.operands) <= many:
        raise PtxError(ins.line, f"'{ins.full_name}' with {len(ins.operands)} operands")


def opcodes() -> list[str]:
    """All opcodes known."""
    from . import families  # noqa: F401

    return sorted(_TABLE)
