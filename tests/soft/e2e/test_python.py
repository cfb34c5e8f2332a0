"""Python programs: NVIDIA's bindings with NVRTC, and tinygrad's training and inference."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from support.daemon import Daemon, plain_environment

pytestmark = [pytest.mark.beside, pytest.mark.timeout(300)]

PROGRAMS = Path(__file__).parents[1] / "programs"


@pytest.mark.parametrize("script", ["bindings.py", "core.py"])
def test_cuda_python(daemon: Daemon, script: str) -> None:
    pytest.importorskip("cuda.bindings")
    assert daemon.ok(sys.executable, PROGRAMS / script).endswith("ok\n")


def train(tmp_path: Path, *flags: str) -> list[str]:
    return [
        sys.executable, "-m", "tally.workloads.train_digits",
        "--steps", "300", "--save", str(tmp_path / "digits.safetensors"),
        "--json", str(tmp_path / "train.json"), *flags,
    ]  # fmt: skip


def accuracy(path: Path) -> float:
    return float(json.loads(path.read_text())["test_accuracy"])


@pytest.fixture(scope="module")
def accuracy_on_cpu(tmp_path_factory: pytest.TempPathFactory) -> float:
    """What the same training gives on tinygrad's CPU backend, without Tally."""
    import subprocess

    folder = tmp_path_factory.mktemp("cpu")
    done = subprocess.run(
        train(folder, "--device", "CPU"),
        env=plain_environment(), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    if "clang" in done.stderr and done.returncode:
        pytest.skip("tinygrad's CPU backend needs clang, or ziglang from PyPI")
    assert done.returncode == 0, done.stderr
    return accuracy(folder / "train.json")


@pytest.mark.parametrize("device", ["CUDA", "CUDA:PTX"])
def test_digits(daemon: Daemon, tmp_path: Path, accuracy_on_cpu: float, device: str) -> None:
    """Compiled for the device alone: tinygrad's CPU backend would run CC, and fail."""
    no_compiler = {"CC": "false"}
    daemon.ok(*train(tmp_path, "--device", device), timeout=200, env=no_compiler)
    trained = accuracy(tmp_path / "train.json")
    assert trained > 0.93
    assert abs(trained - accuracy_on_cpu) <= 0.01 + 1e-9
    output = daemon.ok(
        sys.executable, "-m", "tally.workloads.serve_digits", "--device", device,
        "--weights", tmp_path / "digits.safetensors", "--seconds", "2", "--rate", "30",
        "--json", tmp_path / "serve.json",
        timeout=100, job_class="high", env=no_compiler,
    )  # fmt: skip
    assert "served" in output
    served = json.loads((tmp_path / "serve.json").read_text())
    assert served["requests"] == len(served["latency_ms"]) > 20
    assert served["accuracy"] > 0.9
    assert os.path.getsize(tmp_path / "digits.safetensors") > 1000
