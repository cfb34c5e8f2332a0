"""Recording launches for `tally trace record`: the engine's records, and what they refer to.

One recording at a time. Whoever began it reads it again and again; if no read comes for a while the
reader is gone, and the recording ends by itself.
"""

from __future__ import annotations

import base64
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from tally._native import ffi

from .engine import Engine

log = logging.getLogger("tallyd.trace")

RECORDS_MAX = 1 << 16  # that wait in the engine to be read; beyond it they are lost, and counted
BATCH_MAX = 4096  # records in one answer: with the names of as many kernels it is under 16 MiB
LEASE_SECONDS = 5.0
WORDS = ffi.sizeof("struct tally_trace_record") // 8
SIGNATURE_WORD = ffi.offsetof("struct tally_trace_record", "signature") // 8


class Recorder:
    """Owned by the executor's one Python thread. now_s is a clock that never goes back."""

    def __init__(self, engine: Engine, kind: str, now_s: Callable[[], float] = time.monotonic):
        self._engine = engine
        self._kind = kind
        self._now_s = now_s
        self._sessions: dict[int, Mapping[str, Any]] = {}  # open ones, and those of the recording
        self._closed: set[int] = set()
        self._number = 0
        self._recording = 0  # number of the one that goes on, else 0
        self._read_s = 0.0
        self._told_sessions: set[int] = set()
        self._told_kernels: set[int] = set()

    # ---- sessions -------------------------------------------------------------------------------

    def opened(self, session: int, pid: int, job: Mapping[str, Any]) -> None:
        """Note whose launches a session's are."""
        words = {key: job.get(key) for key in ("id", "name", "class", "priority", "weight")}
        self._sessions[session] = {"session": session, "pid": pid, **words}

    def closed(self, session: int) -> None:
        """The session is gone; a recording may still hold launches of it."""
        self._closed.add(session)
        if not self._recording:
            self._forget_closed()

    def _forget_closed(self) -> None:
        for session in self._closed:
            self._sessions.pop(session, None)
        self._closed.clear()

    # ---- requests -------------------------------------------------------------------------------

    def start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a recording. ValueError while there is one."""
        self.expire()
        if self._recording or not self._engine.trace_start(RECORDS_MAX):
            raise ValueError("a recording is going on already")
        self._number += 1
        self._recording = self._number
        self._read_s = self._now_s()
        self._told_sessions.clear()
        self._told_kernels.clear()
        _, name, _ = self._engine.device()
        return {
            "recording": self._recording,
            "began_ns": time.monotonic_ns(),  # the records' clock
            "device": {
                "name": name,
                "kind": self._kind,
                "sms": self._engine.multiprocessors(),
                "times": "reported" if self._engine.times_reported() else "estimated",
            },
            "policy": self._engine.policy(),
            "limits": dataclasses.asdict(self._engine.limits),
        }

    def read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The oldest records, and the sessions and kernels in them that were not told before."""
        self._require(request)
        self._read_s = self._now_s()
        records, lost = self._engine.trace_read(BATCH_MAX)
        size = WORDS * 8
        return {
            "records": base64.b64encode(records).decode(),
            "count": len(records) // size,
            "more": len(records) // size == BATCH_MAX,
            "lost": lost,
            "sessions": self._new_sessions(),
            "kernels": self._new_kernels(records),
        }

    def stop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """End the recording; what was not read is dropped."""
        self._require(request)
        self._end()
        return {}

    def expire(self) -> None:
        """End a recording that nobody reads any more."""
        if self._recording and self._now_s() - self._read_s > LEASE_SECONDS:
            log.info("a recording ends: nobody reads it")
            self._end()

    def _end(self) -> None:
        self._engine.trace_stop()
        self._recording = 0
        self._forget_closed()

    def _require(self, request: Mapping[str, Any]) -> None:
        if not self._recording or request["recording"] != self._recording:
            raise ValueError("there is no such recording; the executor was restarted, or not read")

    def _new_sessions(self) -> list[Mapping[str, Any]]:
        new = self._sessions.keys() - self._told_sessions
        self._told_sessions |= new
        return [self._sessions[session] for session in sorted(new)]

    def _new_kernels(self, records: bytes) -> list[dict[str, Any]]:
        signatures = set(memoryview(records).cast("Q")[SIGNATURE_WORD::WORDS])
        new = signatures - self._told_kernels - {0}
        self._told_kernels |= new
        described = ((signature, self._engine.kernel(signature)) for signature in sorted(new))
        return [{"signature": f"{s:016x}", **words} for s, words in described if words]
