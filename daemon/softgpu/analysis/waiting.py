"""Loops that wait for other threads: which they are, and where their lanes must not be held
together.

Lanes that stay in a loop run before lanes that have left it. A loop that waits for a lock which
one of those holds would never end; so it lets them go on now and then, up to where all lanes must
meet anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tally.scheduler.ptx import polls

from ..ir import Function, Immediate, Instruction, Register, Special
from ..table import Trait, has_trait
from .uses import reads, writes

if TYPE_CHECKING:
    from .cfg import Block, Graph


def sees_others(ins: Instruction) -> bool:
    """Whether the instruction reads memory so as to see what other threads write meanwhile."""
    if ins.opcode == "atom":
        reads_only = ins.operands[-1] == Immediate(0) and bool({"add", "or"} & set(ins.mods))
        return "cas" in ins.mods or "exch" in ins.mods or reads_only
    if ins.opcode == "mbarrier":
        return bool({"test_wait", "try_wait"} & set(ins.mods))
    return ins.opcode == "nanosleep" or polls.is_strong_load(ins.opcode, ins.mods)


def _may_wait_for_a_lane(ins: Instruction, literals: set[int]) -> bool:
    """As sees_others, but not compare-and-swap with what was read before: that only retries."""
    if not sees_others(ins):
        return False
    if "cas" not in ins.mods:
        return True
    expected = ins.operands[2]
    return isinstance(expected, Immediate) or (
        isinstance(expected, Register) and expected.index in literals
    )


def meets(ins: Instruction) -> bool:
    """Whether lanes or warps meet at the instruction."""
    return has_trait(ins, Trait.MEETS) and ("sync" in ins.mods or has_trait(ins, Trait.WAITS))


def waits_for_warps(ins: Instruction) -> bool:
    """Whether warps of a block may wait for one another with it."""
    return has_trait(ins, Trait.WAITS) and "warp" not in ins.mods


def names_its_members(ins: Instruction) -> bool:
    """Whether its last operand says which lanes take part."""
    named = "sync" in ins.mods and has_trait(ins, Trait.NAMES_MEMBERS)
    return named and not waits_for_warps(ins)


def names_members(block: Block) -> bool:
    """Whether lanes may have to be held where the block begins."""
    return bool(block.instructions) and names_its_members(block.instructions[0])


def has_waiting(function: Function) -> bool:
    """Whether any instruction could be one that a loop waits with."""
    return any(isinstance(i, Instruction) and sees_others(i) for i in function.body or [])


def reads_workspace(function: Function) -> bool:
    """Whether it asks where the barrier of a cooperative grid is."""
    return any(
        isinstance(operand, Special) and operand.name.startswith("envreg")
        for i in function.body or []
        if isinstance(i, Instruction)
        for operand in i.operands
    )


def spins(graph: Graph) -> set[int]:
    """Blocks that end an iteration of a loop which may wait for other warps."""
    found: set[int] = set()
    for header, body in graph.loops.items():
        if any(sees_others(ins) for m in body for ins in graph.blocks[m].instructions):
            found |= {m for m in body if header in graph.blocks[m].targets}
    return found


def polled(graph: Graph, latch: int) -> list[Register]:
    """What the loop that ends in the block reads of memory, and from where."""
    found: dict[int, Register] = {}
    for header, body in graph.loops.items():
        if latch in body and header in graph.blocks[latch].targets:
            for ins in (i for m in body for i in graph.blocks[m].instructions if sees_others(i)):
                found |= {r.index: r for r in (*writes(ins), *reads(ins)) if r.type.bits > 1}
    return list(found.values())


def waits_for_lanes(graph: Graph) -> set[int]:
    """Blocks of loops that may wait for lanes of the same warp."""
    literals: set[int] = set()
    for block in graph.blocks:
        for ins in block.instructions:
            if ins.opcode == "mov" and isinstance(ins.operands[1], Immediate):
                literals |= {r.index for r in writes(ins)}
    found: set[int] = set()
    for body in graph.loops.values():
        instructions = [ins for m in body for ins in graph.blocks[m].instructions]
        if any(_may_wait_for_a_lane(ins, literals) for ins in instructions):
            found |= body
    return found


def release_point(graph: Graph, block: int) -> int:
    """Where lanes that branch apart in a waiting loop meet again: not right behind the loop, but
    at the next place where they must, or when they return."""
    at = graph.postdominator[block]
    while at >= 0:
        first = graph.blocks[at].instructions[:1]
        if first and meets(first[0]):
            break
        at = graph.postdominator[at]
    return at
