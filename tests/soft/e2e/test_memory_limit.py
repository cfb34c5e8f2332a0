"""`tally run --memory`: what a job's programs see of the device, and what they may take of it."""

from __future__ import annotations

import sys

import pytest
from support.daemon import Daemon

MIB = 1 << 20
LOOK = """
import ctypes, os, sys
cu = ctypes.CDLL("libcuda.so.1")
def call(name, *arguments):
    return getattr(cu, name)(*arguments)
context, free, total, of_device = (ctypes.c_size_t() for _ in range(4))
assert call("cuInit", 0) == 0
assert call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0) == 0
assert call("cuCtxSetCurrent", context) == 0
assert call("cuDeviceTotalMem_v2", ctypes.byref(of_device), 0) == 0
def look():
    assert call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total)) == 0
    print(of_device.value, total.value, free.value, flush=True)
def take(size):
    address = ctypes.c_size_t()
    print(call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size)), flush=True)
look()
take(40 << 20)
look()
take(30 << 20)
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", os.environ["SECOND"]])
os.wait()
"""
SECOND = LOOK.split("take(40")[0] + "take(30 << 20); take(24 << 20); look()"


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "configured"])
def test_a_jobs_memory(asked: bool) -> None:
    flags = () if asked else ("--memory-max", str(64 * MIB))
    options = ("--memory", "64M") if asked else ()
    program = ("env", f"SECOND={SECOND}", sys.executable, "-c", LOOK)
    with Daemon(*flags) as daemon:
        done = daemon.run_tally("run", *options, "--", *program)
    assert done.returncode == 0, done.stderr
    limit = 64 * MIB
    assert done.stdout.splitlines() == [
        f"{limit} {limit} {limit}",
        "0",
        f"{limit} {limit} {24 * MIB}",
        "2",  # out of memory
        f"{limit} {limit} {24 * MIB}",  # another process of the job
        "2",
        "0",
        f"{limit} {limit} 0",
    ]
    told = [line for line in done.stderr.splitlines() if "`tally run --memory`" in line]
    assert len(told) == 2, done.stderr  # each process once


def test_more_than_the_config_lets_a_job_have() -> None:
    with Daemon("--memory-max", str(64 * MIB)) as daemon:
        done = daemon.run_tally("run", "--memory", "65M", "true")
        assert done.returncode != 0
        assert f"`memory_max` in tallyd's config lets a job have {64 * MIB} bytes" in done.stderr
        assert daemon.run_tally("run", "--memory", "64M", "true").returncode == 0
