"""What a parsed module is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import UnsupportedError
from .types import PtxType


@dataclass(slots=True, eq=False)
class Register:
    """A virtual register; one object per declared name and scope."""

    name: str
    type: PtxType
    index: int  # in Function.registers


@dataclass(slots=True, eq=False)
class Variable:
    """A variable in memory. `count` elements of `type`; count 0: size given at launch."""

    name: str
    space: str  # global, const, shared, local, param
    type: PtxType
    count: int
    align: int
    line: int
    initial: str | None = None
    extern: bool = False
    offset: int = 0  # in its space; set by the layout
    function: str = ""  # that declares it

    @property
    def bytes(self) -> int:
        return self.count * self.type.bytes


@dataclass(slots=True, frozen=True)
class Immediate:
    """A literal: an integer, or a float's value with how it was written (`f` 32 bits, `d` 64
    bits)."""

    value: int
    float_bits: int = 0  # 0: an integer; 32 or 64: value holds the bits of such a float


@dataclass(slots=True, frozen=True)
class Special:
    """%tid.x and the like, without the %."""

    name: str


@dataclass(slots=True, frozen=True)
class Symbol:
    """The address of a variable or function."""

    name: str
    offset: int
    variable: Variable | None


@dataclass(slots=True, frozen=True)
class Address:
    """[base + offset]."""

    base: Operand
    offset: int


@dataclass(slots=True, frozen=True)
class Vector:
    parts: tuple[Operand, ...]


@dataclass(slots=True, frozen=True)
class Negated:
    """!p"""

    register: Register


@dataclass(slots=True, frozen=True)
class Pair:
    """d|p"""

    first: Operand
    second: Operand


@dataclass(slots=True, frozen=True)
class Sink:
    """_"""


@dataclass(slots=True, frozen=True)
class Label:
    """A branch target; unique in its function."""

    name: str


Operand = Register | Immediate | Special | Symbol | Address | Vector | Negated | Pair | Sink | Label


@dataclass(slots=True, frozen=True)
class CallOperands:
    results: tuple[Operand, ...]
    target: Operand
    arguments: tuple[Operand, ...]
    prototype: str


@dataclass(slots=True, eq=False)
class Instruction:
    opcode: str
    mods: tuple[str, ...]
    operands: tuple[Operand, ...]
    line: int
    guard: Register | None = None
    guard_negated: bool = False
    call: CallOperands | None = None
    carry: Register | None = None  # the condition code, where it is read or written
    # What analysis/uses.py has found out, which is asked often.
    written: tuple[Register, ...] | None = None
    read: tuple[Register, ...] | None = None

    @property
    def full_name(self) -> str:
        return ".".join((self.opcode, *self.mods))


@dataclass(slots=True, eq=False)
class Function:
    name: str
    entry: bool
    line: int
    parameters: list[Variable] = field(default_factory=list)
    results: list[Variable] = field(default_factory=list)
    max_threads: int = 0
    required: tuple[int, int, int] = (0, 0, 0)
    body: list[Instruction | Label] | None = None
    registers: list[Register] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    tables: dict[str, list[str]] = field(default_factory=dict)  # .branchtargets and .calltargets
    prototypes: dict[str, Function] = field(default_factory=dict)
    refused: UnsupportedError | None = None  # what in it cannot be compiled


@dataclass(slots=True, eq=False)
class Module:
    version: tuple[int, int] = (0, 0)
    target: str = ""
    functions: dict[str, Function] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
