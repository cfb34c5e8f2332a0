"""Launches that wait for their turn for long, and whose work does not end meanwhile: for tallyd's
log, `tally stats --schedule` and `tally doctor`.

Best-effort work waits by design while high work goes on, each piece of which is short. What is told
here is one kernel that stays, be it long or one that waits for a kernel which is held back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from .engine import Engine
from .refusals import plain

log = logging.getLogger("tallyd.executor")

SHOWN_MAX = 16


class HeldUp:
    """What is so now; each pair of sessions is logged when it is first seen. One thread."""

    def __init__(self, engine: Engine, seconds_min: float) -> None:
        """seconds_min: of waiting, and of the kernel that stays; 0: nothing is ever told."""
        self._engine = engine
        self._least_ns = seconds_min * 1e9
        self._jobs: dict[int, str] = {}  # names, by session
        self._told: set[tuple[int, int]] = set()

    def opened(self, session: int, job: Mapping[str, Any]) -> None:
        self._jobs[session] = plain(str(job.get("name") or job.get("id", "")))

    def closed(self, session: int) -> None:
        self._jobs.pop(session, None)

    def report(self, sessions: Mapping[str, Any]) -> list[dict[str, Any]]:
        """sessions: Engine.stats() of this moment. Who has waited for longest comes first."""
        waiting = {
            int(number): stats["gauges"]["waiting_ns"]
            for number, stats in sessions.items()
            if self._least_ns and stats["gauges"]["waiting_ns"] >= self._least_ns
        }
        staying = self._staying() if waiting else []
        longest = sorted(waiting, key=lambda number: -waiting[number])
        found = [
            self._entry(one, waiting[one], *other)
            for one in longest
            for other in staying
            if other[0] != one
        ]
        now = {(entry["session"], entry["by_session"]) for entry in found}
        for entry in found:
            if (entry["session"], entry["by_session"]) not in self._told:
                log.warning("%s", line(entry))
        self._told = now
        return found[:SHOWN_MAX]

    def _staying(self) -> list[tuple[int, int, int]]:
        return [one for one in self._engine.running() if one[2] >= self._least_ns]

    def _entry(
        self, session: int, waited_ns: int, by: int, signature: int, stayed_ns: int
    ) -> dict[str, Any]:
        known = self._engine.kernel(signature) if signature else None
        return {
            "session": session,
            "job": self._jobs.get(session, ""),
            "waited_ns": waited_ns,
            "by_session": by,
            "by_job": self._jobs.get(by, ""),
            "kernel": plain(known["name"]) if known else "",
            "stayed_ns": stayed_ns,
        }


def line(entry: Mapping[str, Any]) -> str:
    """An entry of the report, for people."""
    what = f"kernel {entry['kernel']}" if entry["kernel"] else "work"
    return (
        f"session {entry['session']} ({entry['job']}) has waited for its turn for "
        f"{entry['waited_ns'] / 1e9:.0f} s: {what} of session {entry['by_session']} "
        f"({entry['by_job']}) has been with the device for {entry['stayed_ns'] / 1e9:.0f} s; if it "
        "waits for a kernel of the other one, name it in `waiting_kernels`"
    )
