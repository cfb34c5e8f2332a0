"""The programs of tests/soft on a real GPU: alone on its driver, and under tallyd."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.daemon import Daemon, plain_environment
from support.toolchain import Builder, Runtime

pytestmark = pytest.mark.timeout(300)

PROGRAMS = [
    "api_errors", "copies", "driver_api", "dynamic_shared", "globals", "histogram", "matmul",
    "numerics", "print", "properties", "reduction", "streams", "threads", "vector_add", "warps",
]  # fmt: skip
RUNTIMES: list[Runtime] = ["static", "shared", "12", "12-static"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_on_the_bare_driver(gpu: str, builder: Builder, name: str) -> None:
    """The programs themselves are right: what they demand of Tally, the real driver does."""
    done = subprocess.run(
        [str(builder.get(name))],
        env=plain_environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_under_tally(gpu_daemon: Daemon, builder: Builder, name: str) -> None:
    gpu_daemon.ok(builder.get(name))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runtimes(gpu_daemon: Daemon, builder: Builder, runtime: Runtime) -> None:
    assert gpu_daemon.ok(builder.get("streams", runtime)) == "ok\n"


@pytest.mark.parametrize("script", ["bindings.py", "core.py"])
def test_cuda_python(gpu_daemon: Daemon, builder: Builder, script: str) -> None:
    assert gpu_daemon.ok(sys.executable, builder.folder / script).endswith("ok\n")


def test_digits(gpu_daemon: Daemon, tmp_path: Path) -> None:
    """tinygrad trains as well on the GPU as it does anywhere."""
    result = tmp_path / "train.json"
    gpu_daemon.ok(
        *(sys.executable, "-m", "tally.workloads.train_digits", "--device", "CUDA"),
        *("--steps", "300", "--json", result),
        timeout=200,
    )
    assert json.loads(result.read_text())["test_accuracy"] > 0.93
