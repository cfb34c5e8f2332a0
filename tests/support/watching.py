"""What a process holds on to, read from /proc: for tests that nothing leaks."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

WORKER_MODULE = "tally.daemon.worker_process"


@dataclass(frozen=True)
class Holdings:
    """Open files, threads and resident memory of a process.

    Not counted is an executor's one socket to each of its workers: it keeps some for later, more
    or fewer of them as programs happened to need (daemon/workers.py).
    """

    files: int
    threads: int
    resident_bytes: int

    @classmethod
    def of(cls, pid: int) -> Holdings:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return cls(
            files=len(os.listdir(f"/proc/{pid}/fd")) - _kept_workers(pid),
            threads=int(fields["Threads"]),
            # A process that has ended, and that nobody has waited for yet, has no memory.
            resident_bytes=int(fields.get("VmRSS", "0 kB").split()[0]) * 1024,
        )


def _kept_workers(pid: int) -> int:
    """Workers of this executor that live: children of the process that forks them."""
    count = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            if WORKER_MODULE in child.cmdline():
                count += sum(w.status() != psutil.STATUS_ZOMBIE for w in child.children())
    return count
