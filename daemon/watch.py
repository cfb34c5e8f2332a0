"""Learning that a process has ended, from the kernel and without polling."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


class ProcessWatch:
    """Calls `ended` once, on the event loop, when process pid is gone. Works for any process.

    ProcessLookupError at construction if there is none.
    """

    def __init__(self, pid: int, ended: Callable[[], None]):
        self._fd = os.pidfd_open(pid)
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
