"""Jobs as tallyd reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CLASSES = ("high", "best-effort")
PRIORITY_LEAST, PRIORITY_GREATEST = -100, 100  # greater goes first inside a class
WEIGHT_GREATEST = 1024  # the least is 1; device time is shared in proportion
MEMORY_LEAST, MEMORY_GREATEST = 1 << 20, 1 << 50  # bytes of device memory for a job
NAME_CHARACTERS_MAX = 64


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What one `tally run` started."""

    id: str
    name: str
    job_class: str
    priority: int
    weight: int
    memory_max: int  # bytes that it may have of each device's memory; 0: all
    state: str  # running, done, or lost: an executor died under it
    pid: int  # of the process that `tally run` became
    uid: int
    argv: tuple[str, ...]
    cwd: str
    started_s: float  # seconds since the epoch
    ended_s: float | None
    seconds: float  # that it has run, by a clock that is never set
    processes: tuple[int, ...]  # pids, itself included; empty once ended
    sessions: int  # connected client processes
    stats: Mapping[str, Any]  # counters, gauges, histograms: tally.daemon.stats
    unsupported: Mapping[str, int]  # calls by symbol

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JobRecord:
        """The record of one entry of tallyd's answer to `jobs`."""
        return cls(
            id=data["id"],
            name=data["name"],
            job_class=data["class"],
            priority=data["priority"],
            weight=data["weight"],
            memory_max=data["memory_max"],
            state=data["state"],
            pid=data["pid"],
            uid=data["uid"],
            argv=tuple(data["argv"]),
            cwd=data["cwd"],
            started_s=data["started_s"],
            ended_s=data["ended_s"],
            seconds=data["seconds"],
            processes=tuple(data["processes"]),
            sessions=data["sessions"],
            stats=data["stats"],
            unsupported=data["unsupported"],
        )
