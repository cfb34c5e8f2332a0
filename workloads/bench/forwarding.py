"""Launches, synchronous calls and copies, against libzmq and memcpy (forwarding.c)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tally.errors import TallyError
from tally.workloads.local import LocalDaemon

from .compile_c import compile_c
from .result import Figure, Spread, compare


def measure(daemon: LocalDaemon, folder: Path, repetitions: int) -> list[Figure]:
    """All figures of one run of the C program."""
    program = compile_c("forwarding", folder)
    done = subprocess.run(
        daemon.command(program, str(repetitions), job_class="high", name="bench-forwarding"),
        env=daemon.env,
        capture_output=True,
        text=True,
        timeout=60 + 10 * repetitions,
        check=False,
    )
    if done.returncode != 0:
        raise TallyError(f"forwarding ended with {done.returncode}: {done.stderr.strip()}")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    column: dict[str, list[float]] = {}
    for key, value in (item for row in rows for item in row.items() if item[1]):
        column.setdefault(key, []).append(float(value))
    copies = [a + b for a, b in zip(column["htod_ns"], column["dtoh_ns"], strict=True)]
    return [
        Figure("launches forwarded", "1/s", Spread.of([1e9 / ns for ns in column["stream_ns"]])),
        compare(
            "client cost of a launch / zmq_send",
            "ns",
            column["launch_wall_ns"],
            column["send_wall_ns"],
            1.5,
            note="100 bytes each; wall time of the call in bursts of 500 that take turns",
        ),
        compare(
            "the same in CPU time",
            "ns",
            column["launch_cpu_ns"],
            column["send_cpu_ns"],
            1.5,
            note="of the calling thread",
        ),
        compare(
            "synchronous call / zmq ping-pong",
            "ns",
            column["call_ns"],
            column["ping_pong_ns"],
            1.3,
            note="cuMemGetInfo",
        ),
        compare(
            "copy there and back / two memcpy",
            "ns",
            copies,
            [2 * ns for ns in column["memcpy_ns"]],
            0.5,
            at_most=False,
            inverse=True,
            note="64 MiB pageable, as a share of memcpy's speed",
        ),
    ]
