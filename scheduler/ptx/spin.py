"""Detector of loops in which one block waits for another.

Block b+1 may run while block b is told to leave; if b+1 waits for what b writes, it waits for ever.
Such kernels (look-back scans, ordered split-K, spin locks) must never be preempted. The sign: a
cycle of the control flow (compilers lay loops out in pieces) with a volatile, relaxed or
acquiring load, or an atomic, of global memory at an address that the loop does not change, whose
result decides whether the loop is left. A loop with a compare-and-swap on global memory counts
always: as a lock it waits, and telling a lock from an accumulation is not safe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tally.scheduler.ptx.flow import FlowGraph
from tally.scheduler.ptx.module import Function, Instruction, Module

# Loops of waiting are short, but compilers unroll them: nvcc 13 makes 32 polls of a counted one.
INSTRUCTIONS_MAX = 1024

_REGISTER = re.compile(r"%[A-Za-z_$][\w$]*")
_STRONG_LOAD = re.compile(r"ld\.(?:volatile|relaxed|acquire|mmio)\b")
_ATOMIC = re.compile(r"atom\b")
_COMPARE_AND_SWAP = re.compile(r"atom\b[\w.:]*\.cas\b")
_LOCAL_SPACES = (".shared", ".local", ".const", ".param")
_NO_RESULT = {"st", "red", "bra", "bar", "barrier", "membar", "fence", "ret", "exit", "nanosleep"}


@dataclass(frozen=True, slots=True)
class Spin:
    """Where a kernel may wait for another block."""

    function: str
    line: int
    reason: str


def find(module: Module, entry: Function) -> list[Spin]:
    """Waiting loops in the kernel and in everything that it may call."""
    return [spin for f in module.reachable(entry) for spin in _find_in(module, f)]


def _find_in(module: Module, function: Function) -> list[Spin]:
    graph = FlowGraph(module, function)
    found: list[Spin] = []
    for number, block in enumerate(graph.blocks):
        for instruction in block:
            if not _polls(instruction):
                continue
            reason = _judge(graph, number, instruction)
            if reason:
                found.append(Spin(function.name, module.statements[instruction.index].line, reason))
    return found


def _judge(graph: FlowGraph, number: int, poll: Instruction) -> str | None:
    cycle = graph.shortest_cycle(number)
    if cycle is None:
        return None
    if _COMPARE_AND_SWAP.match(poll.opcode):
        return "a loop around compare-and-swap"
    body = [i for n in cycle for i in graph.blocks[n]]
    if len(body) > INSTRUCTIONS_MAX:
        return None
    if _address(poll) & {r for i in body for r in _destinations(i)}:
        return None
    tainted = set(_destinations(poll))
    _spread(body, tainted)
    if any(i.predicate in tainted and i.opcode.startswith("bra") for i in body):
        return "a loop that polls global memory"
    return None


def _is_global(instruction: Instruction) -> bool:
    return not any(space in instruction.opcode for space in _LOCAL_SPACES)


def _polls(instruction: Instruction) -> bool:
    opcode = instruction.opcode
    return _is_global(instruction) and bool(_STRONG_LOAD.match(opcode) or _ATOMIC.match(opcode))


def _address(instruction: Instruction) -> set[str]:
    start = instruction.operands.find("[")
    end = instruction.operands.find("]", start)
    return set(_REGISTER.findall(instruction.operands[start:end])) if start >= 0 else set()


def _destinations(instruction: Instruction) -> set[str]:
    """Registers that the instruction writes: its first operand, which may be a vector or a pair."""
    if not instruction.opcode or instruction.opcode.split(".")[0] in _NO_RESULT:
        return set()
    operands = instruction.operands
    if operands.startswith("{"):
        return set(_REGISTER.findall(operands[: operands.find("}")]))
    return set(_REGISTER.findall(operands.split(",")[0]))


def _spread(body: list[Instruction], tainted: set[str]) -> None:
    """Close `tainted` under the data flow of the loop's body."""
    grew = True
    while grew:
        grew = False
        for instruction in body:
            targets = _destinations(instruction)
            sources = set(_REGISTER.findall(instruction.operands)) - targets
            if instruction.predicate:
                sources.add(instruction.predicate)
            if sources & tainted and not targets <= tainted:
                tainted |= targets
                grew = True
