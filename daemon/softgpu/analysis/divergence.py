"""What the lanes of a warp share: which registers are uniform, which blocks run with some lanes
only.

A block is *divergent* when lanes may wait elsewhere in the function while it runs. A register is
*uniform* when at every point all lanes that can still read it hold the same value; it is then one
scalar. A write in a divergent block *blends* when a waiting lane may still read the old value;
such a register is not uniform.

Everything grows from "uniform" towards "varying" until nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..abi import GROUPS
from ..ir import Address, Function, Instruction, Operand, Special, Symbol, Vector
from ..table import Trait, has_trait
from .cfg import RETURN, Block, Graph
from .uses import live_in, reads, registers_of, terminator_reads, writes
from .waiting import names_its_members, names_members, release_point, waits_for_lanes


@dataclass(slots=True)
class Component:
    """Divergent blocks that hang together; `exit` is where all their lanes meet (or RETURN)."""

    blocks: list[int]
    exit: int
    waits: bool = False  # some lanes may wait for others
    holds: bool = False  # at a collective, until all that it names have come


@dataclass(slots=True)
class Divergence:
    varying: set[int] = field(default_factory=set)  # registers, by index
    blends: set[tuple[int, int]] = field(default_factory=set)  # (block, register)
    blended: set[int] = field(default_factory=set)
    component: dict[int, Component] = field(default_factory=dict)  # of each divergent block
    live: list[int] = field(default_factory=list)


def analyse(function: Function, graph: Graph, variant: int, holds: bool = False) -> Divergence:
    """Run the analysis on one function, for one variant of thread indices. `holds`: lanes are held
    at collectives until all that these name have come (see emit/collective.py)."""
    return _Analysis(function, graph, variant, holds).run()


class _Analysis:
    def __init__(self, function: Function, graph: Graph, variant: int, holds: bool) -> None:
        self.function = function
        self.variant = variant
        self.graph = graph
        self.waiting = waits_for_lanes(graph)
        self.result = Divergence(live=live_in(graph))
        self.parted: set[int] = set()  # blocks of waiting loops where lanes part
        self.holding = {b.index for b in graph.blocks if holds and names_members(b)}
        self.definitions: dict[int, list[tuple[int, Instruction]]] = {}
        for block in graph.blocks:
            for ins in block.instructions:
                for r in writes(ins):
                    self.definitions.setdefault(r.index, []).append((block.index, ins))

    def run(self) -> Divergence:
        divergent: set[int] = set()
        while True:
            before = (len(self.result.varying), len(divergent), len(self.result.blends))
            self._spread()
            divergent |= self._divergent_blocks(divergent)
            self._components(divergent)
            self._find_blends()
            if before == (len(self.result.varying), len(divergent), len(self.result.blends)):
                return self.result

    # ---- registers -------------------------------------------------------------------------------

    def _spread(self) -> None:
        varying = self.result.varying
        changed = True
        while changed:
            changed = False
            for block in self.graph.blocks:
                for ins in block.instructions:
                    results = writes(ins)
                    if all(r.index in varying for r in results):
                        continue
                    if self._is_varying(ins):
                        varying.update(r.index for r in results)
                        changed = True

    def _is_varying(self, ins: Instruction) -> bool:
        if has_trait(ins, Trait.VARYING):
            return True
        varying = self.result.varying
        if ins.guard is not None and ins.guard.index in varying:
            return True
        if has_trait(ins, Trait.COLLECTIVE):
            # Lanes that name different members have results of their own.
            named = ins.operands[-1]
            return names_its_members(ins) and (
                self._operand_varies(ins, named)
                or any(r.index in varying for r in registers_of(named))
            )
        if any(r.index in varying for r in reads(ins)):
            return True
        return any(self._operand_varies(ins, o) for o in ins.operands[1:])

    def _operand_varies(self, ins: Instruction, operand: Operand) -> bool:
        if isinstance(operand, Special):
            return _special_varies(operand.name, self.variant)
        if isinstance(operand, Address):
            return self._operand_varies(ins, operand.base)
        if isinstance(operand, Vector):
            return any(self._operand_varies(ins, part) for part in operand.parts)
        if isinstance(operand, Symbol) and operand.variable is not None:
            variable = operand.variable
            if variable.space == "param":
                return not (self.function.entry and variable in self.function.parameters)
            return variable.space == "local"
        return False

    # ---- blocks ----------------------------------------------------------------------------------

    def branch_varies(self, block: Block) -> bool:
        return any(r.index in self.result.varying for r in terminator_reads(block))

    def _divergent_blocks(self, divergent: set[int]) -> set[int]:
        found = set(divergent)
        for block in self.graph.blocks:
            inside = {t for t in block.targets if t != RETURN}
            if len(inside) < 2 or not self.branch_varies(block):
                continue
            stop = self.graph.postdominator[block.index]
            if block.index in self.waiting:
                stop = release_point(self.graph, block.index)
                self.parted.add(block.index)
            work = [t for t in inside if t != stop]
            seen = set(work)
            while work:
                b = work.pop()
                for t in self.graph.blocks[b].targets:
                    if t not in (RETURN, stop) and t not in seen:
                        seen.add(t)
                        work.append(t)
            found |= seen
        return found

    def _components(self, divergent: set[int]) -> None:
        """Group divergent blocks; one that has several exits takes them in, until it has one."""
        blocks = self.graph.blocks
        while True:
            groups = self._groups(divergent)
            grown = False
            components = []
            for group in groups:
                exits = {t for b in group for t in blocks[b].targets} - group - {RETURN}
                if len(exits) > 1:
                    divergent |= exits
                    grown = True
                    break
                leave = exits.pop() if exits else RETURN
                holds = bool(self.holding & group)
                waits = holds or bool(self.parted & group)
                components.append(Component(sorted(group), leave, waits, holds))
            if not grown:
                break
        self.result.component = {b: c for c in components for b in c.blocks}

    def _groups(self, divergent: set[int]) -> list[set[int]]:
        """Connected by edges, or entered by one branch."""
        parent = {b: b for b in divergent}

        def root(b: int) -> int:
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            return b

        for block in self.graph.blocks:
            joined = [t for t in block.targets if t in divergent]
            if block.index in divergent:
                joined.append(block.index)
            for other in joined[1:]:
                parent[root(other)] = root(joined[0])
        groups: dict[int, set[int]] = {}
        for b in divergent:
            groups.setdefault(root(b), set()).add(b)
        return list(groups.values())

    # ---- blends ----------------------------------------------------------------------------------

    def _find_blends(self) -> None:
        for register, definitions in self.definitions.items():
            for b, ins in definitions:
                component = self.result.component.get(b)
                if component is None or (b, register) in self.result.blends:
                    continue
                if self._must_blend(register, b, component, len(definitions) == 1, ins):
                    self.result.blends.add((b, register))
                    self.result.blended.add(register)
                    self.result.varying.add(register)

    def _must_blend(
        self, register: int, b: int, component: Component, single: bool, ins: Instruction
    ) -> bool:
        if self.graph.irreducible or component.waits:
            return True
        live, bit = self.result.live, 1 << register
        loops = self.graph.blocks[b].loops
        if single and ins.guard is None and not live[0] & bit:
            # All lanes that read it have just run this block, unless a loop brought others here
            # again.
            around = [h for h in loops if h in self.result.component]
            if not around:
                return False
            carried = any(live[h] & bit for h in around)
            if not carried:
                outside = {
                    t
                    for h in around
                    for m in self.graph.loops[h]
                    for t in self.graph.blocks[m].targets
                    if t != RETURN and t not in self.graph.loops[h]
                }
                return any(live[t] & bit for t in outside)
        later = [x for x in component.blocks if x > b]
        if component.exit != RETURN:
            later.append(component.exit)
        return any(live[x] & bit for x in later)


def _special_varies(name: str, variant: int) -> bool:
    """Whether the special register differs between the lanes of a warp."""
    group = GROUPS[variant]
    if name.startswith("tid"):
        component = name.partition(".")[2] or "x"
        return group == 0 or component == "x" or (component == "y" and group < 32)
    return name.startswith(("laneid", "lanemask"))
