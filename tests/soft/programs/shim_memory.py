"""Copies of every shape, pinned memory, registering, and what is told of pointers."""

from __future__ import annotations

import ctypes
import os
import random
from ctypes import byref, c_int, c_size_t, c_uint32, c_uint64, c_void_p

from shim_driver import (
    INVALID_VALUE,
    OUT_OF_MEMORY,
    allocate,
    cuda,
    download,
    expect,
    function,
    launch,
    load,
    start,
    stream,
    upload,
)

HOST, DEVICE = 1, 2
NOT_SUPPORTED = 801


class Box(ctypes.Structure):
    """CUDA_MEMCPY3D."""

    _fields_ = [
        *((f"src_{n}", c_size_t) for n in ("x", "y", "z", "lod")),
        ("src_type", c_int), ("src_host", c_void_p), ("src_device", c_uint64),
        ("src_array", c_void_p), ("reserved0", c_void_p),
        ("src_pitch", c_size_t), ("src_height", c_size_t),
        *((f"dst_{n}", c_size_t) for n in ("x", "y", "z", "lod")),
        ("dst_type", c_int), ("dst_host", c_void_p), ("dst_device", c_uint64),
        ("dst_array", c_void_p), ("reserved1", c_void_p),
        ("dst_pitch", c_size_t), ("dst_height", c_size_t),
        ("width", c_size_t), ("height", c_size_t), ("depth", c_size_t),
    ]  # fmt: skip


def copy_box(chance: random.Random) -> None:
    """Host to device, device to device, device to host, with padding that differs everywhere."""
    width, height, depth = (
        chance.choice([1, 5, 700]),
        chance.choice([1, 3, 60]),
        chance.randint(1, 9),
    )
    host_pitch, host_rows = width + chance.choice([0, 5]), height + chance.choice([0, 2])
    pitch, rows = width + chance.choice([0, 3]), height + chance.choice([0, 1])
    data = os.urandom(host_pitch * host_rows * depth)
    source = ctypes.create_string_buffer(data, len(data))
    result = ctypes.create_string_buffer(len(data))
    first, second = allocate(pitch * rows * depth), allocate(len(data))
    size = {"width": width, "height": height, "depth": depth}
    up = Box(
        src_type=HOST, src_host=ctypes.addressof(source),
        src_pitch=host_pitch, src_height=host_rows,
        dst_type=DEVICE, dst_device=first.value, dst_pitch=pitch, dst_height=rows, **size,
    )  # fmt: skip
    across = Box(
        src_type=DEVICE, src_device=first.value, src_pitch=pitch, src_height=rows,
        dst_type=DEVICE, dst_device=second.value,
        dst_pitch=host_pitch, dst_height=host_rows, **size,
    )  # fmt: skip
    down = Box(
        src_type=DEVICE, src_device=second.value, src_pitch=host_pitch, src_height=host_rows,
        dst_type=HOST, dst_host=ctypes.addressof(result),
        dst_pitch=host_pitch, dst_height=host_rows, **size,
    )  # fmt: skip
    expect(cuda.cuMemcpy3D_v2(byref(up)))
    expect(cuda.cuMemcpy3DAsync_v2(byref(across), None))
    expect(cuda.cuMemcpy3D_v2(byref(down)))
    for z in range(depth):
        for y in range(height):
            at = (z * host_rows + y) * host_pitch
            assert result.raw[at : at + width] == data[at : at + width], size
    expect(cuda.cuMemFree_v2(first))
    expect(cuda.cuMemFree_v2(second))


def copy_sizes() -> None:
    """Around the limits between inline, one slot and many."""
    device = allocate(20 << 20)
    for size in (1, 16384, 16385, 1 << 20, (1 << 20) + 1, 17 << 20):
        data = os.urandom(size)
        upload(device, data)
        assert download(device, size) == data
    expect(cuda.cuMemFree_v2(device))


def wrong_addresses() -> None:
    """Told at once, without a round trip to a device that could not tell them either."""
    device, four = allocate(4096), ctypes.create_string_buffer(16)
    expect(cuda.cuMemcpyDtoH_v2(four, c_uint64(0x1000), c_size_t(4)), INVALID_VALUE)
    expect(cuda.cuMemcpyHtoD_v2(c_uint64(device.value + 4090), four, c_size_t(16)), INVALID_VALUE)
    expect(cuda.cuMemsetD32_v2(device, 0, c_size_t(1025)), INVALID_VALUE)
    expect(cuda.cuMemsetD32_v2(c_uint64(device.value + 2), 0, c_size_t(1)), INVALID_VALUE)
    expect(cuda.cuMemAlloc_v2(byref(c_uint64()), c_size_t(0)), INVALID_VALUE)
    expect(cuda.cuMemAlloc_v2(byref(c_uint64()), c_size_t(1 << 45)), OUT_OF_MEMORY)
    expect(cuda.cuMemFree_v2(c_uint64(device.value + 1)), INVALID_VALUE)
    expect(cuda.cuMemFree_v2(device))
    expect(cuda.cuMemFree_v2(device), INVALID_VALUE)


def pinned() -> None:
    """One address on both sides: copies, fills and kernels reach the program's own bytes."""
    size, on, host, seen = 1 << 20, stream(), c_void_p(), c_uint64()
    expect(cuda.cuMemHostAlloc(byref(host), c_size_t(size), 0))
    expect(cuda.cuMemHostGetDevicePointer_v2(byref(seen), host, 0))
    assert seen.value == host.value
    device = allocate(size)
    ctypes.memset(host, 0x5A, size)
    expect(cuda.cuMemcpyHtoDAsync_v2(device, host, c_size_t(size), on))
    expect(cuda.cuStreamSynchronize(on))
    ctypes.memset(host, 0, size)
    expect(cuda.cuMemcpyDtoHAsync_v2(host, device, c_size_t(size), on))
    expect(cuda.cuStreamSynchronize(on))
    assert ctypes.string_at(host, size) == b"\x5a" * size
    expect(cuda.cuMemsetD32_v2(seen, 1, c_size_t(256)))
    expect(launch(function(load(), b"add_one"), seen, c_uint32(256), block=(256, 1, 1)))
    expect(cuda.cuCtxSynchronize())
    assert ctypes.string_at(host, 1024) == (2).to_bytes(4, "little") * 256
    expect(cuda.cuMemFreeHost(host))
    expect(cuda.cuMemFreeHost(host), INVALID_VALUE)


def registered() -> None:
    """Refused, whatever the flags, as the attributes say; copies do without."""
    device, host = allocate(8192), ctypes.create_string_buffer(os.urandom(8192), 8192)
    seen = c_uint64()
    for flags in (0, 1, 2, 3, 8):
        expect(cuda.cuMemHostRegister_v2(host, c_size_t(8192), flags), NOT_SUPPORTED)
    for attribute in (91, 99, 113):  # of the host pointer, of registering, of read-only memory
        value = c_int(-1)
        expect(cuda.cuDeviceGetAttribute(byref(value), attribute, 0))
        assert value.value == 0, attribute
    expect(cuda.cuMemHostGetDevicePointer_v2(byref(seen), host, 0), INVALID_VALUE)
    expect(cuda.cuMemcpyHtoDAsync_v2(device, host, c_size_t(8192), None))
    assert download(device, 8192) == host.raw
    expect(cuda.cuMemHostUnregister(host), INVALID_VALUE)


def attributes(context: c_void_p) -> None:
    device, value = allocate(1 << 20), c_uint64()
    inside = c_uint64(device.value + 99)
    wanted = {
        1: context.value,
        2: DEVICE,
        3: inside.value,
        8: 0,
        9: 0,
        11: device.value,
        12: 1 << 20,
    }
    for attribute, expected in wanted.items():
        value.value = 0
        expect(cuda.cuPointerGetAttribute(byref(value), attribute, inside))
        assert value.value == expected, attribute
    pageable = c_uint64(ctypes.addressof(value))
    expect(cuda.cuPointerGetAttribute(byref(value), 2, pageable), INVALID_VALUE)
    kind, ordinal = c_uint32(9), c_int(9)
    into = (c_void_p * 2)(ctypes.addressof(kind), ctypes.addressof(ordinal))
    expect(cuda.cuPointerGetAttributes(2, (c_int * 2)(2, 9), into, pageable))
    assert (kind.value, ordinal.value) == (0, -2)


def main() -> None:
    context = start()
    seed = int(os.environ.get("SEED", "1"))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    for _ in range(20):
        copy_box(chance)
    copy_sizes()
    wrong_addresses()
    pinned()
    registered()
    attributes(context)
    print("ok")


main()
