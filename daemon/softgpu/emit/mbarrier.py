"""mbarrier: barriers in shared memory, which threads arrive at and wait for in phases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Address, Immediate, Instruction, Operand, Sink
from ..table import Effect, Result, Trait, instruction
from .access import make_access
from .builder import Value, integer
from .memory import SPACES

if TYPE_CHECKING:
    from .emitter import Emitter

# native/softgpu/block/warp_mbarrier.c
_INIT, _INVAL, _ARRIVE, _DROP, _TEST, _PARITY = range(6)
_TX = 'transactions need a copy engine ("expect_tx")'


@instruction(
    "mbarrier",
    mods=f"init inval arrive arrive_drop noComplete test_wait try_wait pending_count parity "
    f"expect_tx complete_tx acquire release relaxed cta cluster {SPACES}",
    operands=(1, 4),
    result=Result.FIRST,
    effect=Effect.ACTS,
    traits=Trait.VARYING | Trait.WAITS,
)
def mbarrier(e: Emitter, ins: Instruction) -> None:
    what = ins.mods[0]
    if {"expect_tx", "complete_tx"} & set(ins.mods):
        raise e.unsupported(f"{_TX} is not supported")
    if what == "pending_count":
        state = e.read(ins.operands[1], "i64")
        pending = e.b.and_(e.b.lshr(state, integer("i64", 20)), integer("i64", 0xFFFFF))
        e.write(ins.operands[0], e.b.resize(pending, "i32"))
    elif what in ("init", "inval"):
        count: Operand = ins.operands[1] if what == "init" else Immediate(0)
        call(e, ins, _INIT if what == "init" else _INVAL, ins.operands[0], count)
    elif what in ("arrive", "arrive_drop"):
        operands = list(ins.operands)
        target: Operand = Sink() if isinstance(operands[0], Address) else operands.pop(0)
        count = operands[1] if len(operands) > 1 else Immediate(1)
        state = call(e, ins, _ARRIVE if what == "arrive" else _DROP, operands[0], count)
        e.write(target, state)
    else:
        kind = _PARITY if "parity" in ins.mods else _TEST
        done = call(e, ins, kind, ins.operands[1], ins.operands[2])
        e.write(ins.operands[0], e.b.icmp("ne", done, integer("i64", 0)))


def call(e: Emitter, ins: Instruction, kind: int, where: Operand, operand: Operand) -> Value:
    """What the helper gives for each lane."""
    b = e.b
    access = make_access(e, ins, where, 8, 1)
    address = e.scratch("address", access.address)
    value = e.scratch("value", e.read(operand, "i64"))
    out = e.scratch_slot("out")
    code = kind | access.space << 8
    e.call_helper(
        "mbarrier", "void",
        f"ptr %w, i32 {e.mask.text}, i32 {code}, ptr {address}, ptr {value}, ptr {out}",
    )  # fmt: skip
    return b.value("i64", True, f"freeze {b.load('i64', out, 64, True)}")


def arrive_on_copies(e: Emitter, ins: Instruction) -> None:
    """cp.async.mbarrier.arrive: copies are over at once. With .noinc it is one of the arrivals that
    are counted; without, it counts one more before."""
    if "noinc" in ins.mods:
        call(e, ins, _ARRIVE, ins.operands[0], Immediate(1))
