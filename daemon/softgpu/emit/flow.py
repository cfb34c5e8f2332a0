"""Where lanes go at a block's end: jumps, branches that part lanes, and where parted lanes meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..analysis.cfg import RETURN, Block
from ..analysis.divergence import Component
from ..analysis.uses import terminator_reads
from ..errors import PtxError
from .builder import Value, integer
from .collective import let_go

if TYPE_CHECKING:
    from .emitter import Emitter


class Flow:
    """The way out of each block of one function, in the order that emitter.py describes."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.b = emitter.b
        self.graph = emitter.graph
        self.divergence = emitter.divergence

    def after(self, component: Component, index: int) -> str:
        """Where control looks for lanes after a divergent block: the next one, or the exit."""
        position = component.blocks.index(index)
        if position + 1 < len(component.blocks):
            return f"T{component.blocks[position + 1]}"
        return f"R{component.blocks[0]}" if component.waits else self._leave(component)

    def _leave(self, component: Component) -> str:
        return "finish" if component.exit == RETURN else f"X{component.blocks[0]}"

    def _retire(self, lanes: Value) -> None:
        live = self.b.load("i32", "%live", 4)
        self.b.store(self.b.and_(live, self.b.not_(lanes)), "%live", 4)

    def _go_if_live(self, label: str) -> None:
        b = self.b
        some = b.icmp("ne", b.load("i32", "%live", 4), integer("i32", 0))
        b.branch(some, label, "finish")

    def terminate(self, block: Block, component: Component | None) -> None:
        b = self.b
        if component is None and self._uniform_branch(block):
            return
        edges = self._edges(block)
        targets = list(dict.fromkeys(t for t, _ in edges))
        gone = [lanes for t, lanes in edges if t == RETURN]
        for lanes in gone:
            self._retire(lanes)
        pending = [(t, lanes) for t, lanes in edges if t in self.divergence.component]
        for target, lanes in pending:
            old = b.load("i32", f"%pend{target}", 4)
            b.store(b.or_(old, lanes), f"%pend{target}", 4)
        if component is None:
            self._leave_uniform(targets, bool(gone))
            return
        back = [(t, lanes) for t, lanes in pending if t <= block.index]
        after = self.after(component, block.index)
        if back:
            target = min(t for t, _ in back)
            if len(targets) == 1 and not component.waits:
                b.jump(f"B{target}")
            elif self.graph.irreducible:
                b.jump(f"T{component.blocks[0]}")
            else:
                taken = back[0][1]
                for _, lanes in back[1:]:
                    taken = b.or_(taken, lanes)
                again = b.icmp("ne", taken, integer("i32", 0))
                if component.waits and self.emitter.turn is not None:
                    again = b.and_(again, b.not_(self.emitter.turn))
                b.branch(again, f"B{target}", after)
        elif len(targets) == 1 and after == f"T{targets[0]}":
            b.jump(f"B{targets[0]}")
        else:
            b.jump(after)
        self._component_exit(component, block)

    def _component_exit(self, component: Component, block: Block) -> None:
        """After the component's last block: all live lanes go on together."""
        if block.index != component.blocks[-1]:
            return
        if component.waits:
            self._run_those_left(component)
        if component.exit == RETURN:
            return
        self.b.label(f"X{component.blocks[0]}")
        retires = any(RETURN in self.graph.blocks[i].targets for i in component.blocks)
        calls = any(ins.call for i in component.blocks for ins in self.graph.blocks[i].instructions)
        entered = [p for i in component.blocks for p in self.graph.predecessors[i]]
        retires = retires or any(RETURN in self.graph.blocks[p].targets for p in entered)
        exits = any(
            ins.opcode == "exit"
            for i in component.blocks
            for ins in self.graph.blocks[i].instructions
        )
        if retires or calls or exits:
            self._go_if_live(f"B{component.exit}")
        else:
            self.b.jump(f"B{component.exit}")

    def _run_those_left(self, component: Component) -> None:
        """Lanes that a waiting loop or a collective has put back run before all go on."""
        b = self.b
        b.label(f"R{component.blocks[0]}")
        left: Value = integer("i32", 0)
        for index in component.blocks:
            left = b.or_(left, b.load("i32", f"%pend{index}", 4))
        if component.holds:
            let_go(self.emitter, left)
        some = b.icmp("ne", left, integer("i32", 0))
        b.branch(some, f"T{component.blocks[0]}", self._leave(component))

    def _edges(self, block: Block) -> list[tuple[int, Value]]:
        """Targets and the lanes that go there."""
        b, targets = self.b, block.targets
        if block.selector is not None:
            return self._switch_edges(block)
        if block.guard is None or len(targets) == 1:
            return [(targets[0], self.emitter.mask)]
        condition = self.emitter.guard_value(block.guard, block.guard_negated)
        if condition.per_lane:
            bits = b.mask_bits(condition)
            yes = b.and_(self.emitter.mask, bits)
            no = b.and_(self.emitter.mask, b.not_(bits))
        else:
            zero = integer("i32", 0)
            yes, no = (
                b.select(condition, self.emitter.mask, zero),
                b.select(condition, zero, self.emitter.mask),
            )
        return [(targets[0], yes), (targets[1], no)]

    def _switch_edges(self, block: Block) -> list[tuple[int, Value]]:
        assert block.selector is not None
        b = self.b
        selector = b.splat(self.emitter.read(block.selector.operands[0], "i32"))
        lanes: dict[int, Value] = {}
        last = len(block.targets) - 1
        for i, target in enumerate(block.targets):
            # An index past the table is undefined; it takes the last entry.
            relation = "uge" if i == last else "eq"
            bits = b.mask_bits(b.icmp(relation, selector, integer("i32", i)))
            taken = b.and_(self.emitter.mask, bits)
            lanes[target] = b.or_(lanes[target], taken) if target in lanes else taken
        return list(lanes.items())

    def _uniform_branch(self, block: Block) -> bool:
        """A plain branch or switch, where all live lanes go one way."""
        read, targets = terminator_reads(block), block.targets
        if not read or any(r.index in self.divergence.varying for r in read):
            return False
        b = self.b
        ways = {t: b.fresh_label("way") for t in dict.fromkeys(targets)}
        labels = [ways[t] for t in targets]
        if block.selector is not None:
            selector = self.emitter.read(block.selector.operands[0], "i32")
            cases = " ".join(f"i32 {i}, label %{label}" for i, label in enumerate(labels[:-1]))
            b.line(f"switch {selector}, label %{labels[-1]} [ {cases} ]")
        else:
            assert block.guard is not None
            b.branch(self.emitter.guard_value(block.guard, block.guard_negated), *labels)
        for target, label in ways.items():
            b.label(label)
            if target in self.divergence.component:
                b.store(self.emitter.mask, f"%pend{target}", 4)
            b.jump("finish" if target == RETURN else f"B{target}")
        return True

    def _leave_uniform(self, targets: list[int], retired: bool) -> None:
        b = self.b
        inside = [t for t in targets if t != RETURN]
        if not inside:
            b.jump("finish")
            return
        pending = sorted(t for t in inside if t in self.divergence.component)
        if pending:
            label = f"T{pending[0]}" if len(targets) > 1 else f"B{pending[0]}"
            if not self.graph.irreducible or len(targets) == 1:
                b.jump(label)
            else:
                b.jump(f"T{self.divergence.component[pending[0]].blocks[0]}")
        elif len(inside) == 1:
            calls = any(ins.call or ins.opcode == "exit" for ins in self.emitter.block.instructions)
            if retired or calls:
                self._go_if_live(f"B{inside[0]}")
            else:
                b.jump(f"B{inside[0]}")
        else:
            raise PtxError(
                self.emitter.function.line, "internal error: lanes part outside of a region"
            )
