"""What a new user runs first: the demo and the benchmark, in their short forms."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.daemon import plain_environment

pytestmark = pytest.mark.timeout(300)


def run(module: str, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"tally.workloads.{module}", *flags],
        env={**plain_environment(), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_demo(tmp_path: Path) -> None:
    out = run("demo", "--quick", "--device", "soft", "--out", str(tmp_path))
    assert "beside a trainer, fifo" in out
    assert "beside a trainer, tally" in out
    result = json.loads((tmp_path / "demo.json").read_text())
    alone, *together = result["scenarios"]
    assert [scenario["title"][-5:] for scenario in result["scenarios"]] == [
        "alone",
        " fifo",
        "tally",
    ]
    for scenario in together:
        assert scenario["latency_ms"]["count"] == alone["latency_ms"]["count"] > 20
        assert scenario["trainer_steps_per_second"] > 0
    assert f"What Tally promises is {result['verdict']}:" in out
    assert "A short run" in out
    assert min(scenario["accuracy"] for scenario in result["scenarios"]) > 0.8
    assert (tmp_path / "demo.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_bench(tmp_path: Path) -> None:
    """Every part that needs nothing installed gives figures; targets are for quiet machines."""
    path = tmp_path / "bench.json"
    run("bench", "--quick", "--only", "startup", "--only", "forwarding", "--json", str(path))
    figures = json.loads(path.read_text())["figures"]
    assert len(figures) == 7
    assert all(figure["ours"]["median"] > 0 for figure in figures)


def test_wrong_device_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tally.workloads.demo", "--device", "abacus", "--quick"],
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "abacus" in done.stderr


def test_gpu_check_without_a_gpu() -> None:
    from tally.workloads.gpu_check import find_gpu

    if not isinstance(find_gpu(), str):
        pytest.skip("there is a GPU")
    assert run("gpu_check").startswith("gpu-check: no GPU")


def test_gpu_check_rehearsed(tmp_path: Path) -> None:
    """Two of its stages on softgpu; the rest are the demo and the bench, which have their tests."""
    told = run(
        "gpu_check", "--device", "soft", "--stages", "forwarded,guard", "--out", str(tmp_path)
    )
    assert "gpu-check: all is well" in told
    forwarded, guard = json.loads((tmp_path / "results.json").read_text())["stages"]
    facts = forwarded["found"]["facts.json"]
    assert facts["device"] == "Tally softgpu" and not facts["functions"]["not_exported"]
    assert facts["calls"]["cuStreamSynchronize"]["busy"]["median_ns"] > 0
    assert guard["ended"] == "passed" and guard["found"]["bench.json"]
