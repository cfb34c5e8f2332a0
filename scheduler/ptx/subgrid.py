"""Pass `subgrid`: a kernel that runs blocks [lo, lo + launched) of a larger grid, wasting no block.

The kernel is launched with a one-dimensional grid; the added last parameter (16 bytes by value)
says which part of which grid that is: `{u32 lo, nx, ny, nz}`. Every read of %ctaid and %nctaid then
gives what the block would have read in the whole grid. Functions that read them and are not inlined
would need more arguments, all through the call graph: such kernels are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tally.scheduler.ptx.edit import add_parameter, insert_prologue
from tally.scheduler.ptx.module import Function, Module, RewriteError
from tally.scheduler.ptx.reader import Kind, Statement

PARAMETER = "tally_subgrid"
PARAMETER_BYTES = 16

_READ = re.compile(r"%(n?)ctaid(?:\.([xyzw])|(?![\w.$]))")
_NARROW_MOV = re.compile(r"\bmov\.[usb]16\b")
_WIDE = re.compile(
    r"((?:@!?[\w$%]++\s++)?+)mov\.v4\.[usb]32\s*+(\{[^}]*+\})\s*+,\s*+%(n?)ctaid\s*+;"
)

# Grids of one dimension (the common case) need no division.
_PROLOGUE = """
	.reg .pred %tally_q;
	.reg .b32 %tally_c<3>;
	.reg .b32 %tally_n<3>;
	.reg .b32 %tally_s<3>;
	ld.param.u32 %tally_s0, [tally_subgrid];
	ld.param.u32 %tally_n0, [tally_subgrid+4];
	ld.param.u32 %tally_n1, [tally_subgrid+8];
	ld.param.u32 %tally_n2, [tally_subgrid+12];
	mov.u32 %tally_s1, %ctaid.x;
	add.u32 %tally_c0, %tally_s0, %tally_s1;
	mov.u32 %tally_c1, 0;
	mov.u32 %tally_c2, 0;
	setp.lt.u32 %tally_q, %tally_c0, %tally_n0;
	@%tally_q bra tally_placed_{number};
	div.u32 %tally_s1, %tally_c0, %tally_n0;
	mul.lo.u32 %tally_s2, %tally_s1, %tally_n0;
	sub.u32 %tally_c0, %tally_c0, %tally_s2;
	div.u32 %tally_c2, %tally_s1, %tally_n1;
	mul.lo.u32 %tally_s2, %tally_c2, %tally_n1;
	sub.u32 %tally_c1, %tally_s1, %tally_s2;
tally_placed_{number}:
"""


@dataclass(frozen=True, slots=True)
class Subgrids:
    """The rewritten module; per kernel the byte offset of the subgrid parameter; why others are
    refused.
    """

    module: Module
    parameter_offsets: dict[str, int]
    refused: dict[str, str]


def run(module: Module, names: set[str] | None = None) -> Subgrids:
    """Rewrite the named kernels (all by default) where possible; raises RewriteError on
    reserved names.
    """
    if any(PARAMETER in s.text for s in module.statements):
        raise RewriteError(f"the name {PARAMETER} is in use")
    offsets: dict[str, int] = {}
    refused: dict[str, str] = {}
    edits: dict[str, tuple[Statement, str]] = {}
    statements = list(module.statements)
    readers = _readers(module)
    for number, entry in enumerate(module.entries):
        if names is not None and entry.name not in names:
            continue
        try:
            _refuse_functions(module, entry, readers)
            header, offset = add_parameter(
                statements[entry.header], entry, f".align 8 .b8 {PARAMETER}[{PARAMETER_BYTES}]"
            )
            body = [_replace(statements[i]) for i in range(entry.open + 1, entry.close)]
        except RewriteError as error:
            refused[entry.name] = str(error)
            continue
        statements[entry.open + 1 : entry.close] = body
        edits[entry.name] = (header, _PROLOGUE.format(number=number))
        offsets[entry.name] = offset
    return Subgrids(insert_prologue(Module(statements), edits), offsets, refused)


def _readers(module: Module) -> set[str]:
    """Names of the functions that read the block index and are no kernels."""
    return {
        f.name
        for f in module.functions
        if not f.is_entry and any(_READ.search(s.bare) for s in module.statements[f.open : f.close])
    }


def _refuse_functions(module: Module, entry: Function, readers: set[str]) -> None:
    for function in module.reachable(entry) if readers else ():
        if function.name in readers:
            raise RewriteError(f"{function.name} reads the block index and is not inlined")


def _replace(statement: Statement) -> Statement:
    if statement.kind is not Kind.INSTRUCTION or "ctaid" not in statement.text:
        return statement
    bare = statement.bare
    wide = _WIDE.fullmatch(bare)
    if wide:
        predicate, vector, of_grid = wide.groups()
        registers = "n" if of_grid else "c"
        source = ", ".join([*(f"%tally_{registers}{i}" for i in range(3)), "0"])
        bare = f"{predicate}mov.v4.u32 {vector}, {{{source}}};"
        return Statement(statement.kind, statement.lead, bare, statement.line)
    # A 32-bit register is no operand of a 16-bit move; a conversion keeps the low half likewise.
    bare = _NARROW_MOV.sub("cvt.u16.u32", bare)
    return Statement(statement.kind, statement.lead, _READ.sub(_register, bare), statement.line)


def _register(match: re.Match[str]) -> str:
    axis = match.group(2)
    if axis is None:
        raise RewriteError(f"a use of {match.group()} that is not understood")
    if axis == "w":
        return "0"
    return f"%tally_{'n' if match.group(1) else 'c'}{'xyz'.index(axis)}"
