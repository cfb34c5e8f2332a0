"""PTX text to ir.Module: names resolved, nothing else decided. What is in functions: body.py."""

from __future__ import annotations

import re

from tally.scheduler.ptx.reader import Kind, ReadError, Statement, read

from ...errors import CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_UNSUPPORTED_PTX_VERSION, PtxError
from ...ir import Function, Module, Variable
from ...types import TYPES
from .body import Body
from .operands import is_name, literal, split

VERSION_MAX = (9, 9)
ARRAY_BYTES_MAX = 1 << 40
# Possessive, as in scheduler/ptx/reader.py: the time is linear in the text.
_DIMENSIONS = re.compile(r"\[([^\[\]]*+)\]")
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


def parse(text: str) -> Module:
    """Parse a module; raises PtxError."""
    try:
        return Parser(read(text)).module()
    except ReadError as error:
        raise PtxError(error.line, error.message) from error


class Parser:
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
            for variable in self.variables(s, ""):
                known = self.result.variables.get(variable.name)
                if known is None or (known.extern and not variable.extern):
                    self.result.variables[variable.name] = variable

    def variables(self, s: Statement, function: str) -> list[Variable]:
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

    def header(self, text: str, line: int) -> tuple[Function, str]:
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
            found += self.variables(declaration, function)
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
        function, rest = self.header(text.rstrip(";"), s.line)
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
        Body(self, function).parse()
