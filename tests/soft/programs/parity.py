"""Tries every row of the parity table; prints a JSON line as each begins and as it ends.

A row that ends the process leaves its first line behind, and so tells which one it was.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from shim_driver import PTX
from support import parity

from tally.interpose.table import load


def c_type(name: str) -> Any:
    """The ctypes type of a parameter that is passed as its C declaration says."""
    if name.endswith("*") or (name.startswith("CU") and name in HANDLES):
        return c_void_p
    return {
        "size_t": c_size_t,
        "CUdeviceptr": c_uint64,
        "cuuint64_t": c_uint64,
        "unsigned long long": c_uint64,
        "int": c_int,
        "CUdevice": c_int,
    }.get(name, c_uint)


HANDLES = {
    "CUcontext", "CUstream", "CUevent", "CUmodule", "CUfunction", "CUlibrary", "CUkernel",
    "CUgraph", "CUgreenCtx", "CUlogsCallbackHandle", "CUlogsCallback", "CUoccupancyB2DSize",
    "CUlinkState",
}  # fmt: skip


class Driver:
    """The driver's functions by attribute, with their parameters' types."""

    def __init__(self) -> None:
        library = ctypes.CDLL("libcuda.so.1")
        for function in load().functions:
            entry = getattr(library, function.symbol)
            entry.argtypes = [c_type(p.type) for p in function.params]
            setattr(self, function.symbol, entry)

    def __getattr__(self, name: str) -> Any:  # for the type checker
        raise AttributeError(name)


class Ground:
    """What rows stand on: a context, memory, a stream, an event, a module with kernels."""

    BYTES = 1 << 16

    def __init__(self) -> None:
        self.cu = Driver()

    def start(self) -> None:
        """cuInit and everything else; the rows before this one want none of it."""
        cu = self.cu
        self.ok(cu.cuInit(0))
        self.context = self.made(cu.cuDevicePrimaryCtxRetain, 0)
        self.ok(cu.cuCtxSetCurrent(self.context))
        self.device = self.made(cu.cuMemAlloc_v2, self.BYTES)
        self.pinned = self.made(cu.cuMemHostAlloc, self.BYTES, 0)
        self.bytes = (ctypes.c_ubyte * self.BYTES).from_address(self.pinned)
        self.host = ctypes.create_string_buffer(self.BYTES)
        self.stream = self.made(cu.cuStreamCreate, 1)
        self.event = self.made(cu.cuEventCreate, 0)
        self.ok(cu.cuEventRecord(self.event, self.stream))
        self.untimed = self.made(cu.cuEventCreate, 2)
        self.module = self.made(cu.cuModuleLoadData, PTX)
        self.add_one = self.made(cu.cuModuleGetFunction, self.module, b"add_one")
        self.spin = self.made(cu.cuModuleGetFunction, self.module, b"spin")
        self.library = self.made(cu.cuLibraryLoadData, PTX, None, None, 0, None, None, 0)
        self.kernel = self.made(cu.cuLibraryGetKernel, self.library, b"add_one")

    @staticmethod
    def ok(result: int) -> None:
        """The call must have succeeded."""
        assert result == 0, f"result {result}"

    def made(self, function: Callable[..., int], *arguments: Any) -> int:
        """The handle or address that a function with one output, its first parameter, gives."""
        out = c_uint64()
        self.ok(function(byref(out), *arguments))
        return out.value

    def gone_stream(self) -> int:
        """The handle of a stream that was destroyed."""
        handle = self.made(self.cu.cuStreamCreate, 1)
        self.ok(self.cu.cuStreamDestroy_v2(handle))
        return handle

    def gone_event(self) -> int:
        """The handle of an event that was destroyed."""
        handle = self.made(self.cu.cuEventCreate, 0)
        self.ok(self.cu.cuEventDestroy_v2(handle))
        return handle

    def spinning(self, milliseconds: int, stream: int | None = None) -> None:
        """A kernel that keeps the stream busy for so long."""
        nanoseconds = c_uint64(milliseconds * 1_000_000)
        params = (c_void_p * 1)(ctypes.addressof(nanoseconds))
        self.ok(self.cu.cuLaunchKernel(self.spin, 1, 1, 1, 1, 1, 1, 0, stream, params, None))

    def without_context(self, call: Callable[[], int]) -> int:
        """The call's result in a thread that has no current context."""
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.append(call()))
        thread.start()
        thread.join()
        return results[0]


def attempt(ground: Ground, row: parity.Row) -> None:
    print(json.dumps({"row": row.title}), flush=True)
    failure = ""
    try:
        result = row.check(ground)
    except Exception as error:
        result, failure = -1, f"{type(error).__name__}: {error}"
    print(json.dumps({"row": row.title, "result": result, "failure": failure}), flush=True)


def main() -> None:
    ground = Ground()
    for row in parity.rows():
        if row.before_init:
            attempt(ground, row)
    ground.start()
    for row in parity.rows():
        if not row.before_init:
            attempt(ground, row)


main()
