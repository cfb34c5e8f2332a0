"""Holds one thread of a process that the test started, while the others go on."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000  # of waitpid: threads too

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ask(request: int, thread: int) -> None:
    if libc.ptrace(request, thread, None, None) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def threads(pid: int, name: str) -> list[int]:
    """The process's threads of this name."""
    tasks = Path(f"/proc/{pid}/task")
    return [int(t.name) for t in tasks.iterdir() if (t / "comm").read_text().strip() == name]


@contextmanager
def held(thread: int) -> Iterator[None]:
    """The thread stands still inside. Skips the test where the machine does not allow it."""
    try:
        ask(SEIZE, thread)
    except PermissionError as error:
        pytest.skip(f"ptrace: {error}")
    ask(INTERRUPT, thread)
    os.waitpid(thread, WALL)
    try:
        yield
    finally:
        ask(DETACH, thread)
