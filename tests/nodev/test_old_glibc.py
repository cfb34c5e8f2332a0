"""The released shim loads in images whose glibc is as old as 2.17."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tally.client import paths

NATIVE = Path(__file__).parents[2] / "native"
OLDEST = (2, 17)


def exports(library: Path) -> set[str]:
    listed = subprocess.run(
        ["objdump", "-T", str(library)], capture_output=True, text=True, check=True
    ).stdout
    return {line.split()[-1] for line in listed.splitlines() if re.search(r"\bcu[A-Z]", line)}


def needed(library: Path) -> set[tuple[int, ...]]:
    listed = subprocess.run(
        ["objdump", "-T", str(library)], capture_output=True, text=True, check=True
    ).stdout
    return {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", listed)}


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs ziglang")
def test_the_released_shim_needs_no_newer_glibc(tmp_path: Path) -> None:
    script = NATIVE / "shim" / "release.sh"
    subprocess.run(["sh", str(script), sys.executable, str(tmp_path)], check=True)
    ours = paths.shim()
    assert ours
    for name in ("libcuda.so.1", "libcuda.so"):
        versions = needed(tmp_path / name)
        assert all(version <= OLDEST for version in versions), sorted(versions)
    assert needed(tmp_path / "libcuda.so.1"), "nothing was read"
    assert exports(tmp_path / "libcuda.so.1") == exports(ours)
    subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(tmp_path / 'libcuda.so.1')!r})"],
        check=True,
    )
