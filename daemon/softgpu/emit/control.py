"""Barriers, fences, traps. Branches themselves are the emitter's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..abi import ERROR_LAUNCH_FAILED
from ..ir import Instruction, Operand
from ..table import Effect, Result, Trait, instruction
from .builder import Value, integer

if TYPE_CHECKING:
    from .emitter import Emitter

_SYNC, _ARRIVE, _POPC, _AND, _OR = range(5)


@instruction("bra", "brx", mods="uni idx", operands=(1, 2), result=Result.NONE, effect=Effect.NONE)
def branch(e: Emitter, ins: Instruction) -> None:
    """Ends a block; see Flow.terminate."""


@instruction("ret", mods="uni", operands=(0, 0), result=Result.NONE, effect=Effect.NONE)
def ret(e: Emitter, ins: Instruction) -> None:
    """Ends a block; see Flow.terminate."""


@instruction("exit", operands=(0, 0), result=Result.NONE, effect=Effect.ACTS)
def exit_(e: Emitter, ins: Instruction) -> None:
    """In a function that was called: tell the callers which lanes are gone."""
    b = e.b
    b.store(b.or_(b.load("i32", "%exited", 4), e.mask), "%exited", 4)


@instruction("trap", "brkpt", operands=(0, 0), result=Result.NONE, effect=Effect.ACTS)
def trap(e: Emitter, ins: Instruction) -> None:
    e.call_helper("trap", "void", f"ptr %w, i32 {ERROR_LAUNCH_FAILED}")


@instruction(
    "membar",
    "fence",
    mods="cta gl sys gpu cluster sc acq_rel proxy alias async acquire "
    "release mbarrier_init tensormap__generic global shared__cta shared__cluster "
    "async__global async__shared__cta sync_restrict__shared__cta "
    "sync_restrict__shared__cluster",
    operands=(0, 2),
    result=Result.NONE,
    effect=Effect.NONE,
)
def fence(e: Emitter, ins: Instruction) -> None:
    e.b.line("fence seq_cst")


@instruction(
    "nanosleep", operands=(1, 1), result=Result.NONE, effect=Effect.ACTS, traits=Trait.WAITS
)
def nanosleep(e: Emitter, ins: Instruction) -> None:
    e.call_helper("yield", "void", "ptr %w, i64 0")


@instruction(
    "pmevent",
    "griddepcontrol",
    "setmaxnreg",
    mods="launch_dependents wait inc dec sync aligned mask",
    operands=(0, 1),
    result=Result.NONE,
    effect=Effect.NONE,
)
def no_effect(e: Emitter, ins: Instruction) -> None:
    """Nothing to do here."""


@instruction(
    "bar",
    mods="sync arrive red popc and or warp cta aligned",
    operands=(0, 4),
    result=Result.REDUCTION,
    effect=Effect.ACTS,
    traits=Trait.COLLECTIVE | Trait.MEETS | Trait.NAMES_MEMBERS | Trait.WAITS,
)
def bar(e: Emitter, ins: Instruction) -> None:
    if "warp" in ins.mods:
        e.b.line("fence seq_cst")
        return
    _barrier(e, ins)


@instruction(
    "barrier",
    mods="cta cluster sync arrive wait red popc and or aligned acquire release relaxed",
    operands=(0, 4),
    result=Result.REDUCTION,
    effect=Effect.ACTS,
    traits=Trait.COLLECTIVE | Trait.MEETS | Trait.WAITS,
)
def barrier(e: Emitter, ins: Instruction) -> None:
    if "cluster" in ins.mods:  # a cluster is one block
        if "arrive" in ins.mods:
            return
        _call(e, integer("i32", 0), integer("i32", 0), _SYNC, integer("i32", 0))
        return
    _barrier(e, ins)


def _barrier(e: Emitter, ins: Instruction) -> None:
    b = e.b
    operands: list[Operand] = list(ins.operands)
    target = operands.pop(0) if "red" in ins.mods else None
    predicate: Value = integer("i32", 0)
    if target is not None:
        predicate = b.mask_bits(e.read(operands.pop(), "i1"))
    number = e.read(operands[0], "i32") if operands else integer("i32", 0)
    threads = e.read(operands[1], "i32") if len(operands) > 1 else integer("i32", 0)
    kind = _SYNC
    if "arrive" in ins.mods:
        kind = _ARRIVE
    elif target is not None:
        kind = _POPC if "popc" in ins.mods else _AND if "and" in ins.mods else _OR
    result = _call(e, b.lane(number, 0), b.lane(threads, 0), kind, predicate)
    if target is not None:
        e.write(target, result if kind == _POPC else b.icmp("ne", result, integer("i32", 0)))


def _call(e: Emitter, number: Value, threads: Value, kind: int, predicate: Value) -> Value:
    return e.call_helper(
        "barrier", "i32",
        f"ptr %w, i32 {e.mask.text}, {number}, {threads}, i32 {kind}, {predicate}",
    )  # fmt: skip
