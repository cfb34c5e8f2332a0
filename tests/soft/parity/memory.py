"""Memory, what pointers point to, copies and memsets."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import addressof, byref, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from support.parity import parity, row

# ---- device memory -------------------------------------------------------------------------------


@parity("cuMemAlloc_v2", "some bytes: aligned to 256")
@parity("cuMemFree_v2", "what was allocated")
def allocate(g: Any) -> int:
    address = g.made(g.cu.cuMemAlloc_v2, 100)
    assert address % 256 == 0
    return int(g.cu.cuMemFree_v2(address))


row("cuMemAlloc_v2", "0 bytes", "INVALID_VALUE", lambda g: g.cu.cuMemAlloc_v2(byref(c_uint64()), 0))
row("cuMemAlloc_v2", "NULL output", "INVALID_VALUE", lambda g: g.cu.cuMemAlloc_v2(None, 16))
row(
    "cuMemAlloc_v2",
    "more than there is",
    "OUT_OF_MEMORY",
    lambda g: g.cu.cuMemAlloc_v2(byref(c_uint64()), 1 << 50),
)
row(
    "cuMemAlloc_v2",
    "none is current",
    "INVALID_CONTEXT",
    lambda g: g.without_context(lambda: g.cu.cuMemAlloc_v2(byref(c_uint64()), 16)),
)
row("cuMemFree_v2", "NULL", "SUCCESS", lambda g: g.cu.cuMemFree_v2(0))
row("cuMemFree_v2", "no address of CUDA's", "INVALID_VALUE", lambda g: g.cu.cuMemFree_v2(0x1234))
row(
    "cuMemFree_v2",
    "the middle of an allocation",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemFree_v2(g.device + 256),
)
row("cuMemFree_v2", "host memory", "INVALID_VALUE", lambda g: g.cu.cuMemFree_v2(g.pinned))


def in_destroyed(g: Any, call: Callable[[int], int]) -> int:
    """What the call gives, with memory of the context that is current and that another thread has
    destroyed. NVIDIA, of cuCtxDestroy: it "will remain current to those threads, and attempting to
    access ctx from those threads will result in the error CUDA_ERROR_CONTEXT_IS_DESTROYED". cuda.h
    says the same of a primary context that is not initialized, as after a reset."""

    def begin() -> tuple[int, int]:
        return g.made(g.cu.cuCtxCreate_v2, 0, 0), g.made(g.cu.cuMemAlloc_v2, 16)

    with ThreadPoolExecutor(max_workers=1) as thread:
        context, address = thread.submit(begin).result()
        g.ok(g.cu.cuCtxDestroy_v2(context))
        return thread.submit(call, address).result()


for symbol, call in {
    "cuMemAlloc_v2": lambda g, _: g.cu.cuMemAlloc_v2(byref(c_uint64()), 16),
    "cuMemFree_v2": lambda g, address: g.cu.cuMemFree_v2(address),
    "cuMemsetD8_v2": lambda g, address: g.cu.cuMemsetD8_v2(address, 0, 16),
}.items():
    row(
        symbol,
        "the current context is destroyed",
        "CONTEXT_IS_DESTROYED",
        lambda g, call=call: in_destroyed(g, lambda address: int(call(g, address))),
    )


@parity("cuMemFree_v2", "twice", "INVALID_VALUE")
def free_twice(g: Any) -> int:
    address = g.made(g.cu.cuMemAlloc_v2, 100)
    g.ok(g.cu.cuMemFree_v2(address))
    return int(g.cu.cuMemFree_v2(address))


@parity("cuMemAllocPitch_v2", "rows: the pitch holds one, and is aligned")
def pitch(g: Any) -> int:
    address, got = c_uint64(), c_size_t()
    result = g.cu.cuMemAllocPitch_v2(byref(address), byref(got), 100, 10, 4)
    assert got.value >= 100
    assert got.value % 32 == 0
    g.ok(g.cu.cuMemFree_v2(address.value))
    return int(result)


for situation, width, height, element in (
    ("rows of 0 bytes", 0, 4, 4),
    ("0 rows", 16, 0, 4),
    ("an element of 5 bytes", 16, 4, 5),
):

    def bad_pitch(g: Any, width: int = width, height: int = height, element: int = element) -> int:
        out, got = c_uint64(), c_size_t()
        return int(g.cu.cuMemAllocPitch_v2(byref(out), byref(got), width, height, element))

    row("cuMemAllocPitch_v2", situation, "INVALID_VALUE", bad_pitch)
row(
    "cuMemAllocPitch_v2",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemAllocPitch_v2(byref(c_uint64()), None, 16, 4, 4),
)


@parity("cuMemGetInfo_v2", "NULL outputs: not wanted")
def info(g: Any) -> int:
    free, total = c_size_t(), c_size_t()
    g.ok(g.cu.cuMemGetInfo_v2(byref(free), None))
    g.ok(g.cu.cuMemGetInfo_v2(None, byref(total)))
    assert 0 < free.value <= total.value
    return int(g.cu.cuMemGetInfo_v2(None, None))


row(
    "cuMemGetInfo_v2",
    "none is current",
    "INVALID_CONTEXT",
    lambda g: g.without_context(lambda: g.cu.cuMemGetInfo_v2(byref(c_size_t()), None)),
)

# ---- host memory ---------------------------------------------------------------------------------

HOST: dict[str, list[Any]] = {"cuMemHostAlloc": [0], "cuMemAllocHost_v2": []}
for symbol, flags in HOST.items():

    def nothing(g: Any, symbol: str = symbol, flags: list[Any] = flags) -> int:
        out = c_void_p(7)
        result = int(getattr(g.cu, symbol)(byref(out), 0, *flags))
        assert out.value is None
        return result

    def something(g: Any, symbol: str = symbol, flags: list[Any] = flags) -> int:
        address = g.made(getattr(g.cu, symbol), 100, *flags)
        ctypes.memset(address, 5, 100)
        return int(g.cu.cuMemFreeHost(address))

    def to_nowhere(g: Any, symbol: str = symbol, flags: list[Any] = flags) -> int:
        return int(getattr(g.cu, symbol)(None, 16, *flags))

    def without(g: Any, symbol: str = symbol, flags: list[Any] = flags) -> int:
        call = getattr(g.cu, symbol)
        return int(g.without_context(lambda: call(byref(c_void_p()), 16, *flags)))

    row(symbol, "0 bytes: NULL", "SUCCESS", nothing)
    row(symbol, "some bytes", "SUCCESS", something)
    row(symbol, "NULL output", "INVALID_VALUE", to_nowhere)
    row(symbol, "none is current", "INVALID_CONTEXT", without)

row(
    "cuMemHostAlloc",
    "flags that there are not",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostAlloc(byref(c_void_p()), 16, 0x100),
)
row("cuMemFreeHost", "NULL", "SUCCESS", lambda g: g.cu.cuMemFreeHost(None))
row(
    "cuMemFreeHost",
    "pageable memory",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemFreeHost(addressof(g.host)),
)


@parity("cuMemFreeHost", "twice", "INVALID_VALUE")
def free_host_twice(g: Any) -> int:
    address = g.made(g.cu.cuMemHostAlloc, 100, 0)
    g.ok(g.cu.cuMemFreeHost(address))
    return int(g.cu.cuMemFreeHost(address))


row(
    "cuMemHostRegister_v2",
    "0 bytes",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostRegister_v2(addressof(g.host), 0, 0),
)
row(
    "cuMemHostRegister_v2",
    "NULL",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostRegister_v2(None, 4096, 0),
)
row(
    "cuMemHostRegister_v2",
    "flags that there are not",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostRegister_v2(addressof(g.host), 4096, 0x100),
)
for register_flags, name in ((0, "memory"), (1, "PORTABLE"), (2, "DEVICEMAP"), (8, "READ_ONLY")):
    row(
        "cuMemHostRegister_v2",
        f"{name}: not supported here, as the attribute says",
        "NOT_SUPPORTED",
        lambda g, flags=register_flags: g.cu.cuMemHostRegister_v2(addressof(g.host), 4096, flags),
    )
row(
    "cuMemHostUnregister",
    "what was never registered",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostUnregister(addressof(g.host)),
)
row("cuMemHostUnregister", "NULL", "INVALID_VALUE", lambda g: g.cu.cuMemHostUnregister(None))

# ---- what a pointer points to --------------------------------------------------------------------


@parity("cuMemHostGetDevicePointer_v2", "memory of cuMemHostAlloc: the same address")
def device_pointer(g: Any) -> int:
    return 0 if g.made(g.cu.cuMemHostGetDevicePointer_v2, g.pinned, 0) == g.pinned else 1


row(
    "cuMemHostGetDevicePointer_v2",
    "pageable memory",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostGetDevicePointer_v2(byref(c_uint64()), addressof(g.host), 0),
)
row(
    "cuMemHostGetDevicePointer_v2",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostGetDevicePointer_v2(None, g.pinned, 0),
)
row(
    "cuMemHostGetDevicePointer_v2",
    "flags",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostGetDevicePointer_v2(byref(c_uint64()), g.pinned, 1),
)
row(
    "cuMemHostGetFlags",
    "memory of cuMemHostAlloc",
    "SUCCESS",
    lambda g: g.cu.cuMemHostGetFlags(byref(c_uint()), g.pinned),
)
row(
    "cuMemHostGetFlags",
    "pageable memory",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostGetFlags(byref(c_uint()), addressof(g.host)),
)
row(
    "cuMemHostGetFlags",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuMemHostGetFlags(None, g.pinned),
)


@parity("cuMemGetAddressRange_v2", "inside of an allocation; NULL outputs: not wanted")
def address_range(g: Any) -> int:
    base, size = c_uint64(), c_size_t()
    g.ok(g.cu.cuMemGetAddressRange_v2(byref(base), None, g.device + 77))
    g.ok(g.cu.cuMemGetAddressRange_v2(None, byref(size), g.device + 77))
    assert (base.value, size.value) == (g.device, g.BYTES)
    return int(g.cu.cuMemGetAddressRange_v2(None, None, g.device))


row(
    "cuMemGetAddressRange_v2",
    "no address of CUDA's",
    "NOT_FOUND",
    lambda g: g.cu.cuMemGetAddressRange_v2(byref(c_uint64()), None, 0x1234),
)


@parity("cuPointerGetAttribute", "the kind of memory")
def memory_type(g: Any) -> int:
    kind = c_uint()
    g.ok(g.cu.cuPointerGetAttribute(byref(kind), 2, g.pinned))
    assert kind.value == 1
    result = g.cu.cuPointerGetAttribute(byref(kind), 2, g.device)
    assert kind.value == 2
    return int(result)


row(
    "cuPointerGetAttribute",
    "pageable memory",
    "INVALID_VALUE",
    lambda g: g.cu.cuPointerGetAttribute(byref(c_uint()), 2, addressof(g.host)),
)
row(
    "cuPointerGetAttribute",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuPointerGetAttribute(None, 2, g.device),
)
row(
    "cuPointerGetAttribute",
    "an attribute that there is not",
    "INVALID_VALUE",
    lambda g: g.cu.cuPointerGetAttribute(byref(c_uint64()), 9999, g.device),
)


@parity("cuPointerGetAttributes", "pageable memory: zeros, and no error")
def attributes_of_any(g: Any) -> int:
    kind = c_uint(9)
    which, into = (c_uint * 1)(2), (c_void_p * 1)(addressof(kind))
    result = g.cu.cuPointerGetAttributes(1, which, into, addressof(g.host))
    assert kind.value == 0
    return int(result)


row(
    "cuPointerGetAttributes",
    "NULL arrays",
    "INVALID_VALUE",
    lambda g: g.cu.cuPointerGetAttributes(1, None, None, g.device),
)


@parity("cuPointerSetAttribute", "SYNC_MEMOPS: copies between device addresses wait, too")
@parity("cuMemcpyDtoD_v2", "memory with SYNC_MEMOPS: has happened")
def sync_memops(g: Any) -> int:
    address = g.made(g.cu.cuMemAlloc_v2, 4096)
    result = g.cu.cuPointerSetAttribute(byref(c_uint(1)), 6, address)
    g.spinning(20)
    g.ok(g.cu.cuMemcpyDtoD_v2(address, g.device, 4096))
    done = g.cu.cuStreamQuery(None)
    g.ok(g.cu.cuMemFree_v2(address))
    assert done == 0, "the copy has not happened yet"
    return int(result)


row(
    "cuPointerSetAttribute",
    "an attribute that cannot be set",
    "INVALID_VALUE",
    lambda g: g.cu.cuPointerSetAttribute(byref(c_uint(1)), 2, g.device),
)
row(
    "cuPointerSetAttribute",
    "pageable memory",
    "INVALID_VALUE",
    lambda g: g.cu.cuPointerSetAttribute(byref(c_uint(1)), 6, addressof(g.host)),
)

# ---- copies --------------------------------------------------------------------------------------

# Both sides by a function of the ground; `sync`: what NVIDIA's "API synchronization behavior" says
# of the host: the call returns only when the copy has happened.
DEVICE: Callable[[Any], int] = lambda g: int(g.device)  # noqa: E731
PINNED: Callable[[Any], int] = lambda g: int(g.pinned)  # noqa: E731
HOST_BLOCK: Callable[[Any], int] = lambda g: addressof(g.host)  # noqa: E731
LINEAR: dict[str, tuple[Callable[[Any], int], Callable[[Any], int], list[str]]] = {
    "cuMemcpy": (DEVICE, HOST_BLOCK, []),
    "cuMemcpyAsync": (DEVICE, HOST_BLOCK, ["stream"]),
    "cuMemcpyHtoD_v2": (DEVICE, HOST_BLOCK, []),
    "cuMemcpyDtoH_v2": (HOST_BLOCK, DEVICE, []),
    "cuMemcpyDtoD_v2": (DEVICE, DEVICE, []),
    "cuMemcpyHtoDAsync_v2": (DEVICE, HOST_BLOCK, ["stream"]),
    "cuMemcpyDtoHAsync_v2": (HOST_BLOCK, DEVICE, ["stream"]),
    "cuMemcpyDtoDAsync_v2": (DEVICE, DEVICE, ["stream"]),
}
for symbol, (dst, src, more) in LINEAR.items():

    def copy(
        g: Any,
        symbol: str = symbol,
        dst: Any = dst,
        src: Any = src,
        more: list[str] = more,
        size: int = 64,
    ) -> int:
        to = dst(g) + (1024 if dst is src else 0)
        return int(getattr(g.cu, symbol)(to, src(g), size, *(getattr(g, m) for m in more)))

    row(symbol, "some bytes", "SUCCESS", copy)
    row(symbol, "0 bytes", "SUCCESS", lambda g, copy=copy: copy(g, size=0))
    row(
        symbol,
        "0 bytes between NULLs",
        "SUCCESS",
        lambda g, copy=copy: copy(g, dst=lambda _: 0, src=lambda _: 0, size=0),
    )
    row(
        symbol,
        "beyond the end of an allocation",
        "INVALID_VALUE",
        lambda g, copy=copy: copy(g, size=g.BYTES + 1),
    )
    row(symbol, "to NULL", "INVALID_VALUE", lambda g, copy=copy: copy(g, dst=lambda _: 0))
    row(symbol, "from NULL", "INVALID_VALUE", lambda g, copy=copy: copy(g, src=lambda _: 0))
    if more:

        def on_nothing(g: Any, symbol: str = symbol, dst: Any = dst, src: Any = src) -> int:
            return int(getattr(g.cu, symbol)(dst(g), src(g), 4, g.gone_stream()))

        row(symbol, "a stream that is gone", "INVALID_HANDLE", on_nothing)
    else:

        def in_no_context(g: Any, symbol: str = symbol, dst: Any = dst, src: Any = src) -> int:
            return int(g.without_context(lambda: getattr(g.cu, symbol)(dst(g), src(g), 4)))

        row(symbol, "none is current", "INVALID_CONTEXT", in_no_context)


def has_happened(g: Any, symbol: str, dst: Any, src: Any, asynchronous: bool, size: int) -> int:
    """The result of a copy behind a kernel; its bytes must be there on return."""
    stream = g.stream if asynchronous else None
    view = (ctypes.c_ubyte * size).from_address(dst(g))
    ctypes.memset(dst(g), 0, size)
    if src is DEVICE:
        g.ok(g.cu.cuMemsetD8_v2(g.device, 3, size))
        g.ok(g.cu.cuCtxSynchronize())
    else:
        ctypes.memset(src(g), 3, size)
    g.spinning(20, stream)
    more = [g.stream] if asynchronous else []
    result = int(getattr(g.cu, symbol)(dst(g), src(g), size, *more))
    assert view[size - 1] == 3, "the copy has not happened yet"
    g.ok(g.cu.cuCtxSynchronize())
    return result


def second(g: Any) -> int:
    """Another place in the pinned block."""
    return int(g.pinned) + 32768


for symbol, dst, src, asynchronous, size, situation in (
    ("cuMemcpyDtoH_v2", HOST_BLOCK, DEVICE, False, 64, "to pageable memory: has happened"),
    ("cuMemcpyDtoH_v2", PINNED, DEVICE, False, 64, "to pinned memory: has happened"),
    ("cuMemcpyDtoHAsync_v2", HOST_BLOCK, DEVICE, True, 64, "to pageable memory: has happened"),
    ("cuMemcpy", PINNED, second, False, 64, "from pinned to pinned: has happened"),
    ("cuMemcpy", PINNED, HOST_BLOCK, False, 64, "from pageable to pinned: has happened"),
    ("cuMemcpy", PINNED, HOST_BLOCK, False, 60000, "much from pageable to pinned: has happened"),
    ("cuMemcpyAsync", PINNED, second, True, 64, "from pinned to pinned: has happened"),
    ("cuMemcpyAsync", PINNED, HOST_BLOCK, True, 64, "from pageable to pinned: has happened"),
    ("cuMemcpyAsync", HOST_BLOCK, PINNED, True, 64, "from pinned to pageable: has happened"),
):

    def happened(
        g: Any,
        symbol: str = symbol,
        dst: Any = dst,
        src: Any = src,
        asynchronous: bool = asynchronous,
        size: int = size,
    ) -> int:
        return has_happened(g, symbol, dst, src, asynchronous, size)

    row(symbol, situation, "SUCCESS", happened)


@parity("cuMemcpyHtoD_v2", "from pinned memory: has happened")
def pinned_upload(g: Any) -> int:
    g.spinning(20)
    result = g.cu.cuMemcpyHtoD_v2(g.device, g.pinned, 64)
    assert g.cu.cuStreamQuery(None) == 0, "the copy has not happened yet"
    return int(result)


for symbol, more in (("cuMemcpyPeer", []), ("cuMemcpyPeerAsync", ["stream"])):

    def peer(g: Any, symbol: str = symbol, more: list[str] = more, size: int = 64) -> int:
        rest = [getattr(g, m) for m in more]
        to, call = g.device + 1024, getattr(g.cu, symbol)
        return int(call(to, g.context, g.device, g.context, size, *rest))

    def no_peer(g: Any, symbol: str = symbol, more: list[str] = more) -> int:
        rest = [getattr(g, m) for m in more]
        return int(getattr(g.cu, symbol)(g.device, 12345, g.device, g.context, 64, *rest))

    row(symbol, "between a context and itself", "SUCCESS", peer)
    row(symbol, "0 bytes", "SUCCESS", lambda g, peer=peer: peer(g, size=0))
    row(symbol, "no context", "INVALID_CONTEXT", no_peer)


class Copy2D(ctypes.Structure):
    """CUDA_MEMCPY2D."""

    _fields_ = [
        *((f"src{n}", t) for n, t in (("X", c_size_t), ("Y", c_size_t), ("Type", c_int))),
        *(
            (f"src{n}", t)
            for n, t in (("Host", c_void_p), ("Device", c_uint64), ("Array", c_void_p))
        ),
        ("srcPitch", c_size_t),
        *((f"dst{n}", t) for n, t in (("X", c_size_t), ("Y", c_size_t), ("Type", c_int))),
        *(
            (f"dst{n}", t)
            for n, t in (("Host", c_void_p), ("Device", c_uint64), ("Array", c_void_p))
        ),
        ("dstPitch", c_size_t),
        ("width", c_size_t),
        ("height", c_size_t),
    ]


class Copy3D(ctypes.Structure):
    """CUDA_MEMCPY3D."""

    _fields_ = [
        *((f"src{n}", c_size_t) for n in ("X", "Y", "Z", "LOD")),
        ("srcType", c_int),
        *(
            (f"src{n}", c_uint64)
            for n in ("Host", "Device", "Array", "Reserved", "Pitch", "Height")
        ),
        *((f"dst{n}", c_size_t) for n in ("X", "Y", "Z", "LOD")),
        ("dstType", c_int),
        *(
            (f"dst{n}", c_uint64)
            for n in ("Host", "Device", "Array", "Reserved", "Pitch", "Height")
        ),
        ("width", c_size_t),
        ("height", c_size_t),
        ("depth", c_size_t),
    ]


BOXES: dict[str, tuple[type[ctypes.Structure], list[str]]] = {
    "cuMemcpy2D_v2": (Copy2D, []),
    "cuMemcpy2DUnaligned_v2": (Copy2D, []),
    "cuMemcpy2DAsync_v2": (Copy2D, ["stream"]),
    "cuMemcpy3D_v2": (Copy3D, []),
    "cuMemcpy3DAsync_v2": (Copy3D, ["stream"]),
}
for symbol, (struct, more) in BOXES.items():

    def box(
        g: Any,
        symbol: str = symbol,
        struct: Any = struct,
        more: list[str] = more,
        **changes: Any,
    ) -> int:
        fields = {
            "srcType": 1, "srcHost": addressof(g.host), "srcPitch": 64,
            "dstType": 2, "dstDevice": g.device, "dstPitch": 128, "width": 60, "height": 4,
        }  # fmt: skip
        if struct is Copy3D:
            fields |= {"srcHeight": 4, "dstHeight": 4, "depth": 2}
        return int(
            getattr(g.cu, symbol)(
                byref(struct(**(fields | changes))), *(getattr(g, m) for m in more)
            )
        )

    row(symbol, "rows from host to device", "SUCCESS", box)
    row(symbol, "rows of 0 bytes", "SUCCESS", lambda g, box=box: box(g, width=0))
    row(symbol, "0 rows", "SUCCESS", lambda g, box=box: box(g, height=0))
    row(
        symbol,
        "a pitch that is less than a row",
        "INVALID_VALUE",
        lambda g, box=box: box(g, dstPitch=8),
    )
    row(symbol, "no kind of memory", "INVALID_VALUE", lambda g, box=box: box(g, srcType=9))
    row(
        symbol,
        "NULL",
        "INVALID_VALUE",
        lambda g, symbol=symbol, more=more: getattr(g.cu, symbol)(
            None, *(getattr(g, m) for m in more)
        ),
    )


def batch(g: Any, symbol: str, count: int = 2, fail: bool = True, arrays: bool = True) -> int:
    """Two copies of 16 bytes each."""
    dsts, srcs = (c_uint64 * 2)(g.device, g.device + 64), (c_uint64 * 2)(g.pinned, g.pinned)
    sizes, which = (c_size_t * 2)(16, 16), (c_size_t * 2)(0, 0)
    attributes = (c_uint * 64)(1)
    more = [byref(c_size_t())] if fail else []
    return int(
        getattr(g.cu, symbol)(
            dsts if arrays else None, srcs, sizes, count, attributes, which, 1, *more, g.stream
        )
    )


for symbol, fail in (("cuMemcpyBatchAsync", True), ("cuMemcpyBatchAsync_v2", False)):
    row(symbol, "two copies", "SUCCESS", lambda g, s=symbol, f=fail: batch(g, s, fail=f))
    row(symbol, "none", "INVALID_VALUE", lambda g, s=symbol, f=fail: batch(g, s, 0, f))
    row(
        symbol,
        "NULL array",
        "INVALID_VALUE",
        lambda g, s=symbol, f=fail: batch(g, s, fail=f, arrays=False),
    )

# ---- memsets -------------------------------------------------------------------------------------

for bits in (8, 16, 32):
    unit = bits // 8
    for asynchronous in (False, True):
        more = ["stream"] if asynchronous else []
        flat = f"cuMemsetD{bits}Async" if asynchronous else f"cuMemsetD{bits}_v2"
        rows = f"cuMemsetD2D{bits}Async" if asynchronous else f"cuMemsetD2D{bits}_v2"

        def fill(
            g: Any, at: int | None = None, n: int = 16, symbol: str = flat, more: list[str] = more
        ) -> int:
            to = g.device if at is None else at
            return int(getattr(g.cu, symbol)(to, 1, n, *(getattr(g, m) for m in more)))

        def fill_rows(
            g: Any,
            at: int | None = None,
            size: tuple[int, int] = (4, 3),
            pitch: int = 64,
            symbol: str = rows,
            more: list[str] = more,
        ) -> int:
            to = g.device if at is None else at
            rest = [getattr(g, m) for m in more]
            return int(getattr(g.cu, symbol)(to, pitch, 1, *size, *rest))

        for symbol, one in ((flat, fill), (rows, fill_rows)):
            row(symbol, "some elements", "SUCCESS", one)
            row(
                symbol,
                "no address of CUDA's",
                "INVALID_VALUE",
                lambda g, one=one: one(g, at=addressof(g.host)),
            )
            row(symbol, "NULL", "INVALID_VALUE", lambda g, one=one: one(g, at=0))
            if unit > 1:
                row(
                    symbol,
                    "an address that is not aligned",
                    "INVALID_VALUE",
                    lambda g, one=one: one(g, at=g.device + 1),
                )
        row(flat, "0 elements", "SUCCESS", lambda g, f=fill: f(g, n=0))
        row(
            flat,
            "beyond the end of an allocation",
            "INVALID_VALUE",
            lambda g, f=fill, unit=unit: f(g, n=g.BYTES // unit + 1),
        )
        row(rows, "0 rows", "SUCCESS", lambda g, f=fill_rows: f(g, size=(4, 0)))
        row(rows, "rows of 0 elements", "SUCCESS", lambda g, f=fill_rows: f(g, size=(0, 4)))
        row(
            rows,
            "a pitch that is less than a row",
            "INVALID_VALUE",
            lambda g, f=fill_rows: f(g, size=(64, 4), pitch=4),
        )
        if asynchronous:
            continue

        def pinned(g: Any, one: Any) -> int:
            ctypes.memset(g.pinned, 0, 1024)
            g.spinning(20)
            result = one(g, at=g.pinned)
            assert g.bytes[0] == 1, "the memset has not happened yet"
            return int(result)

        for symbol, one in ((flat, fill), (rows, fill_rows)):
            row(
                symbol,
                "pinned memory: has happened",
                "SUCCESS",
                lambda g, one=one: pinned(g, one),
            )
