"""Drivers over softgpu: libraries that replace some of its functions, in executors of tests."""

from __future__ import annotations

from pathlib import Path

from support.toolchain import compile_c
from tally.client import paths

_SITE = Path(__file__).parent / "driver_site"


def build(source: Path, *flags: str) -> Path:
    """A library that depends on softgpu: what it does not define is found there. CompileError."""
    softgpu = paths.softgpu_library()
    assert softgpu is not None
    over = (str(softgpu), f"-Wl,-rpath,{softgpu.parent}")
    return compile_c(source, ("-shared", "-fPIC", *flags, *over))


def environment(driver: Path) -> dict[str, str]:
    """What makes a tallyd's executors take the library for softgpu."""
    return {"SOFTGPU_DRIVER": str(driver), "PYTHONPATH": str(_SITE)}
