"""softgpu in the test's own process: the driver library with the compiler, and numpy arrays."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tally.client import paths
from tally.daemon.softgpu import install

Array = npt.NDArray[Any]
LOG_BYTES = 8192
_JIT_ERROR_LOG = (5, 6)  # CU_JIT_ERROR_LOG_BUFFER and its size


class SoftError(Exception):
    """A driver call's result that is not CUDA_SUCCESS."""

    def __init__(self, result: int, log: str = "") -> None:
        super().__init__(f"CUresult {result} {log}")
        self.result = result
        self.log = log


class Buffer:
    """Device memory that starts as a copy of an array, or as zeros."""

    def __init__(self, device: SoftDevice, data: Array) -> None:
        self.device = device
        self.data = np.ascontiguousarray(data)
        address = ctypes.c_uint64()
        size = ctypes.c_size_t(max(self.data.nbytes, 1))
        device.call("cuMemAlloc_v2", ctypes.byref(address), size)
        self.address = address.value
        device.call(
            "cuMemcpyHtoD_v2",
            ctypes.c_uint64(self.address),
            ctypes.c_void_p(self.data.ctypes.data),
            ctypes.c_size_t(self.data.nbytes),
        )

    def read(self) -> Array:
        result = np.empty_like(self.data)
        self.device.call(
            "cuMemcpyDtoH_v2",
            ctypes.c_void_p(result.ctypes.data),
            ctypes.c_uint64(self.address),
            ctypes.c_size_t(result.nbytes),
        )
        return result

    def free(self) -> None:
        self.device.call("cuMemFree_v2", ctypes.c_uint64(self.address))


class SoftDevice:
    """The default tenant of softgpu's device 0."""

    def __init__(self) -> None:
        path = paths.softgpu_library()
        assert path is not None, "libtally_softgpu.so is not installed"
        self.library = ctypes.CDLL(str(path))
        self.compiler = install(self.library, keep=False)
        self.call("cuInit", 0)
        self.context = ctypes.c_void_p()
        self.retain()

    def retain(self) -> None:
        """Make the primary context the thread's current one."""
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), 0)
        self.call("cuCtxSetCurrent", self.context)

    def call(self, name: str, *args: Any) -> None:
        result = getattr(self.library, name)(*args)
        if result:
            raise SoftError(result)

    def reset(self) -> None:
        """A context without a sticky error."""
        self.library.cuDevicePrimaryCtxReset_v2(0)
        self.retain()

    def buffer(self, data: Array) -> Buffer:
        return Buffer(self, data)

    def attribute(self, number: int) -> int:
        """Of the device: a CUdevice_attribute."""
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), number, 0)
        return value.value

    def load_image(self, image: bytes) -> Module:
        """A module of any form."""
        handle = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(handle), ctypes.create_string_buffer(image))
        return Module(self, handle)

    def load(self, ptx: str) -> Module:
        handle = ctypes.c_void_p()
        log = ctypes.create_string_buffer(LOG_BYTES)
        options = (ctypes.c_int * 2)(*_JIT_ERROR_LOG)
        values = (ctypes.c_void_p * 2)(ctypes.addressof(log), LOG_BYTES)
        image = ctypes.c_char_p(ptx.encode())
        result = self.library.cuModuleLoadDataEx(ctypes.byref(handle), image, 2, options, values)
        if result:
            raise SoftError(result, log.value.decode())
        return Module(self, handle)


class Module:
    def __init__(self, device: SoftDevice, handle: ctypes.c_void_p) -> None:
        self.device = device
        self.handle = handle

    def address(self, name: str) -> int:
        """Of a variable."""
        address, size = ctypes.c_uint64(), ctypes.c_size_t()
        self.device.call(
            "cuModuleGetGlobal_v2",
            *(ctypes.byref(address), ctypes.byref(size), self.handle, name.encode()),
        )
        return address.value

    def launch(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        *args: Any,
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Run and wait. Arguments: buffers, (value, struct format), ints as i32, floats as f32."""
        self.start(name, grid, block, *args, shared=shared, cooperative=cooperative)
        self.device.call("cuCtxSynchronize")

    def function(self, name: str) -> ctypes.c_void_p:
        """A kernel's handle."""
        found = ctypes.c_void_p()
        self.device.call("cuModuleGetFunction", ctypes.byref(found), self.handle, name.encode())
        return found

    def start(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        *args: Any,
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        """As launch, without waiting."""
        function = self.function(name)
        packed = [ctypes.create_string_buffer(_pack(a), 16) for a in args]
        pointers = (ctypes.c_void_p * max(len(packed), 1))(*(ctypes.addressof(p) for p in packed))
        x, y, z = (*grid, 1, 1)[:3]
        bx, by, bz = (*block, 1, 1)[:3]
        shape = (function, x, y, z, bx, by, bz, shared, None, pointers)
        if cooperative:
            self.device.call("cuLaunchCooperativeKernel", *shape)
        else:
            self.device.call("cuLaunchKernel", *shape, None)


def _pack(argument: Any) -> bytes:
    if isinstance(argument, Buffer):
        return struct.pack("<Q", argument.address)
    if isinstance(argument, tuple):
        return struct.pack(f"<{argument[1]}", argument[0])
    if isinstance(argument, float):
        return struct.pack("<f", argument)
    return struct.pack("<i", argument)


@cache
def soft_device() -> SoftDevice:
    """One for the process: the library's state is."""
    return SoftDevice()
