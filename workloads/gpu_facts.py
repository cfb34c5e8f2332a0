"""What a CUDA driver has and how its calls behave while a kernel runs, as JSON on standard output.

These are the assumptions that the engine is built on, asked of the driver itself, or of what a
program under Tally meets in its place. A call that takes about as long as the kernel has left has
waited for the device.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tally.interpose.table import load

from .local import LocalDaemon

BUSY_NS = 30_000_000  # of the kernel that a call meets
ROUNDS = 5
BYTES = 1 << 20
ATTRIBUTES = 160  # numbers that are asked for; drivers refuse those that they do not know

PTX = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry busy(.param .u64 nanoseconds)
{
    .reg .u64 %d<5>;
    .reg .pred %p0;
    ld.param.u64 %d0, [nanoseconds];
    mov.u64 %d1, %globaltimer;
again:
    mov.u64 %d2, %globaltimer;
    sub.u64 %d3, %d2, %d1;
    setp.lt.u64 %p0, %d3, %d0;
    @%p0 bra again;
    ret;
}
"""


class CallError(Exception):
    """A call of the driver's failed: its name and the CUresult."""


class Cuda:
    """A driver library, a context on its first device, and a kernel that keeps it busy."""

    def __init__(self, library: str) -> None:
        self.driver = ctypes.CDLL(library)
        self("cuInit", 0)
        self.device, context = ctypes.c_int(), ctypes.c_void_p()
        self("cuDeviceGet", ctypes.byref(self.device), 0)
        self("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.device)
        self("cuCtxSetCurrent", context)
        self.streams = [self.handle("cuStreamCreate", 1) for _ in range(2)]
        self.module = self.load()
        self.kernel = self.handle("cuModuleGetFunction", self.module, b"busy")

    def __call__(self, name: str, *arguments: Any) -> None:
        result = getattr(self.driver, name)(*arguments)
        if result != 0:
            raise CallError(f"{name} gave {result}")

    def handle(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a call writes through its first argument."""
        made = ctypes.c_void_p()
        self(name, ctypes.byref(made), *arguments)
        return made

    def load(self) -> ctypes.c_void_p:
        return self.handle("cuModuleLoadData", ctypes.c_char_p(PTX))

    def launch(self, nanoseconds: int) -> None:
        """The kernel, in the first stream."""
        value = ctypes.c_uint64(nanoseconds)
        pointers = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(value), ctypes.c_void_p))
        self("cuLaunchKernel", self.kernel, 1, 1, 1, 1, 1, 1, 0, self.streams[0], pointers, None)

    def alloc(self) -> ctypes.c_void_p:
        return self.handle("cuMemAlloc_v2", ctypes.c_size_t(BYTES))


# A call is prepared, timed, and what it made is undone once the device is idle.
Prepared = tuple[Callable[[], Any], Callable[[], Any]]


def _nothing() -> None:
    pass


def calls(cuda: Cuda) -> dict[str, Callable[[], Prepared]]:
    """The calls whose behaviour beside a running kernel matters, by name."""
    other = cuda.streams[1]

    def made(name: str, make: Callable[[], Any], unmake: str) -> Callable[[], Prepared]:
        def prepare() -> Prepared:
            kept: list[Any] = []
            return lambda: kept.append(make()), lambda: cuda(unmake, kept.pop())

        return prepare

    def gone(make: Callable[[], Any], unmake: str) -> Callable[[], Prepared]:
        def prepare() -> Prepared:
            it = make()
            return lambda: cuda(unmake, it), _nothing

        return prepare

    def of_memory(act: Callable[[ctypes.c_void_p], Any]) -> Callable[[], Prepared]:
        def prepare() -> Prepared:
            it = cuda.alloc()
            return lambda: act(it), lambda: cuda("cuMemFree_v2", it)

        return prepare

    def host() -> ctypes.c_void_p:
        return cuda.handle("cuMemHostAlloc", ctypes.c_size_t(BYTES), 0)

    def event() -> ctypes.c_void_p:
        return cuda.handle("cuEventCreate", 2)

    def register() -> Prepared:
        area = mmap.mmap(-1, BYTES)
        view = (ctypes.c_char * BYTES).from_buffer(area)
        size = ctypes.c_size_t(BYTES)
        return (
            lambda: cuda("cuMemHostRegister_v2", view, size, 0),
            lambda: cuda("cuMemHostUnregister", view),
        )

    def record() -> Prepared:
        it = event()
        return lambda: cuda("cuEventRecord", it, other), lambda: cuda("cuEventDestroy_v2", it)

    def launch_other() -> Prepared:
        def act() -> None:
            value = ctypes.c_uint64(0)
            pointers = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(value), ctypes.c_void_p))
            cuda("cuLaunchKernel", cuda.kernel, 1, 1, 1, 1, 1, 1, 0, other, pointers, None)

        return act, _nothing

    size, words = ctypes.c_size_t(BYTES), ctypes.c_size_t(1)
    return {
        "cuMemAlloc": made("cuMemAlloc", cuda.alloc, "cuMemFree_v2"),
        "cuMemFree": gone(cuda.alloc, "cuMemFree_v2"),
        "cuMemHostAlloc": made("cuMemHostAlloc", host, "cuMemFreeHost"),
        "cuMemFreeHost": gone(host, "cuMemFreeHost"),
        "cuMemHostRegister": register,
        "cuModuleLoadData": made("cuModuleLoadData", cuda.load, "cuModuleUnload"),
        "cuModuleUnload": gone(cuda.load, "cuModuleUnload"),
        "cuStreamCreate": made(
            "cuStreamCreate", lambda: cuda.handle("cuStreamCreate", 1), "cuStreamDestroy_v2"
        ),
        "cuStreamDestroy": gone(lambda: cuda.handle("cuStreamCreate", 1), "cuStreamDestroy_v2"),
        "cuEventCreate": made("cuEventCreate", event, "cuEventDestroy_v2"),
        "cuEventRecord": record,
        "cuLaunchKernel": launch_other,
        "cuStreamSynchronize": lambda: (lambda: cuda("cuStreamSynchronize", other), _nothing),
        "cuMemsetD32Async": of_memory(lambda it: cuda("cuMemsetD32Async", it, 0, words, other)),
        "cuMemsetD8Async": of_memory(lambda it: cuda("cuMemsetD8Async", it, 0, size, other)),
        "cuStreamWriteValue32": of_memory(
            lambda it: cuda("cuStreamWriteValue32_v2", other, it, 1, 0)
        ),
    }


@contextmanager
def running(cuda: Cuda, nanoseconds: int) -> Iterator[None]:
    """The device has a kernel of so many ns, if any, and is idle again afterwards."""
    if nanoseconds:
        cuda.launch(nanoseconds)
    try:
        yield
    finally:
        cuda("cuCtxSynchronize")


def cost(cuda: Cuda, prepare: Callable[[], Prepared], busy_ns: int) -> dict[str, Any]:
    """How long the call takes, in ns: each round's."""
    taken = []
    for _ in range(ROUNDS):
        act, undo = prepare()
        with running(cuda, busy_ns):
            began = time.perf_counter_ns()
            act()
            taken.append(time.perf_counter_ns() - began)
        undo()
    return {"rounds_ns": taken, "median_ns": int(statistics.median(taken))}


def behaviour(cuda: Cuda) -> dict[str, Any]:
    """Of each call: idle and beside a kernel, and whether it waited for that."""
    result: dict[str, Any] = {}
    for name, prepare in calls(cuda).items():
        try:
            cost(cuda, prepare, 0)  # what is done once is not measured
            idle, busy = cost(cuda, prepare, 0), cost(cuda, prepare, BUSY_NS)
        except (CallError, AttributeError) as error:
            result[name] = {"error": str(error)}
            continue
        waited = busy["median_ns"] > idle["median_ns"] + BUSY_NS // 2
        result[name] = {"idle": idle, "busy": busy, "waited_for_the_device": waited}
    return result


def functions(cuda: Cuda) -> dict[str, list[str]]:
    """Of the functions that Tally knows: those that the library does not export, and those that
    cuGetProcAddress does not give, or gives another address of, for the version that brought them.
    """
    missing, unnamed, elsewhere = [], [], []
    found, status = ctypes.c_void_p(), ctypes.c_int()
    for function in load().functions:
        exported = getattr(cuda.driver, function.symbol, None)
        if exported is None:
            missing.append(function.symbol)
            continue
        result = cuda.driver.cuGetProcAddress_v2(
            *(function.base.encode(), ctypes.byref(found), function.introduced),
            *(ctypes.c_uint64(0), ctypes.byref(status)),
        )
        if result != 0 or not found.value:
            unnamed.append(function.symbol)
        elif found.value != ctypes.cast(exported, ctypes.c_void_p).value:
            elsewhere.append(function.symbol)
    return {"not_exported": missing, "not_by_name": unnamed, "another_by_name": elsewhere}


def facts(library: str) -> dict[str, Any]:
    """Everything. CallError, OSError: the driver cannot be used at all."""
    cuda = Cuda(library)
    version, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda("cuDriverGetVersion", ctypes.byref(version))
    cuda("cuDeviceGetName", name, len(name), cuda.device)
    cuda("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    attributes, value = {}, ctypes.c_int()
    for number in range(1, ATTRIBUTES):
        if cuda.driver.cuDeviceGetAttribute(ctypes.byref(value), number, cuda.device) == 0:
            attributes[number] = value.value
    return {
        "device": name.value.decode(errors="replace"),
        "driver_version": version.value,
        "memory": {"free_bytes": free.value, "total_bytes": total.value},
        "attributes": attributes,
        "functions": functions(cuda),
        "calls": behaviour(cuda),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gpu_facts", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--under",
        choices=("cuda", "soft"),
        help="ask Tally's libcuda, over a tallyd of this device",
    )
    parser.add_argument("--json", type=Path, help="where it goes in place of standard output")
    options = parser.parse_args(argv)
    where = ["--json", str(options.json.resolve())] if options.json else []
    if options.under is not None:
        with LocalDaemon(device=options.under) as daemon:
            command = daemon.command(sys.executable, "-m", "tally.workloads.gpu_facts", *where)
            return subprocess.run(command, env=daemon.env, check=False).returncode
    text = json.dumps(facts("libcuda.so.1"), indent=1) + "\n"
    if options.json:
        options.json.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
