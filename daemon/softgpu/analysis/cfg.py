"""Control flow: basic blocks in an order that keeps loops together, loops, post-dominators.

Lanes of a warp that part are run by the rule "lowest block first" (see emit/flow.py). The order of
blocks makes that rule reconverge early: every block comes after all its predecessors but for back
edges, the blocks of a loop are neighbours, and all lanes that stay in a loop meet in its one latch
before the next iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import PtxError, UnsupportedError
from ..ir import Function, Instruction, Label, Register
from ..table import Trait, has_trait
from .waiting import has_waiting

RETURN = -1  # the target of an edge that leaves the function

BLOCKS_MAX = 100_000


@dataclass(slots=True, eq=False)
class Block:
    index: int
    instructions: list[Instruction] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)  # see `guard`, `selector`
    guard: Register | None = None  # targets[0] if it holds, else targets[1]
    guard_negated: bool = False
    selector: Instruction | None = None  # brx.idx: targets[i]
    loops: list[int] = field(
        default_factory=list
    )  # headers of the loops around it, innermost first


@dataclass(slots=True, eq=False)
class Graph:
    blocks: list[Block]
    predecessors: list[list[int]]
    loops: dict[int, set[int]]  # by header
    irreducible: bool
    postdominator: list[int]  # immediate; RETURN where there is none


def build(function: Function, meetings: bool = False) -> Graph:
    """The control-flow graph; block 0 is the entry and indices are the order. `meetings`: where
    lanes meet, a block starts."""
    raw = _raw_blocks(function, meetings or has_waiting(function))
    _skip_trivial(raw)
    order = _order(raw)
    blocks = _renumber(raw, order)
    blocks = _with_latches(blocks)
    loops, irreducible = _loops(blocks)
    for header in sorted(loops):
        for member in loops[header]:
            blocks[member].loops.insert(0, header)
    for block in blocks:
        block.loops.sort(key=lambda h: len(loops[h]))
    predecessors: list[list[int]] = [[] for _ in blocks]
    for block in blocks:
        for target in set(block.targets):
            if target != RETURN:
                predecessors[target].append(block.index)
    return Graph(blocks, predecessors, loops, irreducible, _postdominators(blocks))


def _raw_blocks(function: Function, meetings: bool) -> list[Block]:
    blocks = [Block(0)]
    starts: dict[str, int] = {}
    falls: set[int] = set()  # blocks whose last target is the next block
    closed = False

    def begin() -> Block:
        blocks.append(Block(len(blocks)))
        return blocks[-1]

    fixes: list[tuple[Block, list[str]]] = []
    for item in function.body or []:
        if isinstance(item, Label):
            if not closed:
                falls.add(blocks[-1].index)
            begin()
            starts[item.name] = blocks[-1].index
            closed = False
            continue
        if closed:
            begin()
            closed = False
        name = item.opcode
        if meetings and has_trait(item, Trait.MEETS) and blocks[-1].instructions:
            # Lanes that come one by one must be able to wait right before they meet.
            falls.add(blocks[-1].index)
            begin()
        block = blocks[-1]
        if name not in ("bra", "brx", "ret", "exit"):
            block.instructions.append(item)
            if name == "trap" and item.guard is None:
                block.targets = [RETURN]
                closed = True
            continue
        names = [""] if name in ("ret", "exit") else _branch_targets(function, item)
        if name == "exit" and not function.entry:
            block.instructions.append(item)
        if name == "brx":
            block.selector = item
        closed = True
        if item.guard is not None:
            if name == "brx":
                raise UnsupportedError(item.line, "a predicated brx is not supported")
            block.guard, block.guard_negated = item.guard, item.guard_negated
            falls.add(block.index)
        fixes.append((block, names))
    if not closed:
        blocks[-1].targets = [RETURN]
    for block, names in fixes:
        block.targets = [starts[n] if n else RETURN for n in names]
    for index in falls:
        following = index + 1 if index + 1 < len(blocks) else RETURN
        blocks[index].targets.append(following)
    if len(blocks) > BLOCKS_MAX:
        raise PtxError(function.line, "too many basic blocks")
    return blocks


def _branch_targets(function: Function, item: Instruction) -> list[str]:
    label = item.operands[-1]
    assert isinstance(label, Label)
    if item.opcode == "bra":
        return [label.name]
    if label.name not in function.tables:
        raise PtxError(item.line, f"unknown branch table '{label.name[:60]}'")
    return function.tables[label.name]


def _skip_trivial(blocks: list[Block]) -> None:
    """Edges to blocks that do nothing but go on lead to where those go."""

    def final(target: int) -> int:
        seen = set()
        while target != RETURN and target not in seen:
            seen.add(target)
            block = blocks[target]
            if block.instructions or len(block.targets) != 1:
                break
            target = block.targets[0]
        return target

    for block in blocks:
        block.targets = [final(t) for t in block.targets]
        if block.guard is not None and block.targets[0] == block.targets[1]:
            block.guard = None
            block.targets.pop()


def _order(blocks: list[Block]) -> list[int]:
    """Reverse post-order that keeps loops together: edges that leave a loop are followed first."""
    heads = _depth_first(blocks, lambda b: blocks[b].targets)
    members = _natural_loops(blocks, heads)
    inner: dict[int, list[set[int]]] = {}
    for body in members.values():
        for b in body:
            inner.setdefault(b, []).append(body)

    def successors(b: int) -> list[int]:
        around = inner.get(b, [])

        def leaves(t: int) -> int:
            return -sum(t not in body for body in around)

        # What is followed last comes first in the order: so the first target is, as it was written.
        targets = blocks[b].targets[::-1]
        return sorted(targets, key=leaves)

    return _depth_first(blocks, successors)


def _depth_first(blocks: list[Block], successors: object) -> list[int]:
    assert callable(successors)
    seen = {0}
    done: list[int] = []
    stack = [(0, iter(successors(0)))]
    while stack:
        block, targets = stack[-1]
        for target in targets:
            if target != RETURN and target not in seen:
                seen.add(target)
                stack.append((target, iter(successors(target))))
                break
        else:
            done.append(block)
            stack.pop()
    return done[::-1]


def _natural_loops(blocks: list[Block], order: list[int]) -> dict[int, set[int]]:
    """Bodies of retreating edges by header; good enough to order by, also where irreducible."""
    position = {b: i for i, b in enumerate(order)}
    predecessors: dict[int, list[int]] = {}
    for b in order:
        for t in blocks[b].targets:
            if t != RETURN:
                predecessors.setdefault(t, []).append(b)
    loops: dict[int, set[int]] = {}
    for b in order:
        for t in blocks[b].targets:
            if t == RETURN or position[t] > position[b]:
                continue
            body = loops.setdefault(t, {t})
            work = [b]
            while work:
                member = work.pop()
                if member not in body and position[member] >= position[t]:
                    body.add(member)
                    work.extend(predecessors.get(member, []))
    return loops


def _renumber(raw: list[Block], order: list[int]) -> list[Block]:
    position = {b: i for i, b in enumerate(order)}
    blocks = [raw[b] for b in order]
    for block in blocks:
        block.index = position[block.index]
        block.targets = [RETURN if t == RETURN else position[t] for t in block.targets]
    return blocks


def _with_latches(blocks: list[Block]) -> list[Block]:
    """Give loops with several back edges one latch, after the loop's last block."""
    sources: dict[int, list[int]] = {}
    for block in blocks:
        for t in set(block.targets):
            if t != RETURN and t <= block.index:
                sources.setdefault(t, []).append(block.index)
    several = {t: s for t, s in sources.items() if len(s) > 1}
    if not several:
        return blocks
    bodies = _natural_loops(blocks, list(range(len(blocks))))
    after: dict[int, list[Block]] = {}
    for header, origins in several.items():
        latch = Block(-1)
        latch.targets = [header]
        # Where loops end at one block, the inner loop's latch (higher header) comes first.
        after.setdefault(max(bodies[header]), []).append(latch)
        for origin in origins:
            block = blocks[origin]
            block.targets = [-2 - header if t == header else t for t in block.targets]
    new: list[Block] = []
    latch_of: dict[int, int] = {}
    place: dict[int, int] = {}
    for i, block in enumerate(blocks):
        place[i] = len(new)
        new.append(block)
        for latch in sorted(after.get(i, []), key=lambda b: -b.targets[0]):
            latch_of[latch.targets[0]] = len(new)
            new.append(latch)
    for i, block in enumerate(new):
        block.index = i
        block.targets = [
            RETURN if t == RETURN else place[t] if t >= 0 else latch_of[-2 - t]
            for t in block.targets
        ]
    return new


def _dominators(blocks: list[Block]) -> list[int]:
    predecessors: list[list[int]] = [[] for _ in blocks]
    for block in blocks:
        for t in set(block.targets):
            if t != RETURN:
                predecessors[t].append(block.index)
    idom = [-1] * len(blocks)
    idom[0] = 0
    changed = True
    while changed:
        changed = False
        for b in range(1, len(blocks)):
            best = -1
            for p in predecessors[b]:
                if idom[p] < 0:
                    continue
                best = p if best < 0 else _meet(idom, p, best)
            if best != idom[b]:
                idom[b] = best
                changed = True
    return idom


def _meet(idom: list[int], a: int, b: int) -> int:
    while a != b:
        while a > b:
            a = idom[a]
        while b > a:
            b = idom[b]
    return a


def _loops(blocks: list[Block]) -> tuple[dict[int, set[int]], bool]:
    idom = _dominators(blocks)
    irreducible = False
    for block in blocks:
        for t in block.targets:
            if t == RETURN or t > block.index:
                continue
            b = block.index
            while b > t:
                b = idom[b]
            irreducible = irreducible or b != t
    return _natural_loops(blocks, list(range(len(blocks)))), irreducible


def _postdominators(blocks: list[Block]) -> list[int]:
    """Immediate post-dominators, where an edge that leaves the function counts only if it is the
    only one.

    Lanes that leave do not come back, so those that stay are all there where the others are not."""
    size = len(blocks)
    exit_node = size
    successors: list[list[int]] = []
    for block in blocks:
        inside = [t for t in dict.fromkeys(block.targets) if t != RETURN]
        successors.append(inside or [exit_node])
    predecessors: list[list[int]] = [[] for _ in range(size + 1)]
    for b, targets in enumerate(successors):
        for t in targets:
            predecessors[t].append(b)
    reached = [False] * (size + 1)
    reached[exit_node] = True
    work = [exit_node]
    while work:
        for p in predecessors[work.pop()]:
            if not reached[p]:
                reached[p] = True
                work.append(p)
    for b in range(size - 1, -1, -1):  # endless loops
        if not reached[b]:
            successors[b].append(exit_node)
            predecessors[exit_node].append(b)
            work = [b]
            reached[b] = True
            while work:
                for p in predecessors[work.pop()]:
                    if not reached[p]:
                        reached[p] = True
                        work.append(p)
    order = _reverse_post_order(exit_node, predecessors)
    rank = {b: i for i, b in enumerate(order)}
    ipdom = {exit_node: exit_node}
    changed = True
    while changed:
        changed = False
        for b in order[1:]:
            best = -1
            for s in successors[b]:
                if s in ipdom:
                    best = s if best < 0 else _meet_ranked(ipdom, rank, s, best)
            if best >= 0 and ipdom.get(b) != best:
                ipdom[b] = best
                changed = True
    return [RETURN if ipdom.get(b, exit_node) == exit_node else ipdom[b] for b in range(size)]


def _meet_ranked(idom: dict[int, int], rank: dict[int, int], a: int, b: int) -> int:
    while a != b:
        while rank[a] > rank[b]:
            a = idom[a]
        while rank[b] > rank[a]:
            b = idom[b]
    return a


def _reverse_post_order(start: int, edges: list[list[int]]) -> list[int]:
    seen = {start}
    done: list[int] = []
    stack = [(start, iter(edges[start]))]
    while stack:
        node, targets = stack[-1]
        for target in targets:
            if target not in seen:
                seen.add(target)
                stack.append((target, iter(edges[target])))
                break
        else:
            done.append(node)
            stack.pop()
    return done[::-1]
