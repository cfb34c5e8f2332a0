"""An executor without a device: the JSON protocol's other side, for tests of tallyd alone.

`python -m support.stub_executor` takes the real executor's argument. A session's program name
chooses misbehaviour: see `StubExecutor.open`.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any

import zmq

from tally.client import protocol
from tally.daemon.assignment import Assignment


class StubExecutor:
    """Answers every request at once."""

    def __init__(self, endpoint: str):
        self.sessions: dict[str, dict[str, Any]] = {}
        self.in_force = "tally"
        context = zmq.Context()
        self.socket = context.socket(zmq.PAIR)
        self.socket.connect(endpoint)

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message).encode())

    def run(self) -> None:
        self.send(
            event="ready",
            device=base64.b64encode(b"stub".ljust(protocol.DEVICE_INFO_BYTES, b"\0")).decode(),
            driver_version=13000,
            device_name="stub device",
            kind="soft",
        )
        while True:
            request = json.loads(self.socket.recv())
            answer = getattr(self, request["op"])(request)
            self.send(id=request["id"], **answer)
            if request["op"] == "close":
                self.ended(request)
            if request["op"] == "shutdown":
                self.socket.close(linger=1000)
                return

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["job"]["name"]
        if name == "lose":
            self.sessions[str(request["session"])] = stats(1)
            detail = "the context is lost"
            self.send(
                event="fault", session=request["session"], error=700, detail=detail, lost=True
            )
        if name in ("die", "lose"):
            if name == "die":
                self.send(event="failed", reason="asked to die")
            self.socket.close(linger=1000)
            self.socket.context.term()
            os._exit(3)
        if name == "refuse":
            return {"ok": False, "error": "no room"}
        if name == "garbage":
            self.socket.send(b"not JSON")
            self.socket.send(b"[1, 2]")
            self.send(event="stats", sessions={"x": 1})
            self.send(event="closed", session="none")
        self.sessions[str(request["session"])] = stats(1000)
        return {
            "ok": True,
            "ops": "ipc:///run/tally/ops",
            "replies": "ipc:///run/tally/replies",
            "segment": "/run/tally/memory",
            "segment_bytes": 4096,
            "slot_count": 4,
            "slot_bytes": 1024,
            "device_region_base": 1 << 45,
            "device_region_bytes": 1 << 36,
        }

    def close(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True}

    def ended(self, request: dict[str, Any]) -> None:
        session = request["session"]
        if self.sessions.pop(str(session), None):
            self.send(event="closed", session=session, reason="asked to", stats=stats(2000))

    def stats(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "sessions": self.sessions, "schedule": schedule(self.in_force)}

    def policy(self, request: dict[str, Any]) -> dict[str, Any]:
        self.in_force = request["policy"]
        return {"ok": True, "policy": self.in_force}

    def rewrites(self, request: dict[str, Any]) -> dict[str, Any]:
        note = {"module": "abc", "kernel": "scan", "runs": "in slices", "reason": "it waits"}
        return {"ok": True, "notes": [note], "more": 2}

    def trace_start(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "recording": 7}

    def trace_read(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["recording"] != 7:
            return {"ok": False, "error": "there is no such recording"}
        return {"ok": True, "records": "", "pid": os.getpid()}

    def trace_stop(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True}

    def shutdown(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True}


def stats(launches: int) -> dict[str, Any]:
    histogram = {"count": 4, "sum_ns": 4096, "max_ns": 1024, "buckets": [0, 4, 0, 0]}
    return {
        "counters": {"launches": launches, "device_ns": 5_000_000},
        "gauges": {"memory_bytes": 1 << 20},
        "histograms": {"queue_delay": histogram},
    }


def schedule(policy: str) -> dict[str, Any]:
    turnaround = {
        "count": 10,
        "sum_ns": 100_000,
        "max_ns": 30_000,
        "p50_ns": 9_000,
        "p99_ns": 29_000,
        "unmet": 1,
        "missed": 0,
        "estimated_sum_ns": 110_000,
        "error_sum_ns": 20_000,
    }
    return {"policy": policy, "turnaround": turnaround, "oversized": 2}


def main() -> None:
    StubExecutor(Assignment.from_json(sys.argv[1]).endpoint).run()


if __name__ == "__main__":
    sys.exit(main())
