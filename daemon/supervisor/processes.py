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


def outermost(pid: int, variable: str, value: str) -> tuple[int, dict[str, str]]:
    """Of the process and its ancestors the one farthest up that has the variable so in its
    environment, which comes too. The process itself, and nothing, where none may be read.
    """
    found: tuple[int, dict[str, str]] = (pid, {})
    for ancestor in ancestors(pid):
        try:
            environ = psutil.Process(ancestor).environ()
        except psutil.Error:
            continue
        if environ.get(variable) == value:
            found = (ancestor, environ)
    return found


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


def user(pid: int) -> tuple[int, int] | None:
    """The user and group that the process acts as now; None if that cannot be seen."""
    try:
        process = psutil.Process(pid)
        return process.uids().effective, process.gids().effective
    except psutil.Error:
        return None


def name(pid: int) -> str:
    """The process's program name; empty if it is gone."""
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return ""
