"""Where an emitted function begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import abi

if TYPE_CHECKING:
    from .emitter import Emitter

# Of the fields of struct soft_warp; the others are 32 bits wide.
_POINTERS = frozenset(("params", "globals", "shared", "helpers_at", "lanes"))
_WIDE = frozenset(
    ("region_base", "region_limit", "local_base", "local_bytes", "grid_id", "workspace")
)
_TRIPLES = frozenset(("ctaid", "ntid", "nctaid", "tid"))


def write_entry(e: Emitter) -> None:
    """What runs first: the warp's fields, registers that are read before they are written, and the
    slots of lanes that wait."""
    b = e.b
    b.line("%live = alloca i32, align 4")
    b.line("%exited = alloca i32, align 4")
    b.line("store i32 %mask, ptr %live, align 4")
    b.line("store i32 0, ptr %exited, align 4")
    _write_fields(e)
    live = e.divergence.live[0]
    for r in e.function.registers:
        full = e.register_type(r)
        b.line(f"%r{r.index} = alloca {full}, align 64")
        if live >> r.index & 1:
            b.line(f"store {full} zeroinitializer, ptr %r{r.index}, align 64")
    _write_slots(e)
    if not e.function.entry and e.frame_bytes:
        _check_frame(e)
    if 0 in e.divergence.component:
        b.line("store i32 %mask, ptr %pend0, align 4")
    b.jump("B0")


def _write_fields(e: Emitter) -> None:
    """The warp's fields as values."""
    b = e.b
    for name, offset in abi.FIELDS.items():
        type_ = "ptr" if name in _POINTERS else "i64" if name in _WIDE else "i32"
        align = 4 if type_ == "i32" else 8
        count = 3 if name in _TRIPLES else 1
        for i in range(count):
            suffix = "xyz"[i] if count == 3 else ""
            b.line(f"%f.{name}{suffix}.p = getelementptr i8, ptr %w, i64 {offset + 4 * i}")
            b.line(f"%f.{name}{suffix} = load {type_}, ptr %f.{name}{suffix}.p, "
                   f"align {align}, !invariant.load !0")  # fmt: skip
    b.line("%shared.i = ptrtoint ptr %f.shared to i64")
    b.line("%globals.i = ptrtoint ptr %f.globals to i64")


def _write_slots(e: Emitter) -> None:
    """For lanes that wait to run a block, and for loops that count their turns."""
    b = e.b
    for index in e.divergence.component:
        b.line(f"%pend{index} = alloca i32, align 4")
        b.line(f"store i32 0, ptr %pend{index}, align 4")
    if any(c.holds for c in e.divergence.component.values()):
        for name in ("%held", "%let"):
            b.line(f"{name} = alloca i32, align 4")
            b.line(f"store i32 0, ptr {name}, align 4")
    for block in e.graph.blocks:
        if block.index in e.spins:
            b.line(f"%spin{block.index} = alloca i32, align 4")
            b.line(f"store i32 0, ptr %spin{block.index}, align 4")


def _check_frame(e: Emitter) -> None:
    """A called function's local memory fits, or the launch fails."""
    b = e.b
    b.line("%frame.used = sub i64 %local, %f.local_base")
    b.line(f"%frame.end = add i64 %frame.used, {e.frame_bytes * 32}")
    b.line("%frame.bad = icmp ugt i64 %frame.end, %f.local_bytes")
    b.line("br i1 %frame.bad, label %frame.full, label %frame.fits")
    b.label("frame.full")
    e.call_helper("trap", "void", f"ptr %w, i32 {abi.ERROR_LAUNCH_FAILED}")
    b.line("unreachable")
    b.label("frame.fits")
