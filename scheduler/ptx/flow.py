"""Control flow of a PTX function: basic blocks, and the shortest cycle through one."""

from __future__ import annotations

import heapq

from tally.scheduler.ptx.module import Function, Instruction, Module, parse_instruction
from tally.scheduler.ptx.reader import Kind

_ENDS = ("bra", "brx", "ret", "exit", "trap")


class FlowGraph:
    """`blocks[n]`: instructions of block n; `successors[n]`: where control may go from there."""

    def __init__(self, module: Module, function: Function) -> None:
        self.blocks: list[list[Instruction]] = [[]]
        self.successors: list[set[int]] = []
        self._labels: dict[str, int] = {}
        self._split(module, function)
        self._connect()

    def shortest_cycle(self, number: int) -> list[int] | None:
        """Blocks of the cycle through block `number` with the fewest instructions, or None."""
        best = {number: 0}
        before: dict[int, int] = {}
        waiting = [(0, number)]
        while waiting:
            length, current = heapq.heappop(waiting)
            for following in self.successors[current]:
                if following == number:
                    path = [current]
                    while path[-1] != number:
                        path.append(before[path[-1]])
                    return path
                total = length + len(self.blocks[following])
                if total < best.get(following, 1 << 60):
                    best[following] = total
                    before[following] = current
                    heapq.heappush(waiting, (total, following))
        return None

    def cyclic(self) -> set[int]:
        """Blocks that some cycle goes through."""
        order, home = self._finished(self.successors), [-1] * len(self.blocks)
        before: list[set[int]] = [set() for _ in self.blocks]
        for number, following in enumerate(self.successors):
            for other in following:
                before[other].add(number)
        found: set[int] = set()
        for root in reversed(order):  # Kosaraju: each component from its root, against the arrows
            members, waiting = [], [root]
            while waiting:
                number = waiting.pop()
                if home[number] < 0:
                    home[number] = root
                    members.append(number)
                    waiting.extend(before[number])
            if len(members) > 1 or root in self.successors[root]:
                found.update(members)
        return found

    @staticmethod
    def _finished(successors: list[set[int]]) -> list[int]:
        """All blocks in the order in which a depth-first walk is done with them."""
        order: list[int] = []
        seen = [False] * len(successors)
        for start in range(len(successors)):
            path = [] if seen[start] else [(start, iter(successors[start]))]
            seen[start] = True
            while path:
                number, following = path[-1]
                step = next((n for n in following if not seen[n]), None)
                if step is None:
                    order.append(number)
                    path.pop()
                else:
                    seen[step] = True
                    path.append((step, iter(successors[step])))
        return order

    def _split(self, module: Module, function: Function) -> None:
        for index in range(function.open, function.close):
            statement = module.statements[index]
            if statement.kind is Kind.LABEL:
                if self.blocks[-1]:
                    self.blocks.append([])
                name = statement.bare.rstrip().rstrip(":").strip()
                self._labels[name] = len(self.blocks) - 1
            elif statement.kind is Kind.INSTRUCTION:
                instruction = parse_instruction(index, statement.bare)
                self.blocks[-1].append(instruction)
                if instruction.opcode.startswith(_ENDS):
                    self.blocks.append([])

    def _connect(self) -> None:
        last = len(self.blocks) - 1
        for number, block in enumerate(self.blocks):
            falls_to = {number + 1} if number < last else set()
            if not block or not block[-1].opcode.startswith(_ENDS):
                self.successors.append(falls_to)
                continue
            end = block[-1]
            targets = set() if end.predicate is None else falls_to
            if end.opcode.startswith("brx"):
                targets = set(self._labels.values())  # a table: anywhere, to be safe
            elif end.opcode.startswith("bra"):
                target = self._labels.get(end.operands.strip())
                targets = targets | ({target} if target is not None else set())
            self.successors.append(targets)
