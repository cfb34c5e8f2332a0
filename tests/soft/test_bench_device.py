"""The measurement of a device's own costs, on softgpu's driver."""

from __future__ import annotations

import os
import subprocess
import sys

from tally.workloads.bench import device


def test_every_cost_is_measured() -> None:
    figures = {figure.name: figure for figure in device.measure("soft", 5)}
    assert all(figure.ours.median > 0 and figure.ours.count >= 1 for figure in figures.values())
    guarded = [figure for name, figure in figures.items() if "guarded / whole" in name]
    assert len(guarded) == len(device.BLOCK_US)
    # Quartiles, not medians: other programs only add.
    whole = [figure.reference.low for figure in guarded if figure.reference]
    assert whole == sorted(whole), "longer blocks make longer kernels"
    for words in ("skipped block", "from the flag", "polled", "greater priority", "equal priority"):
        assert any(words in name for name in figures), words


def test_a_machine_without_a_driver_is_told_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tally.workloads.bench.device", "cuda", "1"],
        env={**os.environ, "LD_LIBRARY_PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return  # there is one
    assert len(done.stderr.strip().splitlines()) == 1 and "driver" in done.stderr
