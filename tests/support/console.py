"""Console scripts, run to their end as users run them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from support.daemon import plain_environment, script


def run(
    *argv: str, runtime_dir: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A console script to its end. Colours and the width of a terminal do not matter in a pipe."""
    environment = {**plain_environment(), **(env or {})}
    if runtime_dir:
        environment["TALLY_RUNTIME_DIR"] = str(runtime_dir)
    return subprocess.run(
        [script(argv[0]), *argv[1:]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error that a command ended with: exactly one line, and nothing on standard output."""
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr
