"""`make gpu-check`: everything that only a real GPU can show, behind one entry point.

Runs tests/gpu against the machine's own driver and prints what was seen. Without a GPU it says so
and ends with status 0: nothing was checked, and nothing failed.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tally.client import paths


@dataclass(frozen=True)
class Gpu:
    """What the machine's driver says about its first device."""

    name: str
    driver_version: int
    count: int


def find_gpu() -> Gpu | str:
    """The machine's GPU, or why there is none to check."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no libcuda.so.1 on this machine"
    shim = paths.shim()
    if shim and str(shim) in Path("/proc/self/maps").read_text():
        return "libcuda.so.1 is Tally's own here; run this without `tally run`"
    if (status := driver.cuInit(0)) != 0:
        return f"the driver does not start (cuInit gives {status})"
    count, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    if count.value == 0:
        return "the driver has no device"
    driver.cuDeviceGetName(name, len(name), 0)
    return Gpu(name.value.decode(errors="replace"), version.value, count.value)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gpu_check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tests", type=Path, default=Path("tests/gpu"), help="folder of the tests")
    options, rest = parser.parse_known_args(argv)
    gpu = find_gpu()
    if isinstance(gpu, str):
        print(
            f"gpu-check: no GPU: {gpu}. Nothing was checked; docs/evidence/PENDING.md has the list."
        )
        return 0
    version = f"{gpu.driver_version // 1000}.{gpu.driver_version % 1000 // 10}"
    print(f"gpu-check: {gpu.count} x {gpu.name}, driver for CUDA {version}", flush=True)
    # A child: this process has initialised the driver, and tests fork.
    status = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", str(options.tests), *rest],
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        check=False,
    ).returncode
    print("gpu-check: all is well" if status == 0 else f"gpu-check: failed (pytest gave {status})")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
