"""How many CPUs there are for us, by affinity and by control groups' quotas."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tally.daemon import cpus


def test_affinity() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from tally.daemon import cpus; print(cpus.available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert 1 <= cpus.available() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "300000 100000", "inner/cpu.max": "max 100000"}, 3),
        ({"cpu.max": "300000 100000", "inner/cpu.max": "20000 100000"}, 1),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, None),
        ({"inner/cpu.cfs_quota_us": "400000", "inner/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_quota(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert cpus.quota(inner, tmp_path) == expected


@pytest.mark.parametrize(("count", "workers"), [(1, 1), (2, 1), (3, 2), (64, 63)])
def test_a_cpu_is_left_to_programs(count: int, workers: int) -> None:
    assert cpus.soft_workers(count) == workers
