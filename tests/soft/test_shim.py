"""The shim end to end, by programs that call the driver API directly and check every result."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.daemon import Daemon

pytestmark = pytest.mark.beside

PROGRAMS = Path(__file__).parent / "programs"


@pytest.mark.parametrize("name", ["shim_memory", "shim_objects", "shim_processes"])
def test_shim(daemon: Daemon, name: str) -> None:
    # High: behind a best-effort launch that can be stopped, the later calls of the program wait.
    done = daemon.ok(sys.executable, PROGRAMS / f"{name}.py", job_class="high")
    assert done.endswith("ok\n")
