"""The shim does what NVIDIA documents: every row of the parity table, in one program."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support import parity
from support.daemon import Daemon

from tally.interpose.table import load

pytestmark = pytest.mark.beside

PROGRAM = Path(__file__).parent / "programs" / "parity.py"
RESULTS = {
    name.removeprefix("CUDA_ERROR_").removeprefix("CUDA_"): n for name, n in load().results.items()
}
NAMES = {number: name for name, number in RESULTS.items()}


@pytest.fixture(scope="module")
def tried(shared_daemon: Daemon) -> dict[str, Any]:
    """What the program said of each row, by its title."""
    done = shared_daemon.run(sys.executable, PROGRAM, job_class="high", timeout=120)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    last = lines[-1] if lines else {}
    assert done.returncode == 0, f"ended with {done.returncode} at {last}\n{done.stderr[-2000:]}"
    return {line["row"]: line for line in lines}


@pytest.mark.parametrize("row", parity.rows(), ids=lambda r: r.title)
def test_row(tried: dict[str, Any], row: parity.Row) -> None:
    seen = tried[row.title]
    assert not seen["failure"], seen["failure"]
    name = NAMES.get(seen["result"], str(seen["result"]))
    assert name == row.documented, f"{row.title}: {name}, documented is {row.documented}"
