"""The one table of instructions: what each is to the analyses, and the function that emits it.

To add an instruction, write `@instruction("name", ...)` on a function in the module of its family.
All that anybody asks about an opcode stands there: the analyses have no lists of their own. What it
writes and what it does besides must be said; `@lanewise` says both for plain arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from functools import cache
from typing import TYPE_CHECKING

from .types import TYPES

if TYPE_CHECKING:
    from .emit.emitter import Emitter
    from .ir import Instruction

Emit = Callable[["Emitter", "Instruction"], None]


class Result(Enum):
    """What an instruction writes."""

    NONE = auto()  # no register: every operand is read
    FIRST = auto()  # its first operand, unless that is an address
    REDUCTION = auto()  # its first operand where a modifier is `red`, else nothing
    CALL = auto()  # what the call says (Instruction.call)


class Effect(Enum):
    """What an instruction does besides."""

    NONE = auto()  # nothing
    LANEWISE = auto()  # nothing; each lane's result comes from that lane's operands alone
    ACTS = auto()  # something, or it looks at which lanes run: never run with no lane


class Trait(Flag):
    """What else the analyses ask."""

    NONE = 0
    VARYING = auto()  # its results differ between lanes, whatever the operands
    COLLECTIVE = auto()  # one result for all lanes that take part, whatever the operands
    MEETS = auto()  # lanes, in its `.sync` form, or warps meet there
    NAMES_MEMBERS = auto()  # the last operand of its `.sync` form says which lanes take part
    WAITS = auto()  # warps of a block may wait for one another with it, but for its `.warp` form
    READS_CARRY = auto()  # it reads the condition code


@dataclass(slots=True, frozen=True)
class Entry:
    """An instruction."""

    emit: Emit
    mods: frozenset[str]  # every modifier that the family understands
    operands: tuple[int, int]  # how few and how many
    result: Result
    effect: Effect
    traits: int  # as Trait; a Flag's own operators are slow, and analyses ask in loops


_TABLE: dict[str, Entry] = {}


def instruction(
    *names: str,
    result: Result,
    effect: Effect,
    mods: str = "",
    types: bool = True,
    operands: tuple[int, int] = (0, 9),
    traits: Trait = Trait.NONE,
) -> Callable[[Emit], Emit]:
    """Register an emitter.

    mods: whatever has another one is refused. types: all type suffixes are modifiers too. operands:
    how few and how many. ValueError for a contradiction."""
    if not isinstance(result, Result) or not isinstance(effect, Effect):
        raise ValueError(f"{names}: an instruction needs a rule for its results and its effect")
    if effect is Effect.LANEWISE and (result is not Result.FIRST or traits):
        raise ValueError(f"{names}: lanewise, and yet no plain function of each lane's operands")
    if Trait.VARYING in traits and Trait.COLLECTIVE in traits:
        raise ValueError(f"{names}: the results are the lanes' own, or one for all")
    allowed = frozenset(mods.split()) | (frozenset(TYPES) if types else frozenset())

    def register(emit: Emit) -> Emit:
        for name in names:
            if name in _TABLE:
                raise ValueError(f"'{name}' is registered twice")
            _TABLE[name] = Entry(emit, allowed, operands, result, effect, traits.value)
        return emit

    return register


def lanewise(
    *names: str, mods: str = "", types: bool = True, operands: tuple[int, int] = (0, 9)
) -> Callable[[Emit], Emit]:
    """Register an instruction that computes each lane's result from that lane's operands alone."""
    return instruction(
        *names, result=Result.FIRST, effect=Effect.LANEWISE,
        mods=mods, types=types, operands=operands,
    )  # fmt: skip


@cache
def _filled() -> dict[str, Entry]:
    """The table. Families import those who ask it, so they are imported when it is first asked."""
    from .emit import families  # noqa: F401

    return _TABLE


def opcode_has(opcode: str, trait: Trait) -> bool:
    """False for opcodes that are not in the table: what has one is never emitted."""
    entry = _filled().get(opcode)
    return entry is not None and bool(entry.traits & trait._value_)


def has_trait(ins: Instruction, trait: Trait) -> bool:
    return opcode_has(ins.opcode, trait)


def writes_first_operand(ins: Instruction) -> bool:
    """Whether the first operand, if it is no address, is written."""
    entry = _filled().get(ins.opcode)
    if entry is None or entry.result is Result.FIRST:
        return True
    return entry.result is Result.REDUCTION and "red" in ins.mods


def effect_of(ins: Instruction) -> Effect:
    entry = _filled().get(ins.opcode)
    return Effect.NONE if entry is None else entry.effect


def emitter_for(ins: Instruction) -> Emit:
    return _TABLE[ins.opcode].emit


def entry_of(opcode: str) -> Entry | None:
    return _filled().get(opcode)


def is_modifier(name: str) -> bool:
    """Whether any instruction has it."""
    return any(name in entry.mods for entry in _filled().values())


def opcodes() -> list[str]:
    """All opcodes known."""
    return sorted(_filled())
