"""Streams, events, modules, launches: order, handles that are gone, what is refused at once."""

from __future__ import annotations

import ctypes
from ctypes import (
    byref,
    c_float,
    c_int,
    c_size_t,
    c_uint,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)

from shim_driver import (
    FILE_NOT_FOUND,
    INVALID_HANDLE,
    INVALID_IMAGE,
    INVALID_PTX,
    INVALID_VALUE,
    NOT_FOUND,
    NOT_READY,
    PTX,
    allocate,
    cuda,
    download,
    expect,
    function,
    launch,
    load,
    start,
    stream,
)

CONTEXT_IS_DESTROYED = 709

GAPS = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry gaps(.param .u8 a, .param .u64 to, .param .u16 b, .param .align 4 .b8 c[12],
                     .param .u8 d)
{
    .reg .b64 %rd<2>; .reg .b32 %r<4>;
    ld.param.u64 %rd1, [to];
    cvta.to.global.u64 %rd1, %rd1;
    ld.param.u8 %r1, [a];
    st.global.u32 [%rd1], %r1;
    ld.param.u16 %r1, [b];
    st.global.u32 [%rd1+4], %r1;
    ld.param.u32 %r1, [c];
    ld.param.u32 %r2, [c+8];
    st.global.u32 [%rd1+8], %r1;
    st.global.u32 [%rd1+12], %r2;
    ld.param.u8 %r1, [d];
    st.global.u32 [%rd1+16], %r1;
    ret;
}
"""
DISABLE_TIMING = 2
ERROR_LOG, ERROR_LOG_BYTES = 5, 6
MAX_DYNAMIC_SHARED = 8


def event(flags: int = 0) -> c_void_p:
    made = c_void_p()
    expect(cuda.cuEventCreate(byref(made), flags))
    return made


def order_of_streams(module: c_void_p) -> None:
    """A busy stream, an event in it, and another stream that waits for the event."""
    first, second, begin, end = stream(), stream(), event(), event()
    spent, data = c_float(), allocate(4096)
    expect(cuda.cuEventQuery(begin))
    expect(cuda.cuEventElapsedTime_v2(byref(spent), begin, end), INVALID_HANDLE)
    expect(cuda.cuEventRecord(begin, first))
    expect(launch(function(module, b"spin"), c_uint64(50_000_000), on=first))
    expect(cuda.cuEventRecord(end, first))
    expect(cuda.cuStreamWaitEvent(second, end, 0))
    expect(cuda.cuMemsetD32Async(data, 5, c_size_t(1024), second))
    expect(cuda.cuStreamQuery(second), NOT_READY)
    expect(cuda.cuEventQuery(end), NOT_READY)
    expect(cuda.cuStreamSynchronize(second))
    expect(cuda.cuEventElapsedTime_v2(byref(spent), begin, end))
    assert spent.value >= 49
    untimed = event(DISABLE_TIMING)
    expect(cuda.cuEventRecord(untimed, first))
    expect(cuda.cuEventElapsedTime_v2(byref(spent), untimed, end), INVALID_HANDLE)


def values_in_streams() -> None:
    on, data = stream(), allocate(64)
    expect(cuda.cuStreamWriteValue32_v2(on, data, 77, 0))
    expect(cuda.cuStreamWaitValue32_v2(on, data, 77, 1))
    expect(cuda.cuStreamWriteValue64_v2(on, c_uint64(data.value + 8), c_uint64(1 << 40), 0))
    expect(cuda.cuStreamSynchronize(on))
    written = download(data, 16)
    assert written[:4] == (77).to_bytes(4, "little")
    assert written[8:] == (1 << 40).to_bytes(8, "little")
    expect(cuda.cuStreamWriteValue32_v2(on, c_uint64(data.value + 2), 1, 0), INVALID_VALUE)
    expect(cuda.cuStreamWriteValue32_v2(on, c_uint64(64), 1, 0), INVALID_VALUE)


def default_streams(module: c_void_p) -> None:
    """NULL, legacy and per-thread, by handle and by function variant, are usable and tell apart."""
    data, kernel = allocate(4), function(module, b"add_one")
    expect(cuda.cuMemsetD32_v2(data, 0, c_size_t(1)))
    ids = []
    for on in (None, c_void_p(1), c_void_p(2)):
        number = c_uint64()
        expect(launch(kernel, data, c_uint32(1), on=on))
        expect(cuda.cuStreamSynchronize(on))
        expect(cuda.cuStreamGetId(on, byref(number)))
        ids.append(number.value)
    assert ids[0] == ids[1] != ids[2]
    number = c_uint64()
    expect(cuda.cuStreamGetId_ptsz(None, byref(number)))
    assert number.value == ids[2]
    assert download(data, 4) == (3).to_bytes(4, "little")


def handles_that_are_gone(module: c_void_p) -> None:
    dead_stream, dead_event, kernel = stream(), event(), function(module, b"add_one")
    arguments = (allocate(4), c_uint32(1))
    expect(cuda.cuStreamDestroy_v2(dead_stream))
    expect(cuda.cuEventDestroy_v2(dead_event))
    expect(cuda.cuStreamDestroy_v2(dead_stream), INVALID_HANDLE)
    expect(cuda.cuEventDestroy_v2(dead_event), INVALID_HANDLE)
    expect(cuda.cuStreamSynchronize(dead_stream), INVALID_HANDLE)
    expect(cuda.cuEventRecord(dead_event, None), INVALID_HANDLE)
    expect(launch(kernel, *arguments, on=dead_stream), INVALID_HANDLE)
    for made_up in (4, 0x1234, 2**63, 2**64 - 1):
        expect(cuda.cuStreamQuery(c_void_p(made_up)), INVALID_HANDLE)
        expect(cuda.cuEventQuery(c_void_p(made_up)), INVALID_HANDLE)
        expect(cuda.cuModuleUnload(c_void_p(made_up)), INVALID_HANDLE)
        expect(launch(c_void_p(made_up), *arguments), INVALID_HANDLE)
    short_lived = load()
    gone = function(short_lived, b"add_one")
    expect(cuda.cuModuleUnload(short_lived))
    expect(cuda.cuModuleUnload(short_lived), INVALID_HANDLE)
    expect(launch(gone, *arguments), INVALID_HANDLE)


def launches_refused(module: c_void_p) -> None:
    kernel, arguments = function(module, b"add_one"), (allocate(4), c_uint32(1))
    for grid in ((0, 1, 1), (1, 0, 1), (1, 70000, 1)):
        expect(launch(kernel, *arguments, grid=grid), INVALID_VALUE)
    for block in ((0, 1, 1), (1025, 1, 1), (64, 64, 1), (1, 1, 65)):
        expect(launch(kernel, *arguments, block=block), INVALID_VALUE)
    expect(launch(kernel, *arguments, shared=1 << 20), INVALID_VALUE)
    expect(cuda.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None), INVALID_VALUE)
    expect(cuda.cuFuncSetAttribute(kernel, MAX_DYNAMIC_SHARED, 40000))
    limit = c_int()
    expect(cuda.cuFuncGetAttribute(byref(limit), MAX_DYNAMIC_SHARED, kernel))
    assert limit.value == 40000
    expect(launch(kernel, *arguments, shared=40001), INVALID_VALUE)


def one_buffer(module: c_void_p) -> None:
    """Parameters by `extra`: a buffer may be longer than they are; what is missing is 0."""
    data, kernel = allocate(1024), function(module, b"add_one")
    expect(cuda.cuMemsetD32_v2(data, 0, c_size_t(256)))
    packed = data.value.to_bytes(8, "little") + (256).to_bytes(4, "little") + bytes(4)
    buffer, size = ctypes.create_string_buffer(packed, len(packed)), c_size_t(len(packed))
    extra = (c_void_p * 5)(1, ctypes.addressof(buffer), 2, ctypes.addressof(size), 0)
    expect(cuda.cuLaunchKernel(kernel, 1, 1, 1, 256, 1, 1, 0, None, None, extra))
    assert download(data, 1024) == (1).to_bytes(4, "little") * 256
    size.value = 8  # no count: nothing is to be done
    expect(cuda.cuLaunchKernel(kernel, 1, 1, 1, 256, 1, 1, 0, None, None, extra))
    assert download(data, 1024) == (1).to_bytes(4, "little") * 256


def parameters_with_gaps() -> None:
    """Sizes of all kinds, with bytes between them that belong to none."""
    data, c = allocate(20), (c_uint32 * 3)(0x12345678, 0, 0x9ABCDEF0)
    arguments = (c_uint8(0xA1), data, c_uint16(0xB2B3), c, c_uint8(0xD4))
    expect(launch(function(load(GAPS), b"gaps"), *arguments))
    words = (0xA1, 0xB2B3, 0x12345678, 0x9ABCDEF0, 0xD4)
    assert download(data, 20) == b"".join(word.to_bytes(4, "little") for word in words)


def many_kernels() -> None:
    """More names than one message holds: all are listed, in order, each the kernel it names."""
    head = PTX[: PTX.index(b".visible .global")]
    names = [b"k%03d_%s" % (at, b"x" * 990) for at in range(600)]
    large = load(head + b"".join(b".visible .entry %s() { ret; }\n" % name for name in names))
    count, functions = c_uint(), (c_void_p * 700)()
    expect(cuda.cuModuleGetFunctionCount(byref(count), large))
    assert count.value == 600, count.value
    expect(cuda.cuModuleEnumerateFunctions(functions, 700, large))
    found = []
    for handle in functions[:600]:
        name = ctypes.c_char_p()
        expect(cuda.cuFuncGetName(byref(name), c_void_p(handle)))
        found.append(name.value)
    assert found == names and functions[600] is None
    few = (c_void_p * 5)()
    expect(cuda.cuModuleEnumerateFunctions(few, 3, large))
    assert list(few[:3]) == list(functions[:3]) and few[3] is None
    expect(cuda.cuModuleUnload(large))


def modules(module: c_void_p) -> None:
    address, size, count = c_uint64(), c_size_t(), c_uint()
    expect(cuda.cuModuleGetGlobal_v2(byref(address), byref(size), module, b"counter"))
    assert download(address, size.value) == (7).to_bytes(4, "little")
    expect(cuda.cuModuleGetGlobal_v2(byref(address), byref(size), module, b"none"), NOT_FOUND)
    expect(cuda.cuModuleGetFunction(byref(c_void_p()), module, b"none"), NOT_FOUND)
    expect(cuda.cuModuleGetFunctionCount(byref(count), module))
    assert count.value == 2
    assert function(module, b"add_one").value == function(module, b"add_one").value
    for _ in range(2):  # by hash and upload, then by hash alone
        large = load(PTX + b"//" + b"x" * 300000 + b"\n")
        function(large, b"add_one")
        expect(cuda.cuModuleUnload(large))
    library, kernel, inside = c_void_p(), c_void_p(), c_void_p()
    expect(cuda.cuLibraryLoadData(byref(library), PTX, None, None, 0, None, None, 0))
    expect(cuda.cuLibraryGetKernel(byref(kernel), library, b"add_one"))
    expect(launch(kernel, allocate(4), c_uint32(1)))  # a CUkernel where a CUfunction is meant
    expect(cuda.cuLibraryGetModule(byref(inside), library))
    function(inside, b"spin")
    expect(cuda.cuModuleUnload(inside), INVALID_HANDLE)
    expect(cuda.cuLibraryUnload(library))


def wrong_images() -> None:
    out = c_void_p()
    expect(cuda.cuModuleLoadData(byref(out), b"garbage"), INVALID_IMAGE)
    expect(cuda.cuModuleLoadData(byref(out), b"\x7fELF" + bytes(100)), INVALID_IMAGE)
    expect(cuda.cuModuleLoadData(byref(out), c_void_p(8)), INVALID_IMAGE)
    expect(cuda.cuModuleLoad(byref(out), b"/nonexistent"), FILE_NOT_FOUND)
    log = ctypes.create_string_buffer(500)
    options = (c_int * 2)(ERROR_LOG, ERROR_LOG_BYTES)
    values = (c_void_p * 2)(ctypes.addressof(log), len(log))
    wrong = PTX.replace(b"mov.u32 %r2", b"frobnicate.u32 %r2")
    expect(cuda.cuModuleLoadDataEx(byref(out), wrong, 2, options, values), INVALID_PTX)
    assert b"frobnicate" in log.value
    assert values[1] == len(log.value)


def main() -> None:
    start()
    module = load()
    order_of_streams(module)
    values_in_streams()
    default_streams(module)
    handles_that_are_gone(module)
    launches_refused(module)
    one_buffer(module)
    parameters_with_gaps()
    many_kernels()
    modules(module)
    wrong_images()
    kept = allocate(4)
    expect(cuda.cuDevicePrimaryCtxReset_v2(0))
    # It is still current, and nobody has retained it since; cuda.h, of this error: "or is a primary
    # context which has not yet been initialized".
    expect(cuda.cuMemFree_v2(kept), CONTEXT_IS_DESTROYED)
    expect(cuda.cuDevicePrimaryCtxRetain(byref(c_void_p()), 0))
    expect(cuda.cuMemFree_v2(kept), INVALID_VALUE)  # it went with its context
    print("ok")


main()
