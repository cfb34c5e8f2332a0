"""Which registers an instruction reads and writes, and how they live across blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Address, Instruction, Negated, Operand, Pair, Register, Vector
from ..table import Trait, has_trait, writes_first_operand

if TYPE_CHECKING:
    from .cfg import Block, Graph


def registers_of(operand: Operand) -> list[Register]:
    """All registers in an operand."""
    if isinstance(operand, Register):
        return [operand]
    if isinstance(operand, Negated):
        return [operand.register]
    if isinstance(operand, Address):
        return registers_of(operand.base)
    if isinstance(operand, Vector):
        return [r for part in operand.parts for r in registers_of(part)]
    if isinstance(operand, Pair):
        return registers_of(operand.first) + registers_of(operand.second)
    return []


def has_result(ins: Instruction) -> bool:
    """Whether the first operand is written."""
    if not ins.operands or isinstance(ins.operands[0], Address):
        return False
    return writes_first_operand(ins)


def writes(ins: Instruction) -> tuple[Register, ...]:
    if ins.written is None:
        ins.written = tuple(_writes(ins))
    return ins.written


def reads(ins: Instruction) -> tuple[Register, ...]:
    if ins.read is None:
        ins.read = tuple(_reads(ins))
    return ins.read


def _writes(ins: Instruction) -> list[Register]:
    if ins.call is not None:
        return [r for o in ins.call.results for r in registers_of(o)]
    if not has_result(ins):
        return []
    found = registers_of(ins.operands[0])
    if ins.carry is not None and "cc" in ins.mods:
        found = [*found, ins.carry]
    return found


def _reads(ins: Instruction) -> list[Register]:
    found: list[Register] = [] if ins.guard is None else [ins.guard]
    if ins.carry is not None and has_trait(ins, Trait.READS_CARRY):
        found.append(ins.carry)
    if ins.call is not None:
        for operand in (ins.call.target, *ins.call.arguments):
            found += registers_of(operand)
        return found
    for operand in ins.operands[has_result(ins) :]:
        found += registers_of(operand)
    return found


def terminator_reads(block: Block) -> list[Register]:
    found = [] if block.guard is None else [block.guard]
    if block.selector is not None:
        found += reads(block.selector)
    return found


def live_in(graph: Graph) -> list[int]:
    """Registers alive at the start of each block, as bit sets."""
    count = len(graph.blocks)
    gen, kill = [0] * count, [0] * count
    for block in graph.blocks:
        g = k = 0
        for ins in block.instructions:
            for r in reads(ins):
                g |= (1 << r.index) & ~k
            for r in writes(ins):
                if ins.guard is None:
                    k |= 1 << r.index
                else:  # where the guard does not hold the old value lives on
                    g |= (1 << r.index) & ~k
        for r in terminator_reads(block):
            g |= (1 << r.index) & ~k
        gen[block.index], kill[block.index] = g, k
    alive = list(gen)
    changed = True
    while changed:
        changed = False
        for block in reversed(graph.blocks):
            out = 0
            for t in block.targets:
                if t >= 0:
                    out |= alive[t]
            new = gen[block.index] | (out & ~kill[block.index])
            if new != alive[block.index]:
                alive[block.index] = new
                changed = True
    return alive
