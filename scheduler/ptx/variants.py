"""A module with rewritten forms of its kernels beside the original ones, or of these forms alone.

Alone, and reaching the kernels' variables through a table, where that can be (variables.py). A
kernel's guarded form is named with the suffix GUARDED, its sub-grid form with
SUBGRID. Which forms a kernel gets follows from its class; one that gets none runs whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tally.scheduler.ptx import guard, subgrid, variables
from tally.scheduler.ptx.classify import Treatment, Verdict, classify
from tally.scheduler.ptx.edit import refuse_reserved
from tally.scheduler.ptx.module import Function, Module, RewriteError
from tally.scheduler.ptx.reader import Kind, ReadError, Statement

GUARDED = "__tallyguard"
SUBGRID = "__tallysub"
KERNELS_MAX = 16384  # of one module; more run whole

_NOT_ALONE = re.compile(
    r"(?:\.(?:visible|extern|weak|common)\s++)*+\.(?:global|const|section)\b|@@dwarf|\.(?:loc|file)\b"
)


@dataclass(frozen=True, slots=True)
class Variants:
    """The module's text with all forms; per kernel how it may be treated, and why some have no
    form.
    """

    text: str
    verdicts: dict[str, Verdict]
    refused: dict[str, str]


class NoFormsError(RewriteError):
    """No kernel of the module may be stopped or sliced; why, by name."""

    def __init__(self, verdicts: dict[str, Verdict]):
        super().__init__("no kernel may be stopped or sliced")
        self.verdicts = verdicts


def run(text: str, *, alone: bool | None = False) -> Variants:
    """Add the forms that the kernels' classes allow, or give them alone; None: where that can be.
    Raises RewriteError if nothing can be rewritten.
    """
    named = variables.reachable(text) if alone is not False else None
    if alone and named is None:
        raise RewriteError("forms alone cannot reach the module's variables")
    try:
        module = Module.parse(text)
    except ReadError as error:
        raise RewriteError(str(error)) from error
    refuse_reserved(module)
    if GUARDED in text or SUBGRID in text:
        raise RewriteError("the module has rewritten kernels already")
    if len(module.entries) > KERNELS_MAX:
        raise RewriteError(f"it has more than {KERNELS_MAX} kernels")
    verdicts = classify(module)
    copies: list[Statement] = []
    names: dict[str, set[str]] = {GUARDED: set(), SUBGRID: set()}
    for entry in module.entries:
        treatment = verdicts[entry.name].treatment
        if treatment is Treatment.PREEMPT:
            copies += _copy(module, entry, GUARDED, names)
        if treatment in (Treatment.PREEMPT, Treatment.SLICE):
            copies += _copy(module, entry, SUBGRID, names)
    if not copies:
        raise NoFormsError(verdicts)
    end = _end(module)
    head = module.statements[:end] if named is None else _without_originals(module, end)
    statements = [*head, *copies, *module.statements[end:]]
    if named is not None:
        statements = [s for s in statements if not _is_of_originals(s)]
    guarded = guard.run(Module(statements), names[GUARDED])
    sliced = subgrid.run(guarded.module, names[SUBGRID])
    refused = {name.removesuffix(SUBGRID): reason for name, reason in sliced.refused.items()}
    made, table = variables.detach(_without(sliced.module, set(sliced.refused)), named or [])
    line = f"{variables.LINE}{' '.join(table)}\n" if table else ""
    return Variants(line + made.text(), verdicts, refused)


def _copy(
    module: Module, entry: Function, suffix: str, names: dict[str, set[str]]
) -> list[Statement]:
    header, *body = module.statements[entry.header : entry.close + 1]
    text = header.bare
    at = text.index(entry.name, text.index(".entry")) + len(entry.name)
    names[suffix].add(entry.name + suffix)
    renamed = Statement(header.kind, "\n\n", text[:at] + suffix + text[at:], header.line)
    return [renamed, *body]


def _without_originals(module: Module, end: int) -> list[Statement]:
    """What is ahead of `end` and in no kernel."""
    gone = {i for f in module.entries for i in range(f.header, f.close + 1)}
    return [s for i, s in enumerate(module.statements[:end]) if i not in gone]


def _is_of_originals(statement: Statement) -> bool:
    """Variables, and what debuggers and profilers would read about them and the kernels."""
    return statement.kind is Kind.DIRECTIVE and bool(_NOT_ALONE.match(statement.bare))


def _end(module: Module) -> int:
    """Where copies go: right behind the last kernel, ahead of debug sections."""
    return max(entry.close for entry in module.entries) + 1


def _without(module: Module, names: set[str]) -> Module:
    """The module without kernels that a pass refused: they would be the original under another
    name.
    """
    if not names:
        return module
    entries = [f for f in module.entries if f.name in names]
    gone = {i for f in entries for i in range(f.header, f.close + 1)}
    return Module([s for i, s in enumerate(module.statements) if i not in gone])
