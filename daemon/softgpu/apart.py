"""Work of the compiler on threads of its own: nothing interrupts LLVM, but who waits may leave.

What is left alone goes on to its end; the next who needs it finds it done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

LOOK_SECONDS = 0.05
_threads: set[threading.Thread] = set()
_leaving: list[Callable[[], int]] = []  # of each library that was given the compiler

Result = TypeVar("Result")


class LeftError(Exception):
    """The caller's tenant ends; the work goes on without it."""


def watch(leaving: Callable[[], int]) -> None:
    """How a thread learns that the tenant for which it calls the driver is to end."""
    _leaving.append(leaving)


def apart(work: Callable[[], Result]) -> Result:
    """What work() returns or raises, or LeftError."""
    results: list[Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # it is the caller's
            failures.append(error)
        finally:
            _threads.discard(thread)

    thread = threading.Thread(target=run, name="tally-compile", daemon=True)
    _threads.add(thread)
    try:
        thread.start()
    except RuntimeError:  # no thread is left
        run()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
        if thread.is_alive() and any(asked() for asked in _leaving):
            raise LeftError
    if failures:
        raise failures[0]
    return results[0]


def running() -> bool:
    """Whether work goes on that nobody waits for any more, once there are no callers."""
    return bool(_threads)
