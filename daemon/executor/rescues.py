"""Kernels that did not stop when they were told to, and whose: for `tally stats --schedule` and
`tally doctor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .refusals import plain

RESCUES_MAX = 16  # the latest are named, all are counted


class Rescues:
    """What the watchdog did in this executor's life. One thread."""

    def __init__(self) -> None:
        self._jobs: dict[int, str] = {}  # names, by session
        self._found: dict[tuple[int, str], dict[str, Any]] = {}

    def opened(self, session: int, job: Mapping[str, Any]) -> None:
        self._jobs[session] = str(job.get("name") or job.get("id", ""))

    def closed(self, session: int) -> None:
        self._jobs.pop(session, None)

    def add(self, session: int, kernel: str) -> str:
        """Notes a kernel; returns a line for the log."""
        job, key = self._jobs.get(session, ""), (session, kernel)
        self._found.pop(key, None)
        self._found[key] = {"session": session, "job": plain(job), "kernel": plain(kernel)}
        if len(self._found) > RESCUES_MAX:
            del self._found[next(iter(self._found))]
        return (
            f"session {session} ({plain(job)}): kernel {plain(kernel)} did not stop when it was "
            "told to: its blocks wait for one another; it is never stopped again"
        )

    def report(self) -> list[dict[str, Any]]:
        """The latest last."""
        return list(self._found.values())
