"""The driver API by ctypes, for programs that look at the shim closely."""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_char_p, c_size_t, c_uint64, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")

PTX = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .global .align 4 .u32 counter = 7;
.visible .entry add_one(.param .u64 data, .param .u32 count)
{
    .reg .b64 %rd<4>; .reg .b32 %r<8>; .reg .pred %p;
    ld.param.u64 %rd1, [data];
    ld.param.u32 %r1, [count];
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p, %r5, %r1;
    @%p bra done;
    mul.wide.u32 %rd2, %r5, 4;
    add.u64 %rd3, %rd1, %rd2;
    ld.global.u32 %r6, [%rd3];
    add.u32 %r6, %r6, 1;
    st.global.u32 [%rd3], %r6;
done:
    ret;
}
.visible .entry spin(.param .u64 nanoseconds)
{
    .reg .b64 %rd<6>; .reg .pred %p;
    ld.param.u64 %rd1, [nanoseconds];
    mov.u64 %rd2, %globaltimer;
again:
    mov.u64 %rd3, %globaltimer;
    sub.u64 %rd4, %rd3, %rd2;
    setp.lt.u64 %p, %rd4, %rd1;
    @%p bra again;
    ret;
}
"""

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED = 0, 1, 2, 3
INVALID_IMAGE, INVALID_PTX, FILE_NOT_FOUND = 200, 218, 301
INVALID_HANDLE, NOT_FOUND, NOT_READY = 400, 500, 600


def name(result: int) -> str:
    text = c_char_p()
    cuda.cuGetErrorName(result, byref(text))
    return (text.value or b"?").decode()


def expect(result: int, wanted: int = SUCCESS) -> None:
    assert result == wanted, f"{result} ({name(result)}) instead of {wanted} ({name(wanted)})"


def start() -> c_void_p:
    """cuInit and the primary context, current."""
    context = c_void_p()
    expect(cuda.cuInit(0))
    expect(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
    expect(cuda.cuCtxSetCurrent(context))
    return context


def allocate(size: int) -> c_uint64:
    address = c_uint64()
    expect(cuda.cuMemAlloc_v2(byref(address), c_size_t(size)))
    return address


def load(image: bytes = PTX) -> c_void_p:
    module = c_void_p()
    expect(cuda.cuModuleLoadData(byref(module), image))
    return module


def function(module: c_void_p, symbol: bytes) -> c_void_p:
    found = c_void_p()
    expect(cuda.cuModuleGetFunction(byref(found), module, symbol))
    return found


def stream(flags: int = 1) -> c_void_p:
    made = c_void_p()
    expect(cuda.cuStreamCreate(byref(made), flags))
    return made


def launch(
    kernel: c_void_p,
    *arguments: ctypes._CData,
    grid: tuple[int, int, int] = (1, 1, 1),
    block: tuple[int, int, int] = (1, 1, 1),
    shared: int = 0,
    on: c_void_p | None = None,
) -> int:
    """The result of cuLaunchKernel."""
    pointers = [ctypes.cast(byref(argument), c_void_p) for argument in arguments]
    array = (c_void_p * len(pointers))(*pointers)
    return int(cuda.cuLaunchKernel(kernel, *grid, *block, shared, on, array, None))


def upload(address: c_uint64, data: bytes) -> None:
    expect(cuda.cuMemcpyHtoD_v2(address, data, c_size_t(len(data))))


def download(address: c_uint64, size: int) -> bytes:
    out = ctypes.create_string_buffer(size)
    expect(cuda.cuMemcpyDtoH_v2(out, address, c_size_t(size)))
    return out.raw


def child(body: object) -> int:
    """Wait status of a forked child that runs `body` and leaves."""
    assert callable(body)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]
