"""PTX text to syntax.Module: scopes and names resolved, nothing else decided."""

from __future__ import annotations

import re

from .....scheduler.ptx.reader import Kind, ReadError, Statement, read
from ...errors import (
    CUDA_ERROR_INVALID_IMAGE,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
    PtxError,
    UnsupportedError,
)
from ...ir import (
    CallOperands,
    Function,
    Instruction,
    Label,
    Module,
    Operand,
    Register,
    Sink,
    Symbol,
    Variable,
)
from ...table import Trait, opcode_has
from ...types import TYPES
from .check import check_known
from .operands import is_name, literal, parse_operand, split

VERSION_MAX = (9, 9)
NAMES_MAX = 1_000_000
ARRAY_BYTES_MAX = 1 << 40
# Possessive, as in scheduler/ptx/reader.py: the time is linear in the text.
_DIMENSIONS = re.compile(r"\[([^\[\]]*+)\]")
_GUARD = re.compile(r"@\s*+(!?)\s*+([\w$%]++)\s*+")
_OPCODE = re.compile(r"([a-z]\w*+)((?:(?:\.|::)\w++)*+)\s*+")
_RANGE = re.compile(r"([\w$%]++)\s*+<\s*+(\d++)\s*+>$")
_WORD = re.compile(r"\.(\w++(?:::\w++)?+)\s*+")
_SPACE = re.compile(r"\s*+")
_ALIGNMENT = re.compile(r"(\d++)\s*+")
_HEADER = re.compile(
    r"((?:\.(?:visible|extern|weak|common)\s++)*+)\.(entry|func)\b\s*+"
    r"(?:\.attribute\s*+\([^)]*+\)\s*+)?+(?:\.noreturn\s*+)?+(\([^)]*+\)\s*+)?+([\w$%]++)\s*+"
    r"(\([^)]*+\))?+(.*+)$",
    re.S,
)
_PERFORMANCE = re.compile(r"\.(\w++)\s*+([\d\s,]*+)")
_SPACES = {"global", "const", "shared", "local", "param"}
_ALIGNMENTS = frozenset(str(1 << power) for power in range(9))
_LINKAGE = {"visible", "extern", "weak", "common"}


class _Scope:
    """Names of one { } block."""

    __slots__ = ("labels", "names", "parent", "ranges", "tag")

    def __init__(self, parent: _Scope | None, tag: int) -> None:
        self.parent = parent
        self.tag = tag
        self.names: dict[str, Operand] = {}
        self.ranges: dict[str, tuple[int, str]] = {}
        self.labels: set[str] = set()


def parse(text: str) -> Module:
    """Parse a module; raises PtxError."""
    try:
        return _Parser(read(text)).module()
    except ReadError as error:
        raise PtxError(error.line, error.message) from error


class _Parser:
    def __init__(self, statements: list[Statement]) -> None:
        self.statements = statements
        self.at = 0
        self.result = Module()
        self.names = 0

    # ---- module level ----------------------------------------------------------------------------

    def module(self) -> Module:
        statements = self.statements
        while self.at < len(statements):
            s = statements[self.at]
            self.at += 1
            if s.kind is Kind.DIRECTIVE:
                self._module_directive(s)
            elif s.kind is Kind.FUNCTION:
                self._function(s)
            elif s.kind is not Kind.END:
                raise PtxError(s.line, f"unexpected '{s.text[:40]}' outside of a function")
        if not self.result.version[0]:
            raise PtxError(1, "no .version directive", CUDA_ERROR_INVALID_IMAGE)
        if not self.result.target:
            raise PtxError(1, "no .target directive")
        return self.result

    def _module_directive(self, s: Statement) -> None:
        text = s.bare.rstrip(";").strip()
        words = text.split()
        name = words[0]
        if name in (".version", ".target", ".address_size") and len(words) < 2:
            raise PtxError(s.line, f"malformed {name}")
        if name == ".version":
            major, dot, minor = words[1].partition(".")
            if not (dot and major.isdigit() and minor.isdigit()):
                raise PtxError(s.line, "malformed .version")
            self.result.version = (int(major[:4]), int(minor[:4]))
            if self.result.version > VERSION_MAX:
                raise PtxError(
                    s.line,
                    f"PTX version {words[1]} is newer than {VERSION_MAX[0]}.{VERSION_MAX[1]}",
                    CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
                )
        elif name == ".target":
            target = words[1].rstrip(",").split(",")[0]
            if not re.match(r"sm_\d+[af]?$", target):
                raise PtxError(s.line, f"unknown target '{target}'")
            self.result.target = target
        elif name == ".address_size":
            if words[1] != "64":
                raise PtxError(s.line, "only .address_size 64 is supported")
        elif name == ".alias":
            alias, _, target = text[len(name) :].partition(",")
            self.result.aliases[alias.strip()] = target.strip()
        elif name in (".file", ".loc", ".section", ".pragma") or name.startswith("@@"):
            pass
        else:
            for variable in self._variables(s, ""):
                known = self.result.variables.get(variable.name)
                if known is None or (known.extern and not variable.extern):
                    self.result.variables[variable.name] = variable

    def _variables(self, s: Statement, function: str) -> list[Variable]:
        """`.visible .global .align 4 .b8 x[16] = {...}, y;`"""
        text = s.bare.rstrip(";").strip()
        space, type_, align, extern = "", "", 0, False
        at = 0
        while text.startswith(".", at):
            match = _WORD.match(text, at)
            if not match:
                raise PtxError(s.line, f"malformed declaration '{text[at : at + 60]}'")
            word = match.group(1)
            at = match.end()
            if word in _LINKAGE:
                extern = extern or word == "extern"
            elif word in _SPACES:
                space = word
            elif word.split("::")[0] in _SPACES:
                space = word.split("::")[0]
            elif word == "align":
                match = _ALIGNMENT.match(text, at)
                if not match or match.group(1) not in _ALIGNMENTS:
                    raise PtxError(s.line, "malformed .align")
                align = int(match.group(1))
                at = match.end()
            elif word == "attribute":
                match = _SPACE.match(text, text.find(")", at) + 1 or len(text))
                at = match.end() if match else len(text)
            elif word in ("ptr", "v2", "v4"):
                if word != "ptr":
                    type_ = word
            elif word in TYPES:
                if type_ in ("v2", "v4"):
                    raise PtxError(s.line, "vector variables are not supported")
                type_ = word
            elif word in ("texref", "samplerref", "surfref"):
                type_ = "b64"  # opaque: instructions that use it are refused
            else:
                raise PtxError(s.line, f"unknown directive '.{word[:60]}'")
        if not space or not type_ or type_ not in TYPES:
            raise PtxError(s.line, f"malformed declaration '{s.text[:60]}'")
        return [
            self._variable(part, space, type_, align, extern, s.line, function)
            for part in split(text[at:])
        ]

    def _variable(
        self, text: str, space: str, type_: str, align: int, extern: bool, line: int, function: str
    ) -> Variable:
        declarator, equals, initial = text.partition("=")
        name = declarator.split("[")[0].strip()
        if not is_name(name):
            raise PtxError(line, f"malformed name '{name[:60]}'")
        count = 1
        for dimension in _DIMENSIONS.findall(declarator):
            number = literal(dimension.strip()) if dimension.strip() else None
            if dimension.strip() and (number is None or number.float_bits):
                raise PtxError(line, f"malformed array size '{dimension[:40]}'")
            count *= number.value if number else 0
        if "[" in declarator and not count and equals:
            count = len(split(initial.strip()[1:-1]))
        kind = TYPES[type_]
        if count * kind.bytes > ARRAY_BYTES_MAX:
            raise PtxError(line, f"'{name}' is too large")
        return Variable(
            name, space, kind, count, max(align, kind.bytes), line,
            initial.strip() if equals else None, extern, 0, function,
        )  # fmt: skip

    # ---- functions -------------------------------------------------------------------------------

    def _header(self, text: str, line: int) -> tuple[Function, str]:
        match = _HEADER.match(text.strip())
        if not match:
            raise PtxError(line, f"malformed function header '{text[:60]}'")
        _, kind, results, name, parameters, rest = match.groups()
        function = Function(name, kind == "entry", line)
        function.results = self._parameters(results, line, name)
        function.parameters = self._parameters(parameters, line, name)
        return function, rest

    def _parameters(self, text: str | None, line: int, function: str) -> list[Variable]:
        if not text or not text.strip()[1:-1].strip():
            return []
        found: list[Variable] = []
        for part in split(text.strip()[1:-1]):
            if part.startswith(".reg"):
                part = ".param" + part[4:]
            if not part.startswith("."):
                raise PtxError(line, f"malformed parameter '{part[:60]}'")
            part = re.sub(r"\.ptr\b(?:\s*\.(?:global|const|shared|local|param)\b)?", "", part)
            part = re.sub(r"(\.align\s+\d+)\s*(\.param\b)?(.*)", r"\1 \3", part)
            declaration = Statement(Kind.DIRECTIVE, "", part, line)
            found += self._variables(declaration, function)
        offset = 0
        for variable in found:
            offset = -(-offset // variable.align) * variable.align
            variable.offset = offset
            offset += variable.bytes
        if offset > 32764:
            raise PtxError(line, "the parameters are larger than 32764 bytes")
        return found

    def _function(self, s: Statement) -> None:
        text = s.bare
        function, rest = self._header(text.rstrip(";"), s.line)
        for name, numbers in _PERFORMANCE.findall(rest):
            values = [int(n[:9]) for n in numbers.replace(",", " ").split()]
            if name in ("maxntid", "reqntid") and values:
                x, y, z = (*values, 1, 1)[:3]
                function.max_threads = x * y * z
                if name == "reqntid":
                    function.required = (x, y, z)
        known = self.result.functions.get(function.name)
        has_body = self.at < len(self.statements) and self.statements[self.at].kind is Kind.OPEN
        if text.endswith(";") or not has_body:
            if known is None:
                self.result.functions[function.name] = function
            return
        if known is not None and known.body is not None:
            raise PtxError(s.line, f"'{function.name}' is defined twice")
        self.at += 1
        self.result.functions[function.name] = function
        _Body(self, function).parse()


class _Body:
    """The statements of one function."""

    def __init__(self, parser: _Parser, function: Function) -> None:
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
            prototype, _ = self.parser._header(_first_name(header), s.line)
            self.function.prototypes[self.pending_label] = prototype
        else:
            for variable in self.parser._variables(s, self.function.name):
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
