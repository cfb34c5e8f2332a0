"""How many CPUs this process may use, and how many of them a software GPU takes."""

from __future__ import annotations

import math
import os
from pathlib import Path

from . import cpu_groups


def available() -> int:
    """The CPUs that the process may run on, or as many as its control groups' quotas amount to."""
    cpus = len(os.sched_getaffinity(0))
    hierarchy = cpu_groups.find()
    folder = hierarchy.folder_of("self") if hierarchy else None
    if hierarchy and folder:
        cpus = min(cpus, quota(folder, hierarchy.mount) or cpus)
    return max(1, cpus)


def quota(folder: Path, mount: Path) -> int | None:
    """CPUs, rounded up, that a group and those above it allow; None if none of them has a limit."""
    found = []
    while folder.is_relative_to(mount):
        words = _words(folder / "cpu.max") or [  # version 2, else version 1
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and words[0] not in ("max", "-1") and int(words[1]) > 0:
            found.append(math.ceil(int(words[0]) / int(words[1])))
        folder = folder.parent
    return min(found, default=None)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def soft_workers(cpus: int) -> int:
    """Threads that play a software GPU's multiprocessors: all CPUs but one. A GPU takes no CPU from
    programs; where there are few, a service's own thread would wait for one behind its kernels."""
    return max(1, cpus - 1)
