"""Edits that passes share: one more parameter for a kernel, code before its first instruction."""

from __future__ import annotations

import re

from tally.scheduler.ptx.module import Function, Module, RewriteError
from tally.scheduler.ptx.reader import Kind, Statement, read

# The names that passes introduce; code that already uses them was rewritten before, or is out to
# fool us.
RESERVED = "tally_"
_RESERVED_USE = re.compile(r"(?<![\w$])%?tally_")
_PARAMETER_BYTES_MAX = 4096  # without the large-parameter extension of CUDA 12.1
_PARAMETER = re.compile(
    r"\.param\s++(?:\.align\s++(\d{1,9}+)\s++)?+\.([a-z])(\d{1,9}+)\s*+"
    r"(?:\.ptr\b(?:\s*+\.\w++(?:\s++\d++)?+)*+\s*+)?+"
    r"([A-Za-z_$%][\w$]*+)\s*+(?:\[\s*+(\d{1,9}+)\s*+\])?+"
)


def refuse_reserved(module: Module) -> None:
    """Raise RewriteError where the module uses names that passes reserve."""
    for statement in module.statements:
        if RESERVED in statement.text and _RESERVED_USE.search(statement.bare):
            raise RewriteError(f"line {statement.line}: the name prefix {RESERVED} is in use")


def add_parameter(header: Statement, function: Function, declaration: str) -> tuple[Statement, int]:
    """The header with one more 8-aligned parameter at the end, and that parameter's byte offset.

    `declaration` is for example `.u64 tally_control`. Raises RewriteError when the list is not
    understood or would pass CUDA's 4096 bytes.
    """
    bare = header.bare
    name_end = bare.index(function.name) + len(function.name)
    open_at = bare.find("(", name_end)
    if open_at < 0:
        text = f"{bare[:name_end]}(\n\t.param {declaration}\n){bare[name_end:]}"
        return Statement(header.kind, header.lead, text, header.line), 0
    close_at = bare.find(")", open_at)
    if close_at < 0:
        raise RewriteError(f"{function.name}: its parameter list does not end")
    inside = bare[open_at + 1 : close_at].strip()
    offset = -(-_parameter_bytes(function.name, inside) // 8) * 8
    if offset + 32 > _PARAMETER_BYTES_MAX:
        raise RewriteError(f"{function.name}: no room for one more parameter")
    separator = ",\n\t" if inside else "\n\t"
    before = bare[:close_at].rstrip()
    text = f"{before}{separator}.param {declaration}\n{bare[close_at:]}"
    return Statement(header.kind, header.lead, text, header.line), offset


def _parameter_bytes(name: str, inside: str) -> int:
    end = 0
    for part in inside.split(",") if inside else []:
        match = _PARAMETER.fullmatch(part.strip())
        if match is None:
            raise RewriteError(f"{name}: a parameter that is not understood: {part.strip()[:60]}")
        size = int(match.group(3)) // 8
        align = max(int(match.group(1) or size), 1)
        size *= int(match.group(5) or 1)
        end = -(-end // align) * align + size
    return end


def insert_prologue(module: Module, edits: dict[str, tuple[Statement, str]]) -> Module:
    """New module: per kernel name a new header and PTX put right after the kernel's `{`."""
    by_open = {f.open: edits[f.name][1] for f in module.functions if f.name in edits}
    by_header = {f.header: edits[f.name][0] for f in module.functions if f.name in edits}
    statements: list[Statement] = []
    for index, statement in enumerate(module.statements):
        statements.append(by_header.get(index, statement))
        if index in by_open:
            statements.extend(_snippet(by_open[index], statement.line))
    return Module(statements)


def _snippet(text: str, line: int) -> list[Statement]:
    found = [s for s in read(text) if s.kind is not Kind.END]
    return [Statement(s.kind, s.lead, s.text, line) for s in found]
