"""A module with rewritten forms of its kernels beside the original ones.

One module, so that all forms share its variables: a kernel's guarded form is named with the suffix
GUARDED, its sub-grid form with SUBGRID. Which forms a kernel gets follows from its class; one that
gets none runs whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from tally.scheduler.ptx import guard, subgrid
from tally.scheduler.ptx.classify import Treatment, Verdict, classify
from tally.scheduler.ptx.edit import refuse_reserved
from tally.scheduler.ptx.module import Function, Module, RewriteError
from tally.scheduler.ptx.reader import ReadError, Statement

GUARDED = "__tallyguard"
SUBGRID = "__tallysub"


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


def run(text: str) -> Variants:
    """Add the forms that the kernels' classes allow. Raises RewriteError if nothing can be
    rewritten.
    """
    try:
        module = Module.parse(text)
    except ReadError as error:
        raise RewriteError(str(error)) from error
    refuse_reserved(module)
    if GUARDED in text or SUBGRID in text:
        raise RewriteError("the module has rewritten kernels already")
    verdicts = {entry.name: classify(module, entry) for entry in module.entries}
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
    statements = list(module.statements)
    at = _end(module)
    statements[at:at] = copies
    guarded = guard.run(Module(statements), names[GUARDED])
    sliced = subgrid.run(guarded.module, names[SUBGRID])
    refused = {name.removesuffix(SUBGRID): reason for name, reason in sliced.refused.items()}
    return Variants(_without(sliced.module, set(sliced.refused)).text(), verdicts, refused)


def _copy(
    module: Module, entry: Function, suffix: str, names: dict[str, set[str]]
) -> list[Statement]:
    header, *body = module.statements[entry.header : entry.close + 1]
    text = header.bare
    at = text.index(entry.name, text.index(".entry")) + len(entry.name)
    names[suffix].add(entry.name + suffix)
    renamed = Statement(header.kind, "\n\n", text[:at] + suffix + text[at:], header.line)
    return [renamed, *body]


def _end(module: Module) -> int:
    """Where copies go: right behind the last kernel, ahead of debug sections."""
    return max(entry.close for entry in module.entries) + 1


def _without(module: Module, names: set[str]) -> Module:
    """The module without kernels that a pass refused: they would be the original under another
    name.
    """
    if not names:
        return module
    gone = [range(f.header, f.close + 1) for f in module.entries if f.name in names]
    return Module([s for i, s in enumerate(module.statements) if not any(i in r for r in gone)])
