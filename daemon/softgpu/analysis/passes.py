"""All that is found out about a function before it is emitted, pass by pass.

A pass takes what those before it have found and adds its own; whoever wants to see the function
between two of them (dump.py) is called after each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..ir import Function
from . import cfg, divergence, waiting
from .cfg import Graph
from .divergence import Divergence
from .shapes import Shapes


@dataclass(slots=True)
class Facts:
    """Of one function, for one of abi.VARIANTS. Each is there once its pass has run."""

    function: Function
    variant: int
    passed: list[str] = field(default_factory=list)
    graph: Graph = field(init=False)
    divergence: Divergence = field(init=False)
    waiting: set[int] = field(init=False)  # blocks that end an iteration of a loop that waits
    shapes: Shapes = field(init=False)


def _blocks(facts: Facts) -> None:
    """basic blocks in the order of the code, loops, and where branches meet again"""
    facts.graph = cfg.build(facts.function)


def _divergence(facts: Facts) -> None:
    """which registers differ between lanes, and which blocks some lanes run alone"""
    facts.divergence = divergence.analyse(facts.function, facts.graph, facts.variant)


def _meetings(facts: Facts) -> None:
    """blocks begin where lanes that have parted wait for one another, if any do"""
    blocks = [facts.graph.blocks[index] for index in facts.divergence.component]
    if any(waiting.names_its_members(i) for block in blocks for i in block.instructions):
        facts.graph = cfg.build(facts.function, meetings=True)
        facts.divergence = divergence.analyse(
            facts.function, facts.graph, facts.variant, holds=True
        )


def _waiting(facts: Facts) -> None:
    """which loops wait for other threads, and let them run"""
    facts.waiting = waiting.spins(facts.graph)


def _shapes(facts: Facts) -> None:
    """by how much registers that differ grow from lane to lane"""
    facts.shapes = Shapes(facts.function, facts.graph, facts.divergence, facts.variant)


PASSES: dict[str, Callable[[Facts], None]] = {
    "blocks": _blocks,
    "divergence": _divergence,
    "meetings": _meetings,
    "waiting": _waiting,
    "shapes": _shapes,
}


def run(
    function: Function, variant: int, after: Callable[[str, Facts], None] = lambda *_: None
) -> Facts:
    """All passes in order; `after` is told the name of each, and what is known then. PtxError."""
    facts = Facts(function, variant)
    for name, pass_ in PASSES.items():
        pass_(facts)
        facts.passed.append(name)
        after(name, facts)
    return facts
