"""Programs on a device that stops every kernel at random blocks give the bytes they always give.

Unlike test_preemption.py, which launches kernels by itself, here are whole programs, unchanged:
CUB's device-wide algorithms with the launches that they choose, and tinygrad's training steps.
A seed is part of each test's name; TALLY_PREEMPTION_SEEDS=N tries N of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.restless import Counts, restless, usual
from support.toolchain import Builder

from tally.scheduler.ptx import variants
from tally.scheduler.ptx.classify import Treatment, Verdict, classify
from tally.scheduler.ptx.module import Module

pytestmark = [pytest.mark.beside, pytest.mark.timeout(300)]

SEEDS = range(max(1, int(os.environ.get("TALLY_PREEMPTION_SEEDS", "3")) // 3))
STEPS = 4  # of training: the first two run what tinygrad compiles, the others what it captured


def check(counts: Counts) -> None:
    """The device did what it is there for."""
    assert counts.guarded > 5 and counts.sliced > 5, counts
    assert counts.resumes > counts.guarded + counts.sliced, counts
    assert counts.twice == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_cub(daemon: Daemon, builder: Builder, seed: int) -> None:
    program = builder.get("cub_device")
    whole = daemon.ok(program, timeout=200)
    assert len(whole.splitlines()) == 6
    with restless(seed) as device:
        assert device.daemon.ok(program, job_class="high", timeout=200) == whole
        check(device.counts())
        assert not device.refused


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["histogram", "reduction", "matmul"])
def test_own_kernels(daemon: Daemon, builder: Builder, name: str, seed: int) -> None:
    program = builder.get(name)
    whole = daemon.ok(program)
    with restless(seed) as device:
        assert device.daemon.ok(program, job_class="high") == whole
        assert device.counts().resumes > 0 and device.counts().twice == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("device_name", ["CUDA", "CUDA:PTX"])
def test_training(daemon: Daemon, tmp_path: Path, device_name: str, seed: int) -> None:
    def train(on: Daemon, to: Path) -> bytes:
        on.ok(
            sys.executable, "-m", "tally.workloads.train_digits", "--steps", STEPS,
            "--device", device_name, "--save", to,
            job_class="high", timeout=200, env={"PYTHONPATH": ""},
        )  # fmt: skip
        return to.read_bytes()

    whole = train(daemon, tmp_path / "whole.safetensors")
    with restless(seed) as device:
        assert train(device.daemon, tmp_path / "restless.safetensors") == whole
        check(device.counts())
        assert not device.refused


# ---- what must go wrong ----------------------------------------------------------------------


def test_look_back_that_is_stopped_starves(
    builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUB's scan, guarded against the classes' advice: a tile waits for one that may not run."""

    def all_may_be_stopped(module: Module) -> dict[str, Verdict]:
        verdict = Verdict(Treatment.PREEMPT, "the test says so")
        return dict.fromkeys(classify(module), verdict)

    monkeypatch.setattr(variants, "classify", all_may_be_stopped)
    program = builder.get("cub_device")

    def guarded_only(text: str) -> str:
        return usual(text).replace(variants.SUBGRID, "__unused")

    with restless(1, guarded_only) as device:
        running = subprocess.Popen(
            device.daemon.command(program, "scan", job_class="high"),
            env=device.daemon.env,
            stdout=subprocess.DEVNULL,
        )
        try:
            before = device.counts()
            deadline = time.monotonic() + 60
            quiet_since = time.monotonic()
            # Starved: one start of one kernel that takes seconds, not a millisecond.
            while time.monotonic() - quiet_since < 3 and time.monotonic() < deadline:
                time.sleep(0.1)
                now = device.counts()
                if now != before or "Scan" not in now.running:
                    quiet_since, before = time.monotonic(), now
            assert running.poll() is None, "the scan ended"
            assert "DeviceScanKernel" in device.counts().running
        finally:
            running.kill()
            running.wait()
