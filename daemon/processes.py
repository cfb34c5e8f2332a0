"""Process trees."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def ancestors(pid: int) -> list[int]:
    """The process, its parent and so on, nearest first. Just the process if it is gone."""
    try:
        return [pid, *(parent.pid for parent in psutil.Process(pid).parents())]
    except psutil.Error:
        return [pid]


class ProcessTable:
    """Who is whose child, at one moment. Reads /proc once, however many jobs ask."""

    def __init__(self) -> None:
        self._children: dict[int, list[int]] = {}
        self._alive: set[int] = set()
        for process in psutil.process_iter(["ppid"]):
            self._alive.add(process.pid)
            self._children.setdefault(process.info["ppid"], []).append(process.pid)

    def tree(self, roots: Iterable[int]) -> list[int]:
        """The roots that live and all their descendants, in ascending order."""
        found: set[int] = set()
        waiting = [pid for pid in roots if pid in self._alive]
        while waiting:
            pid = waiting.pop()
            if pid not in found:
                found.add(pid)
                waiting.extend(self._children.get(pid, ()))
        return sorted(found)


def name(pid: int) -> str:
    """The process's program name; empty if it is gone."""
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return ""
