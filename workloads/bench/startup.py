"""What `tally run` adds to the start of a program that makes one CUDA call (one_call.c)."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tally.client import paths
from tally.errors import TallyError
from tally.workloads.local import LocalDaemon

from .compile_c import compile_c
from .result import Figure, Spread

TARGET_SECONDS = 0.3


def _time(argv: list[str], env: dict[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise TallyError(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return seconds


def measure(daemon: LocalDaemon, folder: Path, repetitions: int) -> list[Figure]:
    """Under `tally run`, and alone on softgpu's library in the process itself, turn by turn."""
    program = compile_c("one_call", folder)
    library = paths.softgpu_library()
    if library is None:
        raise TallyError("softgpu's library is missing from the package; reinstall tally-gpu")
    alone, under = [], []
    for _ in range(repetitions):
        alone.append(_time([str(program), str(library)], daemon.env))
        under.append(_time(daemon.command(program, name="bench-startup"), daemon.env))
    added = [a - b for a, b in zip(under, alone, strict=True)]
    return [
        Figure(
            "start-up added by tally run",
            "s",
            Spread.of(added),
            Spread.of(alone),
            target=TARGET_SECONDS,
            note="a program that calls cuInit; reference: alone on softgpu in the process",
        )
    ]
