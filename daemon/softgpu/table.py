"""The one table of instructions: opcode to the function that emits it.

To add an instruction, write `@instruction("name", ...)` on a function in the module of its family.
`mods` lists every modifier that the family understands; a module with any other is refused when it
is loaded, by name and line.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Flag, auto
from typing import TYPE_CHECKING

from . import unsupported
from .errors import PtxError, UnsupportedError
from .types import TYPES

if TYPE_CHECKING:
    from .emitter import Emitter
    from .syntax import Instruction

Emit = Callable[["Emitter", "Instruction"], None]

_TABLE: dict[str, tuple[Emit, frozenset[str], tuple[int, int]]] = {}


class Trait(Flag):
    """What the analyses ask of an instruction; older families still stand in lists of theirs."""

    NONE = 0
    EFFECT = auto()  # does something even where its results are not used
    VARYING = auto()  # its results differ between lanes, whatever the operands
    MEETS = auto()  # all lanes of the warp run it together
    WAITS = auto()  # warps of a block may wait for one another with it


_TRAITS: dict[str, Trait] = {}


def instruction(
    *names: str,
    mods: str = "",
    types: bool = True,
    operands: tuple[int, int] = (0, 9),
    traits: Trait = Trait.NONE,
) -> Callable[[Emit], Emit]:
    """Register an emitter; `types`: all type suffixes are modifiers too; `operands`: how few and
    many."""
    allowed = frozenset(mods.split()) | (frozenset(TYPES) if types else frozenset())

    def register(emit: Emit) -> Emit:
        for name in names:
            _TABLE[name] = (emit, allowed, operands)
            _TRAITS[name] = traits
        return emit

    return register


def has_trait(ins: Instruction, trait: Trait) -> bool:
    return trait in _TRAITS.get(ins.opcode, Trait.NONE)


def emitter_for(ins: Instruction) -> Emit:
    return _TABLE[ins.opcode][0]


def check_instruction(ins: Instruction) -> None:
    """Raise PtxError if the instruction is one that this compiler does not know: UnsupportedError
    if PTX has it."""
    from . import families  # noqa: F401  (fills the table)

    found = _TABLE.get(ins.opcode)
    if found is None:
        check_known(ins.line, ins.opcode, ins.full_name)
        raise PtxError(ins.line, f"unknown instruction '{ins.full_name}'")
    for mod in ins.mods:
        if mod not in found[1]:
            if mod in unsupported.MODIFIERS or any(mod in entry[1] for entry in _TABLE.values()):
                raise UnsupportedError(
                    ins.line, f"unsupported modifier '.{mod}' in '{ins.full_name}'"
                )
            raise PtxError(ins.line, f"unknown modifier '.{mod}' in '{ins.full_name}'")
    few, many = found[2]
    if not few <= len(ins.operands) <= many:
        raise PtxError(ins.line, f"'{ins.full_name}' with {len(ins.operands)} operands")


def check_known(line: int, opcode: str, full_name: str) -> None:
    """Raise UnsupportedError for what PTX has and the table does not, whatever its operands."""
    if opcode not in _TABLE and opcode in unsupported.OPCODES:
        raise UnsupportedError(line, f"unsupported instruction '{full_name}'")


def opcodes() -> list[str]:
    """All opcodes known."""
    from . import families  # noqa: F401

    return sorted(_TABLE)
