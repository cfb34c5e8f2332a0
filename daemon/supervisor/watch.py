"""Learning that a process has ended, from the kernel and without polling."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from .peers import PidFd


class ProcessWatch:
    """Calls `ended` once, on the event loop, when the process is gone. Works for any process.

    ProcessLookupError at construction if there is none.
    """

    def __init__(self, process: int | PidFd, ended: Callable[[], None]):
        """process: its pid, or what watches it already."""
        if isinstance(process, PidFd):
            self._fd = os.dup(process.fd)
        else:
            self._fd = os.pidfd_open(process)
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._loop.add_reader(self._fd, self._fire)

    def _fire(self) -> None:
        self.close()
        self._ended()

    def close(self) -> None:
        """Stop watching. Harmless when called twice."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
