"""What a process holds on to, read from /proc: for tests that nothing leaks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holdings:
    """Open files, threads and resident memory of a process."""

    files: int
    threads: int
    resident_bytes: int

    @classmethod
    def of(cls, pid: int) -> Holdings:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return cls(
            files=len(os.listdir(f"/proc/{pid}/fd")),
            threads=int(fields["Threads"]),
            # A process that has ended, and that nobody has waited for yet, has no memory.
            resident_bytes=int(fields.get("VmRSS", "0 kB").split()[0]) * 1024,
        )
