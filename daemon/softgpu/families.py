"""All families of instructions; importing this fills the table."""

from . import (
    emit_atomic,
    emit_barrier,
    emit_call,
    emit_control,
    emit_convert,
    emit_float,
    emit_int,
    emit_logic,
    emit_math,
    emit_matrix,
    emit_memory,
    emit_move,
    emit_warp,
    emit_wmma,
)

__all__ = [
    "emit_atomic",
    "emit_barrier",
    "emit_call",
    "emit_control",
    "emit_convert",
    "emit_float",
    "emit_int",
    "emit_logic",
    "emit_math",
    "emit_matrix",
    "emit_memory",
    "emit_move",
    "emit_warp",
    "emit_wmma",
]
