"""A PTX module seen as functions: where each begins and ends, what it calls, which registers it
names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tally.scheduler.ptx.reader import Kind, Statement, read, write

_NAME = r"[A-Za-z_$%][\w$]*+"
_HEADER = re.compile(
    rf"(?:\.(?:visible|extern|weak|common)\s++)*+\.(entry|func)\s*+(?:\([^)]*+\)\s*+)?+({_NAME})",
    re.S,
)
_CALL = re.compile(rf"call(?:\.uni)?+\s++(?:\([^)]*+\)\s*+,\s*+)?+({_NAME})", re.S)
_PREDICATE = re.compile(rf"@(!?)({_NAME})\s*+")
_OPCODE = re.compile(r"[a-z][\w.:]*")


class RewriteError(ValueError):
    """A pass cannot rewrite this; the message says what stands in the way. The kernel runs
    unchanged.
    """


@dataclass(frozen=True, slots=True)
class Function:
    """A function with a body: statements[header] .. statements[close] of its module."""

    name: str
    is_entry: bool
    header: int
    open: int
    close: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction split no further than opcode and operand text."""

    index: int  # of its statement
    predicate: str | None
    opcode: str
    operands: str


class Module:
    """Statements with their functions. Passes make a new Module from a new list of statements."""

    def __init__(self, statements: list[Statement]) -> None:
        self.statements = statements
        self.functions = list(_functions(statements))
        self._by_name = {f.name: f for f in self.functions}
        self._callees: dict[str, list[Function]] = {}
        self.pointed = [f for f in self.functions if not f.is_entry]  # whom a pointer may name

    @classmethod
    def parse(cls, text: str) -> Module:
        """Read PTX; raises ReadError."""
        return cls(read(text))

    def text(self) -> str:
        """The module as PTX."""
        return write(self.statements)

    @property
    def entries(self) -> list[Function]:
        """The kernels, in file order."""
        return [f for f in self.functions if f.is_entry]

    def instructions(self, function: Function) -> Iterator[Instruction]:
        """The function's instructions in file order."""
        for index in range(function.open, function.close):
            statement = self.statements[index]
            if statement.kind is Kind.INSTRUCTION:
                yield parse_instruction(index, statement.bare)

    def reachable(self, function: Function) -> list[Function]:
        """The function and every function it may call: all of them after a call through a
        pointer.
        """
        found: dict[str, Function] = {}
        waiting, pointed = [function], False
        while waiting:
            current = waiting.pop()
            if current.name in found:
                continue
            found[current.name] = current
            callees = self.callees(current)
            if callees is not self.pointed or not pointed:  # once all of them is enough
                waiting += callees
                pointed |= callees is self.pointed
        return list(found.values())

    def callees(self, function: Function) -> list[Function]:
        """Whom the function itself may call, each once; `pointed` after a call through a pointer.
        Looked for once.
        """
        known = self._callees.get(function.name)
        if known is None:
            names = dict.fromkeys(self.calls(function))
            if any(name.startswith("%") and name not in self._by_name for name in names):
                known = self.pointed
            else:
                known = [self._by_name[name] for name in names if name in self._by_name]
            self._callees[function.name] = known
        return known

    def calls(self, function: Function) -> list[str]:
        """What the function's call instructions name: functions, or registers for indirect
        calls.
        """
        found = []
        for instruction in self.instructions(function):
            if instruction.opcode.split(".")[0] == "call":
                match = _CALL.match(f"call {instruction.operands}")
                found.append(match.group(1) if match else "%")
        return found


def parse_instruction(index: int, bare: str) -> Instruction:
    """Split `@%p1 add.s32 %r1, %r2, 3;` into predicate, opcode and operands."""
    text = bare.rstrip(";").strip()
    predicate = None
    match = _PREDICATE.match(text)
    if match:
        predicate = match.group(2)
        text = text[match.end() :]
    opcode = _OPCODE.match(text)
    if opcode is None:
        return Instruction(index, predicate, "", text)
    return Instruction(index, predicate, opcode.group(), text[opcode.end() :].strip())


def _functions(statements: list[Statement]) -> Iterator[Function]:
    index = 0
    while index < len(statements):
        statement = statements[index]
        if statement.kind is Kind.FUNCTION and not statement.text.endswith(";"):
            match = _HEADER.match(statement.bare)
            start = index
            while index < len(statements) and statements[index].kind is not Kind.OPEN:
                index += 1
            close = _matching(statements, index)
            if match:
                yield Function(match.group(2), match.group(1) == "entry", start, index, close)
            index = close
        index += 1


def _matching(statements: list[Statement], start: int) -> int:
    depth = 0
    for index in range(start, len(statements)):
        kind = statements[index].kind
        depth += (kind is Kind.OPEN) - (kind is Kind.CLOSE)
        if depth == 0:
            return index
    raise RewriteError("a function without its end")
