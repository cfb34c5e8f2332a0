"""All families of instructions; importing this fills the table."""

from . import (
    atomics,
    calls,
    control,
    convert,
    floats,
    ints,
    logic,
    maths,
    matrix,
    mbarrier,
    memory,
    moves,
    warp,
    wmma,
)

__all__ = [
    "atomics",
    "calls",
    "control",
    "convert",
    "floats",
    "ints",
    "logic",
    "maths",
    "matrix",
    "mbarrier",
    "memory",
    "moves",
    "warp",
    "wmma",
]
