"""Launches, synchronous calls and copies, against libzmq and memcpy (forwarding.c).

A send costs libzmq a system call where its I/O thread sleeps, and shares cache lines with it where
it runs: on a machine with few CPUs bursts of either kind are in one state or the other at random,
three times as long in the worse. So the costs of a launch and of a send are compared in the
quickest tenth of the bursts of each, and once more, without a target, in all of them.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tally.errors import TallyError
from tally.workloads.local import LocalDaemon

from .compile_c import compile_c
from .result import Figure, Spread, compare


def quickest(samples: list[float]) -> list[float]:
    """A tenth of them."""
    return sorted(samples)[: max(1, len(samples) // 10)]


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
            quickest(column["launch_wall_ns"]),
            quickest(column["send_wall_ns"]),
            1.5,
            note="100 bytes each; wall time of the call in bursts of 500 that take turns, the "
            "quickest tenth",
        ),
        compare(
            "the same in CPU time",
            "ns",
            quickest(column["launch_cpu_ns"]),
            quickest(column["send_cpu_ns"]),
            1.5,
            note="of the calling thread, the quickest tenth of the bursts",
        ),
        compare(
            "wall time again, in all bursts",
            "ns",
            column["launch_wall_ns"],
            column["send_wall_ns"],
            None,
            note="disturbed ones too",
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
