"""Tests that need a GPU and its driver; without one each says so and is skipped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.daemon import Daemon, plain_environment


@pytest.fixture(scope="session")
def gpu() -> str:
    """The GPU's name. Asked of a child process, so that this one stays free to fork."""
    code = "from tally.workloads.gpu_check import find_gpu; print(getattr(find_gpu(), 'name', ''))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=plain_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    name = done.stdout.strip()
    if not name:
        pytest.skip("no GPU on this machine")
    return name


@pytest.fixture(scope="session")
def gpu_daemon(gpu: str) -> Iterator[Daemon]:
    """A tallyd that owns the machine's GPU."""
    with Daemon(device="cuda") as daemon:
        yield daemon
