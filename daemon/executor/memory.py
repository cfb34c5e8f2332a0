"""How much memory there is for us."""

from __future__ import annotations

import os
from pathlib import Path


def machine_bytes() -> int:
    """The machine's memory, or what the cgroups that we are in allow of it."""
    least = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in _cgroup_limits():
        try:
            least = min(least, int(limit.read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return least


def _cgroup_limits() -> list[Path]:
    """Files that may hold a limit: of our cgroup and all above it, version 2 and 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup", controllers)
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        folder = root / path.lstrip("/")
        found += [place / name for place in (folder, *folder.parents) if place.is_relative_to(root)]
    return found
