"""Recordings for tests: made of plain numbers, through the writer that the command line uses."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tally._native import lib
from tally.scheduler.limits import Limits
from tally.scheduler.sim import recording

BEGAN_NS = 1_000_000_000


def began(sms: int = 4, times: str = "reported") -> dict[str, Any]:
    """What trace_start answers."""
    return {
        "recording": 1,
        "began_ns": BEGAN_NS,
        "device": {"name": "a device", "kind": "soft", "sms": sms, "times": times},
        "policy": "tally",
        "limits": {name: getattr(Limits.default(), name) for name in Limits.__annotations__},
    }


def session(number: int, name: str, job_class: str = "high") -> dict[str, Any]:
    return {
        "session": number,
        "pid": 100 + number,
        "id": f"j{number}",
        "name": name,
        "class": job_class,
        "priority": 0,
        "weight": 1,
    }


def kernel(signature: int, name: str, grid: Sequence[int] = (8, 1, 1)) -> dict[str, Any]:
    return {
        "signature": f"{signature:016x}",
        "name": name,
        "grid": list(grid),
        "block": [64, 1, 1],
        "dynamic_shared_bytes": 0,
        "blocks_per_sm": 1,
        "abilities": 3,
    }


def launch(number: int, signature: int, submit: int, start: int, end: int, **words: Any) -> Any:
    """A record; times in ns since the beginning, 0 for start and end: not timed."""
    untimed = start == 0
    times = {"submit_ns": submit, "issue_ns": words.pop("issue", submit + 100)}
    times |= {} if untimed else {"start_ns": start, "end_ns": end}
    return {
        "session": number,
        "signature": signature,
        **{name: BEGAN_NS + at for name, at in times.items()},
        "device_ns": end - start,
        "starts": 1,
        "kind": lib.TALLY_TRACE_LAUNCH,
        "flags": lib.TALLY_TRACE_UNTIMED if untimed else 0,
        "stream": lib.TALLY_TRACE_NO_STREAM if untimed else 0,
        **words,
    }


def request(number: int, submit: int, end: int) -> Any:
    return {
        "session": number,
        "submit_ns": BEGAN_NS + submit,
        "end_ns": BEGAN_NS + end,
        "kind": lib.TALLY_TRACE_REQUEST,
    }


def batch(
    records: Sequence[Any],
    sessions: Sequence[Any] = (),
    kernels: Sequence[Any] = (),
    lost: int = 0,
) -> dict[str, Any]:
    """What trace_read answers."""
    array = np.zeros(len(records), recording.RECORD)
    for row, record in zip(array, records, strict=True):
        for name, value in record.items():
            row[name] = value
    return {
        "records": base64.b64encode(array.tobytes()).decode(),
        "count": len(records),
        "more": False,
        "lost": lost,
        "sessions": list(sessions),
        "kernels": list(kernels),
    }


def write(path: Path, *batches: Any, job: str | None = None, seconds: float = 1.0) -> Path:
    """A whole recording."""
    text = io.StringIO()
    writer = recording.Writer(text, began(), job)
    for one in batches:
        writer.take(one)
    writer.end(seconds)
    path.write_text(text.getvalue())
    return path
