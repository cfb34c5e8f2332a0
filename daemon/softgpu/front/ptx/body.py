"""The body of a PTX function: scopes, labels, registers, instructions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tally.scheduler.ptx.reader import Kind, Statement

from ...errors import PtxError, UnsupportedError
from ...ir import CallOperands, Function, Instruction, Label, Operand, Register, Sink, Symbol
from ...table import Trait, opcode_has
from ...types import TYPES
from .check import check_known
from .operands import is_name, parse_operand, split

if TYPE_CHECKING:
    from .parse import Parser

NAMES_MAX = 1_000_000
# Possessive, as in scheduler/ptx/reader.py: the time is linear in the text.
_GUARD = re.compile(r"@\s*+(!?)\s*+([\w$%]++)\s*+")
_OPCODE = re.compile(r"([a-z]\w*+)((?:(?:\.|::)\w++)*+)\s*+")
_RANGE = re.compile(r"([\w$%]++)\s*+<\s*+(\d++)\s*+>$")


class _Scope:
    """Names of one { } block."""

    __slots__ = ("labels", "names", "parent", "ranges", "tag")

    def __init__(self, parent: _Scope | None, tag: int) -> None:
        self.parent = parent
        self.tag = tag
        self.names: dict[str, Operand] = {}
        self.ranges: dict[str, tuple[int, str]] = {}
        self.labels: set[str] = set()


class Body:
    """The statements of one function."""

    def __init__(self, parser: Parser, function: Function) -> None:
        self.parser = parser
        self.function = function
        self.scope = _Scope(None, 0)
        self.scopes = 0
        self.seen_labels: set[str] = set()
        self.items: list[Instruction | Label] = []
        self.pending_label = ""
        self.carry: Register | None = None

    def parse(self) -> None:
        for variable in (*self.function.parameters, *self.function.results):
            self.scope.names[variable.name] = Symbol(variable.name, 0, variable)
        self._find_labels(self.scope)
        statements = self.parser.statements
        depth = 0
        while True:
            s = statements[self.parser.at]
            self.parser.at += 1
            if s.kind is Kind.CLOSE:
                if depth == 0:
                    break
                depth -= 1
                assert self.scope.parent is not None
                self.scope = self.scope.parent
            elif s.kind is Kind.OPEN:
                depth += 1
                if depth > 200:
                    raise PtxError(s.line, "blocks nest too deep")
                self.scopes += 1
                self.scope = _Scope(self.scope, self.scopes)
                self._find_labels(self.scope)
            elif s.kind is Kind.LABEL:
                self._label(s)
            elif s.kind is Kind.DIRECTIVE:
                self._directive(s)
            elif s.kind is Kind.INSTRUCTION:
                self._add_instruction(s)
            else:
                raise PtxError(s.line, f"unexpected '{s.text[:40]}' in a function")
        self.function.body = self.items

    def _find_labels(self, scope: _Scope) -> None:
        """Labels are visible in all of their block, also before they are set."""
        depth = 0
        statements = self.parser.statements
        for i in range(self.parser.at, len(statements)):
            kind = statements[i].kind
            if kind is Kind.OPEN:
                depth += 1
            elif kind is Kind.CLOSE:
                depth -= 1
                if depth < 0:
                    return
            elif kind is Kind.LABEL and depth == 0:
                scope.labels.add(statements[i].text.rstrip(":").strip())

    def _label(self, s: Statement) -> None:
        name = s.text.rstrip(":").strip()
        following = self.parser.statements[self.parser.at].text
        if following.startswith((".callprototype", ".branchtargets", ".calltargets")):
            self.pending_label = name
            return
        unique = f"{name}#{self.scope.tag}"
        if unique in self.seen_labels:
            raise PtxError(s.line, f"label '{name}' is set twice")
        self.seen_labels.add(unique)
        self.items.append(Label(unique))

    # ---- declarations ----------------------------------------------------------------------------

    def _directive(self, s: Statement) -> None:
        text = s.bare.rstrip(";").strip()
        name = re.match(r"\.\w+", text)
        word = name.group() if name else ""
        if word == ".reg":
            self._registers(text[4:].strip(), s.line)
        elif word in (".loc", ".pragma", ".file", ".section", ".maxnreg"):
            pass
        elif word in (".branchtargets", ".calltargets"):
            targets = [t.strip() for t in text[len(word) :].split(",")]
            if word == ".branchtargets":
                targets = [self._label_name(t, s.line) for t in targets]
            self.function.tables[self.pending_label] = targets
        elif word == ".callprototype":
            header = ".func " + re.sub(
                r"\s_\s*(\(|$)", r" _proto \1", " " + text[len(word) :], count=0
            )
            prototype, _ = self.parser.header(_first_name(header), s.line)
            self.function.prototypes[self.pending_label] = prototype
        else:
            for variable in self.parser.variables(s, self.function.name):
                self._count(s.line)
                if variable.space == "param":
                    variable.name = f"{variable.name}#{self.scope.tag}"
                self.function.variables.append(variable)
                key = variable.name.split("#")[0]
                self.scope.names[key] = Symbol(variable.name, 0, variable)

    def _count(self, line: int, more: int = 1) -> None:
        self.parser.names += more
        if self.parser.names > NAMES_MAX:
            raise PtxError(line, "too many names")

    def _registers(self, text: str, line: int) -> None:
        match = re.match(r"(?:\.v[24]\s*+)?+\.(\w++)\s++(.*+)$", text, re.S)
        if not match or match.group(1) not in TYPES:
            raise PtxError(line, f"malformed .reg '{text[:60]}'")
        type_, names = match.groups()
        for name in split(names):
            ranged = _RANGE.match(name)
            if ranged:
                self.scope.ranges[ranged.group(1)] = (int(ranged.group(2)[:9]), type_)
            elif is_name(name):
                self.scope.names[name] = self._register(name, type_, line)
            else:
                raise PtxError(line, f"malformed register name '{name[:60]}'")

    def _register(self, name: str, type_: str, line: int) -> Register:
        self._count(line)
        register = Register(name, TYPES[type_], len(self.function.registers))
        self.function.registers.append(register)
        return register

    # ---- names -----------------------------------------------------------------------------------

    def resolve(self, text: str) -> Operand | None:
        """What a name means here."""
        scope: _Scope | None = self.scope
        while scope is not None:
            found = scope.names.get(text)
            if found is not None:
                return found
            if scope.ranges and text[-1:].isdigit():
                register = self._in_range(scope, text)
                if register is not None:
                    return register
            scope = scope.parent
        if not is_name(text) or text[0] == "%" or text == "_":
            return None
        variable = self.parser.result.variables.get(text)
        if variable is not None:
            return Symbol(text, 0, variable)
        if text in self.parser.result.functions:
            return Symbol(text, 0, None)
        return None

    def _in_range(self, scope: _Scope, text: str) -> Register | None:
        digits = len(text)
        while digits and text[digits - 1].isdigit():
            digits -= 1
        for cut in range(max(digits, len(text) - 9), len(text)):
            declared = scope.ranges.get(text[:cut])
            if declared is None or (text[cut] == "0" and len(text) - cut > 1):
                continue
            if int(text[cut:]) < declared[0]:
                register = self._register(text, declared[1], 0)
                scope.names[text] = register
                return register
        return None

    def _label_name(self, text: str, line: int) -> str:
        scope: _Scope | None = self.scope
        while scope is not None:
            if text in scope.labels:
                return f"{text}#{scope.tag}"
            scope = scope.parent
        raise PtxError(line, f"unknown label '{text[:60]}'")

    # ---- instructions ----------------------------------------------------------------------------

    def _add_instruction(self, s: Statement) -> None:
        try:
            self.items.append(self._instruction(s))
        except UnsupportedError as error:
            self.function.refused = self.function.refused or error

    def _instruction(self, s: Statement) -> Instruction:
        text = s.bare[:-1].strip()
        guard: Register | None = None
        negated = False
        match = _GUARD.match(text) if text.startswith("@") else None
        if match:
            found = self.resolve(match.group(2))
            if not isinstance(found, Register) or found.type.kind != "p":
                raise PtxError(s.line, f"'{match.group(2)[:60]}' is not a predicate")
            guard, negated = found, match.group(1) == "!"
            text = text[match.end() :]
        match = _OPCODE.match(text)
        if not match:
            raise PtxError(s.line, f"malformed instruction '{text[:60]}'")
        opcode = match.group(1)
        mods = tuple(match.group(2).replace("::", "__").split(".")[1:])
        check_known(s.line, opcode, ".".join((opcode, *mods)))
        rest = text[match.end() :].strip()
        if opcode == "call":
            call = self._call(rest, s.line)
            return Instruction(opcode, mods, (), s.line, guard, negated, call)
        if opcode in ("bra", "brx"):
            operands = self._branch(opcode, rest, s.line)
        else:
            operands = tuple(parse_operand(p, self.resolve, s.line) for p in split(rest))
        carry: Register | None = None
        if "cc" in mods or opcode_has(opcode, Trait.READS_CARRY):
            if self.carry is None:
                self.carry = self._register("the condition code", "pred", s.line)
            carry = self.carry
        return Instruction(opcode, mods, operands, s.line, guard, negated, None, carry)

    def _branch(self, opcode: str, text: str, line: int) -> tuple[Operand, ...]:
        parts = split(text)
        if len(parts) == (1 if opcode == "bra" else 0):
            return (Label(self._label_name(parts[0], line)),)
        if opcode == "brx" and len(parts) == 2:
            return (parse_operand(parts[0], self.resolve, line), Label(parts[1]))
        raise PtxError(line, "malformed branch")

    def _call(self, text: str, line: int) -> CallOperands:
        parts = split(text)
        results: tuple[Operand, ...] = ()
        if parts and parts[0].startswith("("):
            results = self._list(parts.pop(0), line)
        if not parts:
            raise PtxError(line, "malformed call")
        name = parts.pop(0)
        target = self.resolve(name)
        if target is None:
            raise PtxError(line, f"call of unknown function '{name[:60]}'")
        arguments: tuple[Operand, ...] = ()
        if parts and parts[0].startswith("("):
            arguments = self._list(parts.pop(0), line)
        prototype = parts.pop(0) if parts else ""
        if parts:
            raise PtxError(line, "malformed call")
        return CallOperands(results, target, arguments, prototype)

    def _list(self, text: str, line: int) -> tuple[Operand, ...]:
        inner = text.strip()[1:-1].strip()
        operands = tuple(parse_operand(p, self.resolve, line) for p in split(inner))
        return tuple(o for o in operands if not isinstance(o, Sink))


def _first_name(header: str) -> str:
    """A prototype has `_` for names; parameters get distinct ones."""
    count = 0

    def name(_: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"_p{count}"

    return re.sub(r"(?<![\w$])_(?![\w$])", name, header)
