"""Signals as a command expects to find them, after Python and glibc have had this process."""

from __future__ import annotations

import signal

# glibc's own, for threads' cancellation and setuid(). Its posix_spawn(), which Python 3.13 starts
# programs by, leaves them ignored in those, and its sigaction() does not take their numbers.
INTERNAL = (32, 33)


def restore() -> None:
    """What exec passes on is what this process was started with, but for what nobody asked for.

    Python ignores SIGPIPE and SIGXFSZ from its start. That hides what they were before: the default
    is what almost every starter leaves.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    for number in _ignored(INTERNAL):
        _set_default(number)


def _ignored(numbers: tuple[int, ...]) -> list[int]:
    """Which of the signals this process ignores; none where /proc does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            words = next(line for line in status if line.startswith("SigIgn:")).split()
    except (OSError, StopIteration):
        return []
    mask = int(words[1], 16)
    return [number for number in numbers if mask >> (number - 1) & 1]


def _set_default(number: int) -> None:
    """sigaction(number, SIG_DFL) by the system call itself, as x86-64 and arm64 number it."""
    import ctypes
    import os

    call = {"x86_64": 13, "aarch64": 134}.get(os.uname().machine)
    if call is None:
        return
    action = (ctypes.c_uint64 * 4)()  # handler 0 is the default; no flags, restorer or mask
    mask_bytes = ctypes.c_size_t(8)
    ctypes.CDLL(None).syscall(ctypes.c_long(call), number, action, None, mask_bytes)
