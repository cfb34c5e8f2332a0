"""Detector of loops in which one block waits for another.

Block b+1 may run while block b is told to leave; if b+1 waits for what b writes, it waits for ever.
Such kernels (look-back scans, ordered split-K, spin locks) must never be preempted. The sign: a
cycle of the control flow (compilers lay loops out in pieces) with a *poll*, a read of memory that
other blocks write, at an address that the loop does not move on, whose result may decide a branch
of the loop: by registers, barrier reductions, shuffles and votes, or by way of memory. Polls are
strong loads (polls.py), atomics, and calls of functions that have them; a plain load is one where
the compiler was told to repeat it: beside a fence, a barrier or a sleep, or with nothing in the
loop that could have changed what it reads. A loop with a compare-and-swap counts always: as a lock
it waits, and telling a lock from an accumulation is not safe.

In doubt a kernel counts as waiting: it is then sliced instead of stopped, which costs little. What
the detector does not see is mended by the watchdog (native/sched/watchdog.c).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from tally.scheduler.ptx import polls
from tally.scheduler.ptx.flow import FlowGraph
from tally.scheduler.ptx.module import Function, Instruction, Module

_NAME = re.compile(r"(?<![\w$.])[%A-Za-z_$][\w$]*")
_FENCES = ("fence", "membar", "nanosleep", "bar", "barrier")
_WRITES = ("st", "red", "atom", "call")
_NO_RESULT = frozenset(
    ("st", "red", "bra", "brx", "ret", "exit", "trap", "prefetch", "prefetchu", "cp", *_FENCES)
)
_POLLS = ("ld", "multimem", "atom", "call")  # how the opcode of whatever can be a poll begins
_MEMORY = "[]"  # in the flow of results: whatever has been stored, wherever
_SPACES_KEPT = ("param", "const")  # nothing that a loop stores is read from there


@dataclass(frozen=True, slots=True)
class Spin:
    """Where a kernel may wait for another block."""

    function: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Callees:
    """Functions that poll, themselves or by those that they call, by what they poll with."""

    loads: frozenset[str]
    atomics: frozenset[str]
    swaps: frozenset[str]


def find(module: Module, entry: Function) -> list[Spin]:
    """The first waiting loop of the kernel, and of each function that it may call."""
    reachable = module.reachable(entry)
    callees = _callees(module, reachable)
    found = (_find_in(module, function, callees) for function in reachable)
    return [spin for spin in found if spin is not None]


def _callees(module: Module, functions: list[Function]) -> _Callees:
    kinds: list[set[str]] = [set(), set(), set()]
    calls: dict[str, set[str]] = {}
    names = {f.name for f in functions if not f.is_entry}
    for function in functions if names else ():
        steps = [_Step(i) for i in module.instructions(function) if i.opcode.startswith(_POLLS)]
        called = {name for step in steps for name in step.calls}
        through_pointer = any(name not in names and name.startswith("%") for name in called)
        calls[function.name] = names if through_pointer else called & names
        for kind, has in zip(kinds, ("is_load", "is_atomic", "is_swap"), strict=True):
            if any(getattr(step, has) for step in steps):
                kind.add(function.name)
    for kind in kinds:
        _close(kind, calls)
    return _Callees(*(frozenset(kind & names) for kind in kinds))


def _close(kind: set[str], calls: dict[str, set[str]]) -> None:
    """Add who calls a member, directly or not."""
    callers: dict[str, set[str]] = {}
    for caller, called in calls.items():
        for name in called:
            callers.setdefault(name, set()).add(caller)
    waiting = list(kind)
    while waiting:
        new = callers.get(waiting.pop(), set()) - kind
        kind |= new
        waiting.extend(new)


class _Step:
    """What an instruction reads and writes, by name: registers, parameters, stored words."""

    __slots__ = ("__dict__", "base", "instruction", "modifiers")

    def __init__(self, instruction: Instruction) -> None:
        self.instruction = instruction
        self.base, self.modifiers = polls.split(instruction.opcode)

    @cached_property
    def is_shared_memory(self) -> bool:
        return not polls.is_private(self.modifiers)

    @property
    def is_load(self) -> bool:
        return self.is_shared_memory and polls.is_strong_load(self.base, self.modifiers)

    @property
    def is_weak_load(self) -> bool:
        return self.base == "ld" and self.is_shared_memory and "nc" not in self.modifiers

    @property
    def is_atomic(self) -> bool:
        return self.is_shared_memory and self.base == "atom"

    @property
    def is_swap(self) -> bool:
        return self.is_atomic and "cas" in self.modifiers

    @property
    def is_branch(self) -> bool:
        return self.base in ("bra", "brx", "ret", "exit") and self.instruction.predicate is not None

    @property
    def stores(self) -> bool:
        return self.base in ("st", "red", "atom") and "param" not in self.modifiers

    @property
    def loads(self) -> bool:
        kept = any(space in self.modifiers for space in _SPACES_KEPT)
        return self.base in ("ld", "atom", "multimem") and not kept

    @cached_property
    def calls(self) -> tuple[str, ...]:
        """What a call names: the function, or the register that points to it."""
        if self.base != "call":
            return ()
        return (_call_parts(self.instruction.operands)[1] or "%",)

    @cached_property
    def address(self) -> frozenset[str]:
        operands = self.instruction.operands
        start = operands.find("[")
        end = operands.find("]", start)
        return frozenset(_NAME.findall(operands[start:end])) if start >= 0 else frozenset()

    @cached_property
    def word(self) -> str:
        """The word of memory as the instruction spells it: what it stores to or loads from."""
        operands = self.instruction.operands
        start = operands.find("[")
        return operands[start : operands.find("]", start) + 1].replace(" ", "")

    @cached_property
    def _result(self) -> tuple[str, str]:
        """The operands' text: what is written, and the rest."""
        operands = self.instruction.operands
        if self.base == "call":
            results, name, arguments = _call_parts(operands)
            return results, f"{name} {arguments}"
        if self.base == "st" and "param" in self.modifiers:
            at = operands.find("]") + 1
            return operands[:at], operands[at:]
        if self.base in _NO_RESULT and "red" not in self.modifiers[:2]:
            return "", operands
        at = operands.find("}") + 1 if operands.startswith("{") else operands.find(",")
        return (operands[:at], operands[at:]) if at > 0 else (operands, "")

    @cached_property
    def targets(self) -> frozenset[str]:
        return frozenset(_NAME.findall(self._result[0]))

    @cached_property
    def sources(self) -> frozenset[str]:
        names = set(_NAME.findall(self._result[1]))
        if self.instruction.predicate:
            names.add(self.instruction.predicate)
        return frozenset(names)


def _call_parts(operands: str) -> tuple[str, str, str]:
    """`(results), name, (arguments)` in three; results and arguments may be missing."""
    results, rest = "", operands.strip()
    if rest.startswith("("):
        at = rest.find(")") + 1
        results, rest = rest[:at], rest[at:].lstrip(" \t\n,")
    name, _, arguments = rest.partition(",")
    return results, name.strip(), arguments


def _find_in(module: Module, function: Function, callees: _Callees) -> Spin | None:
    graph = FlowGraph(module, function)
    cyclic = graph.cyclic()
    for number in sorted(cyclic):
        for instruction in graph.blocks[number]:
            step = _Step(instruction)
            if not instruction.opcode.startswith(_POLLS) or not _may_poll(step, callees):
                continue
            reason = _judge(graph, number, step, callees)
            if reason:
                line = module.statements[step.instruction.index].line
                return Spin(function.name, line, reason)
    return None


def _may_poll(step: _Step, callees: _Callees) -> bool:
    called = set(step.calls) & (callees.loads | callees.atomics | callees.swaps)
    through_pointer = any(name.startswith("%") for name in step.calls)
    return bool(called) or through_pointer or step.is_load or step.is_weak_load or step.is_atomic


def _judge(graph: FlowGraph, number: int, poll: _Step, callees: _Callees) -> str | None:
    if poll.is_swap or not callees.swaps.isdisjoint(poll.calls):
        return "a loop around compare-and-swap"
    cycle = graph.shortest_cycle(number)
    instructions = [i for n in cycle or () for i in graph.blocks[n]]
    if poll.is_weak_load and not poll.is_load and not _is_repeated(instructions):
        return None
    body = [_Step(i) for i in instructions]
    if not poll.calls and poll.address & _varying(body):
        return None
    tainted = set(poll.targets)
    if poll.calls and (callees.loads & set(poll.calls) or poll.calls[0].startswith("%")):
        tainted.add(_MEMORY)  # the function may leave what it saw there
    _spread(body, tainted)
    if any(step.is_branch and step.instruction.predicate in tainted for step in body):
        return "a loop that polls global memory"
    return None


def _is_repeated(body: list[Instruction]) -> bool:
    """Whether the loop's plain loads see what others write: else the compiler had read ahead."""
    if any(i.opcode.startswith(_FENCES) for i in body):
        return True
    return not any(i.opcode.startswith(_WRITES) for i in body)


def _varying(body: list[_Step]) -> set[str]:
    """Names whose values the loop carries from one turn to the next, and what follows from them."""
    needs: dict[str, set[str]] = {}
    for step in body:
        targets = step.targets | ({step.word} if step.stores else frozenset())
        sources = step.sources | ({step.word} if step.loads else frozenset())
        for name in targets:
            needs.setdefault(name, set()).update(sources)
    users: dict[str, list[str]] = {}
    left: dict[str, int] = {}
    for name, read in needs.items():
        inside = read & needs.keys()
        left[name] = len(inside)
        for source in inside:
            users.setdefault(source, []).append(name)
    settled = [name for name, count in left.items() if count == 0]
    while settled:
        name = settled.pop()
        del left[name]
        for user in users.get(name, ()):
            left[user] -= 1
            if left[user] == 0:
                settled.append(user)
    return set(left)


def _spread(body: list[_Step], tainted: set[str]) -> None:
    """Close `tainted` under the data flow of the loop's body."""
    grew = True
    while grew:
        grew = False
        for step in body:
            seen = not tainted.isdisjoint(step.sources) or (step.loads and _MEMORY in tainted)
            if not seen:
                continue
            targets = step.targets | ({_MEMORY} if step.stores else frozenset())
            if not targets <= tainted:
                tainted |= targets
                grew = True
