"""Several PTX modules made one, as a device linker does: what `nvcc -rdc=true` leaves to others.

Symbols of linkage `.visible`, `.weak` and `.common` are the program's; those without are the
module's own, and renamed where two modules have one of the same name. A declaration `.extern`
whose definition is in another module goes; one that nobody defines stays, as the driver may have
it (vprintf, malloc). What is defined comes before what uses it: functions are declared ahead,
variables stand in the order of their initial values. Line information is dropped.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tally.scheduler.ptx.module import RewriteError
from tally.scheduler.ptx.reader import Kind, ReadError, Statement, read, without_comments

MODULES_MAX = 4096

_NAME = r"[A-Za-z_$%][\w$]*+"
_LINKAGE = re.compile(r"\.(visible|extern|weak|common)\b\s*+")
_FUNCTION = re.compile(rf"\.(?:entry|func)\b\s*+(?:\([^)]*+\)\s*+)?+({_NAME})")
_VARIABLE = re.compile(
    rf"\.(?:global|const|shared)\b(?:\s*+\.\w++|\s++\d++|\s*+\.attribute\s*+\([^)]*+\))*+\s++({_NAME})"
)
_VERSION = re.compile(r"\.version\s++(\d++)\.(\d++)")
_TARGET = re.compile(r"\.target\s++sm_(\d++)")
_DEBUG = re.compile(r"\.(?:file|loc|section)\b|@@dwarf")
_WORD = re.compile(r'"(?:[^"\\\n]|\\.)*+"|(?<![\w$%.])[A-Za-z_$][\w$]*+')


class LinkError(RewriteError):
    """The modules do not make one; the message says what stands in the way."""


@dataclass(slots=True)
class _Symbol:
    """One declaration or definition at the top of a module."""

    name: str
    linkage: str  # visible, extern, weak, common; empty: the module's own
    text: str  # whole, function bodies too
    is_function: bool
    defines: bool  # a body, or a variable that is not extern

    @property
    def is_entry(self) -> bool:
        return self.is_function and ".entry" in self.text.split("(", 1)[0]

    @property
    def declaration(self) -> str:
        """Of a function: its header as a statement."""
        return self.text.split("{", 1)[0].rstrip().removesuffix(";") + ";"


@dataclass(slots=True)
class _Part:
    """One module: its header and its symbols in order."""

    version: tuple[int, int]
    target: tuple[int, str]
    address_size: str
    symbols: list[_Symbol] = field(default_factory=list)


def split(text: str) -> list[str]:
    """The modules of a text that holds several, one behind the other: each begins with .version."""
    starts = [match.start() for match in re.finditer(r"^[ \t]*+\.version\b", text, re.M)]
    if len(starts) <= 1:
        return [text]
    bounds = [0, *starts[1:], len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


def link(texts: Sequence[str]) -> str:
    """One module of several; one alone stays as it is. Raises LinkError, ReadError."""
    if len(texts) == 1:
        return texts[0]
    if not 0 < len(texts) <= MODULES_MAX:
        raise LinkError(f"{len(texts)} modules to be linked: at most {MODULES_MAX} are")
    parts = [_part(number, text) for number, text in enumerate(texts)]
    _rename_own(parts)
    symbols = _choose([symbol for part in parts for symbol in part.symbols])
    functions = [symbol for symbol in symbols if symbol.is_function and not symbol.is_entry]
    variables = _ordered([symbol for symbol in symbols if not symbol.is_function])
    bodies = [symbol for symbol in symbols if symbol.is_function and symbol.defines]
    lines = [_header(parts)]
    lines += [function.declaration for function in functions]
    lines += [variable.text for variable in variables]
    lines += [body.text for body in bodies]
    return "\n".join(lines) + "\n"


def _header(parts: Sequence[_Part]) -> str:
    sizes = {part.address_size for part in parts}
    if len(sizes) != 1:
        raise LinkError("modules of different address sizes")
    major, minor = max(part.version for part in parts)
    _, target = max(part.target for part in parts)
    return f".version {major}.{minor}\n{target}\n{sizes.pop()}\n"


def _part(number: int, text: str) -> _Part:
    version, target, size = (0, 0), (0, ""), ""
    try:
        statements = read(text)
    except ReadError as error:
        raise LinkError(f"module {number + 1}: {error}") from None
    part = _Part(version, target, size)
    index = 0
    while index < len(statements):
        statement = statements[index]
        end = index + 1
        if statement.kind is Kind.FUNCTION and not statement.text.endswith(";"):
            end = _body_end(statements, index)
        _take(part, "".join([s.lead + s.text for s in statements[index:end]]).strip(), statement)
        index = end
    if not part.version[0] or not part.target[1] or not part.address_size:
        raise LinkError(f"module {number + 1} has no .version, .target or .address_size")
    return part


def _body_end(statements: Sequence[Statement], start: int) -> int:
    depth = 0
    for index in range(start + 1, len(statements)):
        kind = statements[index].kind
        depth += (kind is Kind.OPEN) - (kind is Kind.CLOSE)
        if depth == 0 and kind is Kind.CLOSE:
            return index + 1
    raise LinkError("a function without its end")


def _take(part: _Part, text: str, statement: Statement) -> None:
    """Enter one top-level statement (a function with its body) into the module."""
    bare = statement.bare.strip()
    if match := _VERSION.match(bare):
        part.version = (int(match[1]), int(match[2]))
    elif match := _TARGET.match(bare):
        part.target = (int(match[1]), bare.split(",")[0].rstrip())  # without `, debug`
    elif bare.startswith(".address_size"):
        part.address_size = bare
    elif statement.kind is Kind.END or _DEBUG.match(bare):
        pass
    else:
        part.symbols.append(_symbol(_without_lines(text), bare))


def _without_lines(text: str) -> str:
    return re.sub(r"^[ \t]*+\.loc\b[^\n]*+\n", "", text, flags=re.M)


def _symbol(text: str, header: str) -> _Symbol:
    linkage = ""
    rest = header
    while match := _LINKAGE.match(rest):
        linkage, rest = match[1], rest[match.end() :]
    if match := _FUNCTION.match(rest):
        return _Symbol(match[1], linkage, text, True, not header.endswith(";"))
    if match := _VARIABLE.match(rest):
        return _Symbol(match[1], linkage, text, False, linkage != "extern")
    return _Symbol("", "", text, False, True)  # .alias, .pragma and the like: kept as they are


def _rename_own(parts: Sequence[_Part]) -> None:
    """Give names that are the module's own, and somebody else's too, a number behind them."""
    owners: dict[str, set[int]] = {}
    for number, part in enumerate(parts):
        for symbol in part.symbols:
            owners.setdefault(symbol.name, set()).add(number)
    for number, part in enumerate(parts):
        own = {symbol.name for symbol in part.symbols if symbol.name and not symbol.linkage}
        taken = {name: f"{name}__m{number}" for name in own if len(owners[name]) > 1}
        if not taken:
            continue
        for symbol in part.symbols:
            symbol.text = _WORD.sub(lambda match: taken.get(match[0], match[0]), symbol.text)  # noqa: B023
            symbol.name = taken.get(symbol.name, symbol.name)


def _choose(symbols: Sequence[_Symbol]) -> list[_Symbol]:
    """Each name once: its definition if there is one, else one declaration."""
    chosen: dict[str, _Symbol] = {}
    unnamed = [symbol for symbol in symbols if not symbol.name]
    for symbol in symbols:
        if not symbol.name:
            continue
        known = chosen.get(symbol.name)
        if known is None or (symbol.defines and not known.defines):
            chosen[symbol.name] = symbol
        elif symbol.defines:
            chosen[symbol.name] = _either(known, symbol)
    return [*unnamed, *chosen.values()]


def _either(known: _Symbol, other: _Symbol) -> _Symbol:
    """Of two definitions: a weak one gives way, of common ones the larger one stays."""
    if other.linkage == "weak":
        return known
    if known.linkage == "weak":
        return other
    if known.linkage == other.linkage == "common":
        return max(known, other, key=lambda symbol: _elements(symbol.text))
    raise LinkError(f"{known.name} is defined in two modules")


def _elements(text: str) -> int:
    total = 1
    for count in re.findall(r"\[(\d++)\]", text):
        total *= int(count)
    return total


def _ordered(variables: Sequence[_Symbol]) -> list[_Symbol]:
    """Each behind those whose addresses its initial value holds."""
    by_name = {variable.name: variable for variable in variables if variable.name}
    placed: dict[int, _Symbol] = {}
    for first in variables:
        waiting = [(first, iter(_named(first, by_name)))]
        seen = {first.name}
        while waiting:
            variable, names = waiting[-1]
            following = next(
                (n for n in names if n not in seen and id(by_name[n]) not in placed), None
            )
            if following is None:
                placed.setdefault(id(variable), variable)
                waiting.pop()
            else:  # a circle of addresses keeps the order in which it was met
                seen.add(following)
                waiting.append((by_name[following], iter(_named(by_name[following], by_name))))
    return list(placed.values())


def _named(variable: _Symbol, by_name: dict[str, _Symbol]) -> list[str]:
    _, _, initial = without_comments(variable.text).partition("=")
    return [name for name in _WORD.findall(initial) if name in by_name and name != variable.name]
