"""Variables of a module, as forms of its kernels that are in a module of their own reach them.

Forms must not have copies of variables. So where they name one they read its address from a table,
a constant array of their module that the engine fills with the original module's addresses. Not all
can be reached in that way; then forms and kernels must be one module (`reachable` gives None):

- constants: their addresses are known to mean something to copies only;
- textures and the like, whose names are no addresses;
- functions called by their address, as tables of them hold those of the original module;
- debug builds, as without what is said of the variables ptxas would optimise the forms.
"""

from __future__ import annotations

import re
from collections import Counter

from tally.scheduler.ptx.module import Module, RewriteError, parse_instruction
from tally.scheduler.ptx.reader import Kind, Statement, read, without_comments

TABLE = "tally_variables"
LINE = "// variables: "  # begins the text of forms: the variables' names, in the table's order
TABLE_MAX = 4096  # half of what constants may take
USES_MAX = 8  # variables that one instruction names
_FEW = 32  # names that are quicker looked for one by one than all words are counted

# Each of these is tried at places that do not overlap, and never gives back what it took: the time
# is linear in the text, whatever it says.
_TARGET = re.compile(r"\.target\b([\w\s,]*+)")
_POINTER = re.compile(r"\.ptr\s++\.(?:global|const)\b")
# A state space that begins a word: `.global` declares, `ld.global` and `.ptr .global` do not.
_SPACE = re.compile(r"(?<![\w.])\.(global|const|tex|texref|samplerref|surfref)\b")
_DECLARATION = re.compile(
    r"(?:\s++\.(?!(?:global|const|tex|texref|samplerref|surfref)\b)\w++(?:\s++\d++)?+)*+\s++"
    r"([A-Za-z_$%][\w$]*+)\s*+(?:\[[\d\s]*+\]\s*+)*+[;=]"
)
_LINKAGE = frozenset((".visible", ".extern", ".weak", ".common"))
_LOCAL = re.compile(r"(?<![\w.])\.(?:param|reg|local|shared)\b[^;{}()]*+")
_LABEL = re.compile(r"^[ \t]*+([A-Za-z_$%][\w$]*+)\s*+:(?!:)", re.M)
_BEFORE = re.compile(r"[\w$%.]")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_$%][\w$]*+")
_MENTION = re.compile(r"(?<![\w$%.])[A-Za-z_$%][\w$]*+")


def reachable(text: str) -> list[str] | None:
    """The variables that kernels may name, if forms can reach all of them; else None.

    Judged from the text at once, in milliseconds even for megabytes, and in doubt they cannot. Most
    modules that programs bring name none; those of CUB and Thrust declare dozens for nothing.
    """
    bare = _POINTER.sub("", without_comments(text))
    if _is_debug(bare) or ".callprototype" in bare or ".calltargets" in bare:
        return None
    declared = _declared(bare)
    if declared is None:
        return None
    named = _named(list(declared), bare)
    if not named:
        return []
    if any(declared[name] != "global" for name in named) or not _inside(bare).isdisjoint(named):
        return None
    return named


def _is_debug(bare: str) -> bool:
    return any("debug" in re.split(r"[\s,]+", found) for found in _TARGET.findall(bare))


def _declared(bare: str) -> dict[str, str] | None:
    """Name and state space of each variable; None where a declaration is not in the form that is
    expected, or one name is declared twice.
    """
    found: dict[str, str] = {}
    position = 0
    while space := _SPACE.search(bare, position):
        match = _DECLARATION.match(bare, space.end())
        line = bare.rfind("\n", position, space.start())
        before = bare[max(line, position) : space.start()]
        if (
            match is None
            or space[1] not in ("global", "const")
            or match[1] in found
            or (line < 0 and position)  # behind something on its line
            or not _LINKAGE.issuperset(before.split())
        ):
            return None
        found[match[1]] = space[1]
        position = match.end()
    return found


def _named(declared: list[str], bare: str) -> list[str]:
    """Those found more than once: in more than their declaration."""
    if len(declared) <= _FEW:
        return [name for name in declared if bare.count(name) > 1 and _is_named(name, bare)]
    counts = Counter(_MENTION.findall(bare))
    return [name for name in declared if counts[name] > 1]


def _is_named(name: str, bare: str) -> bool:
    found = re.finditer(re.escape(name) + r"(?![\w$])", bare)  # quicker than with a look behind
    return sum(not _BEFORE.match(bare[max(match.start() - 1, 0)]) for match in found) > 1


def _inside(bare: str) -> set[str]:
    """Names that mean something else inside a function: parameters, registers, labels."""
    words = {word for match in _LOCAL.finditer(bare) for word in _WORD.findall(match.group())}
    return words | set(_LABEL.findall(bare))


def detach(module: Module, names: list[str]) -> tuple[Module, list[str]]:
    """The module with uses of the named variables through the table, and the names in it, in order.

    RewriteError where a use is not understood.
    """
    if not names:
        return module, []
    wanted, table = frozenset(names), dict[str, int]()
    inside = {i for f in module.functions for i in range(f.open, f.close)}
    statements: list[Statement] = []
    for index, statement in enumerate(module.statements):
        if index in inside and (used := _used(statement.bare, wanted)):
            statements += _through_table(statement, used, table)
        else:
            statements.append(statement)
    if not table:
        return module, []
    if len(table) > TABLE_MAX:
        raise RewriteError(f"it uses more than {TABLE_MAX} variables of its module")
    first = next(i for i, s in enumerate(statements) if s.kind is Kind.FUNCTION)
    declaration = f"\n.visible .const .align 8 .u64 {TABLE}[{len(table)}];"
    statements[first:first] = _read(declaration, statements[first].line)
    return Module(statements), list(table)


def _used(bare: str, wanted: frozenset[str]) -> list[str]:
    """The wanted names that an instruction mentions, each once."""
    return list(dict.fromkeys(word for word in _MENTION.findall(bare) if word in wanted))


def _through_table(statement: Statement, used: list[str], table: dict[str, int]) -> list[Statement]:
    """The instruction in a scope in which a register has the variable's address."""
    bare = statement.bare
    opcode = parse_instruction(0, bare).opcode
    if (
        statement.kind is not Kind.INSTRUCTION
        or opcode.split(".")[0] in ("call", "bra", "brx", "")
        or "generic(" in bare
        or len(used) > USES_MAX
    ):
        raise RewriteError(f"line {statement.line}: a use of a variable that is not understood")
    lines = [f".reg .b64 %tally_v<{2 * len(used)}>;"]
    for number, name in enumerate(used):
        at = table.setdefault(name, len(table))
        lines.append(f"ld.const.u64 %tally_v{2 * number}, [{TABLE}+{8 * at}];")
        bare = _name_register(bare, name, 2 * number, lines)
    lead = statement.lead or "\n"
    return [
        *_read("{", statement.line, lead),
        *(s for line in [*lines, bare] for s in _read(line, statement.line)),
        *_read("}", statement.line),
    ]


def _name_register(bare: str, name: str, number: int, lines: list[str]) -> str:
    """The instruction with the register in the variable's place. In brackets an offset may follow;
    elsewhere it has to be added, which there is a second register for.
    """
    one = rf"(?<![\w$%.]){re.escape(name)}(?![\w$])"
    bare = re.sub(rf"\[\s*+{one}", f"[%tally_v{number}", bare)
    offsets = {m.group(1) for m in re.finditer(rf"{one}\s*+\+\s*+(-?\d++)", bare)}
    if len(offsets) > 1:
        raise RewriteError(f"two offsets of {name} in one instruction")
    for offset in offsets:
        lines.append(f"add.s64 %tally_v{number + 1}, %tally_v{number}, {offset};")
        bare = re.sub(rf"{one}\s*+\+\s*+-?\d++", f"%tally_v{number + 1}", bare)
    return re.sub(one, f"%tally_v{number}", bare)


def _read(text: str, line: int, lead: str = "\n") -> list[Statement]:
    """Of a brace: alone it is no text that can be read."""
    if text in "{}":
        return [Statement(Kind.OPEN if text == "{" else Kind.CLOSE, lead, text, line)]
    return [Statement(s.kind, lead, s.text, line) for s in read(text) if s.kind is not Kind.END]
