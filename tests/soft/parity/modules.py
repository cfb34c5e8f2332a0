"""Modules, libraries, functions, launches, occupancy."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable
from ctypes import addressof, byref, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from support.parity import parity, row

PTX = b".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry nothing() { ret; }\n"
WRONG = PTX.replace(b"ret;", b"fly;")
NO_VERSION = PTX.partition(b"\n")[2]
NO_IMAGE = b"\x01\x02\x03\x04 no image"


def load(g: Any, symbol: str, image: bytes | None, out: Any = None, unload: bool = True) -> int:
    """A load by one of the four functions that take memory; what it loaded is unloaded."""
    made = c_uint64()
    more: list[Any] = {"cuModuleLoadDataEx": [0, None, None]}.get(symbol, [])
    unloader = "cuModuleUnload"
    if symbol == "cuLibraryLoadData":
        more, unloader = [None, None, 0, None, None, 0], "cuLibraryUnload"
    result = int(getattr(g.cu, symbol)(byref(made) if out is None else None, image, *more))
    if not result and unload:
        return int(getattr(g.cu, unloader)(made.value))
    return result


for symbol in (
    "cuModuleLoadData",
    "cuModuleLoadDataEx",
    "cuModuleLoadFatBinary",
    "cuLibraryLoadData",
):
    for situation, image, documented in (
        ("PTX", PTX, "SUCCESS"),
        ("PTX that does not compile", WRONG, "INVALID_PTX"),
        ("text without `.version`", NO_VERSION, "INVALID_IMAGE"),
        ("no image", NO_IMAGE, "INVALID_IMAGE"),
        ("NULL image", None, "INVALID_VALUE"),
    ):
        row(symbol, situation, documented, lambda g, s=symbol, i=image: load(g, s, i))
    row(symbol, "NULL output", "INVALID_VALUE", lambda g, s=symbol: load(g, s, PTX, out=0))
    if symbol != "cuLibraryLoadData":
        row(
            symbol,
            "none is current",
            "INVALID_CONTEXT",
            lambda g, s=symbol: g.without_context(lambda: load(g, s, PTX)),
        )


def load_file(g: Any, symbol: str, image: bytes) -> int:
    """A load by one of the two functions that take a file's name."""
    more, unloader = [], "cuModuleUnload"
    if symbol == "cuLibraryLoadFromFile":
        more, unloader = [None, None, 0, None, None, 0], "cuLibraryUnload"
    made = c_uint64()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        if image:
            path.write_bytes(image)
        result = int(getattr(g.cu, symbol)(byref(made), str(path).encode(), *more))
    return result or int(getattr(g.cu, unloader)(made.value))


for symbol in ("cuModuleLoad", "cuLibraryLoadFromFile"):
    row(symbol, "a file with PTX", "SUCCESS", lambda g, s=symbol: load_file(g, s, PTX))
    row(symbol, "no file", "FILE_NOT_FOUND", lambda g, s=symbol: load_file(g, s, b""))
    row(
        symbol,
        "a file with no image",
        "INVALID_IMAGE",
        lambda g, s=symbol: load_file(g, s, NO_IMAGE),
    )

# ---- options of the compiler ---------------------------------------------------------------------

WALL_TIME, INFO, INFO_BYTES, ERROR, ERROR_BYTES = 2, 3, 4, 5, 6


def with_options(g: Any, image: bytes) -> tuple[int, bytes, int, bytes, int, float]:
    """Result, texts and sizes as told, milliseconds."""
    info, error = (ctypes.create_string_buffer(b"before", 2048) for _ in range(2))
    kinds = (c_int * 5)(WALL_TIME, INFO, INFO_BYTES, ERROR, ERROR_BYTES)
    values = (c_void_p * 5)(None, addressof(info), 2048, addressof(error), 2048)
    module = c_uint64()
    result = int(g.cu.cuModuleLoadDataEx(byref(module), image, 5, kinds, values))
    if not result:
        g.ok(g.cu.cuModuleUnload(module.value))
    wall_ms = ctypes.c_float.from_buffer(values).value
    return result, info.value, values[2] or 0, error.value, values[4] or 0, wall_ms


@parity("cuModuleLoadDataEx", "options: time, and logs with their sizes, are written back")
def options(g: Any) -> int:
    result, info, info_bytes, error, error_bytes, wall_ms = with_options(g, PTX)
    assert (len(info), error, error_bytes) == (info_bytes, b"", 0)
    assert 0 < wall_ms < 60_000
    return result


@parity("cuModuleLoadDataEx", "options of PTX that does not compile: why", "INVALID_PTX")
def options_of_wrong(g: Any) -> int:
    result, info, info_bytes, error, error_bytes, _ = with_options(g, WRONG)
    assert b"fly" in error
    assert (len(error), info, info_bytes) == (error_bytes, b"", 0)
    return result


@parity("cuModuleLoadDataEx", "options of no image: empty texts", "INVALID_IMAGE")
def options_of_nothing(g: Any) -> int:
    result, info, info_bytes, error, error_bytes, _ = with_options(g, NO_IMAGE)
    assert (info, info_bytes, error, error_bytes) == (b"", 0, b"", 0)
    return result


row(
    "cuModuleLoadDataEx",
    "an option that there is not",
    "INVALID_VALUE",
    lambda g: g.cu.cuModuleLoadDataEx(
        byref(c_uint64()), PTX, 1, (c_int * 1)(999), (c_void_p * 1)()
    ),
)
row(
    "cuModuleLoadDataEx",
    "options without values",
    "INVALID_VALUE",
    lambda g: g.cu.cuModuleLoadDataEx(byref(c_uint64()), PTX, 1, (c_int * 1)(2), None),
)

# ---- what is in them -----------------------------------------------------------------------------

HANDLE: dict[str, str] = {"cuModule": "module", "cuLibrary": "library"}


def gone(g: Any, kind: str) -> int:
    """The handle of a module or library that was unloaded."""
    made = c_uint64()
    more = [None, None, 0, None, None, 0] if kind == "cuLibrary" else []
    g.ok(getattr(g.cu, f"{kind}LoadData")(byref(made), PTX, *more))
    g.ok(getattr(g.cu, f"{kind}Unload")(made.value))
    return made.value


for kind, handle in HANDLE.items():
    item = "Kernel" if kind == "cuLibrary" else "Function"
    get, glob = (
        f"{kind}Get{item}",
        "cuLibraryGetGlobal" if item == "Kernel" else "cuModuleGetGlobal_v2",
    )
    count = f"{kind}Get{item}Count"
    each = f"{kind}Enumerate{item}s"

    def find(g: Any, call: str = get, handle: str = handle, name: Any = b"add_one") -> int:
        return int(getattr(g.cu, call)(byref(c_uint64()), getattr(g, handle), name))

    def variable(g: Any, call: str = glob, handle: str = handle, name: Any = b"counter") -> int:
        size = c_size_t()
        out = byref(c_uint64())
        result = int(getattr(g.cu, call)(out, byref(size), getattr(g, handle), name))
        assert result or size.value == 4
        return result

    def size_only(g: Any, call: str = glob, handle: str = handle) -> int:
        return int(getattr(g.cu, call)(None, byref(c_size_t()), getattr(g, handle), b"counter"))

    def counted(g: Any, call: str = count, handle: str = handle) -> int:
        number = c_uint()
        result = int(getattr(g.cu, call)(byref(number), getattr(g, handle)))
        assert number.value == 2
        return result

    def listed(g: Any, call: str = each, handle: str = handle) -> int:
        out = (c_uint64 * 2)()
        result = int(getattr(g.cu, call)(out, 2, getattr(g, handle)))
        assert all(out)
        return result

    for symbol, whole in ((get, find), (glob, variable)):
        row(symbol, "by name", "SUCCESS", whole)
        row(symbol, "no such name", "NOT_FOUND", lambda g, w=whole: w(g, name=b"nothing"))
        row(symbol, "NULL name", "INVALID_VALUE", lambda g, w=whole: w(g, name=None))
    row(glob, "NULL address: not wanted", "SUCCESS", size_only)
    row(
        get,
        "NULL output",
        "INVALID_VALUE",
        lambda g, c=get, h=handle: getattr(g.cu, c)(None, getattr(g, h), b"add_one"),
    )
    row(
        get,
        "what was unloaded",
        "INVALID_HANDLE",
        lambda g, c=get, k=kind: getattr(g.cu, c)(byref(c_uint64()), gone(g, k), b"add_one"),
    )
    row(count, "kernels", "SUCCESS", counted)
    row(
        count,
        "NULL output",
        "INVALID_VALUE",
        lambda g, c=count, h=handle: getattr(g.cu, c)(None, getattr(g, h)),
    )
    row(each, "kernels", "SUCCESS", listed)
    row(
        each,
        "NULL output",
        "INVALID_VALUE",
        lambda g, c=each, h=handle: getattr(g.cu, c)(None, 2, getattr(g, h)),
    )
    unload = f"{kind}Unload"
    row(unload, "what is loaded", "SUCCESS", lambda g, k=kind: 0 if gone(g, k) else 1)
    row(
        unload,
        "what was unloaded",
        "INVALID_HANDLE",
        lambda g, u=unload, k=kind: getattr(g.cu, u)(gone(g, k)),
    )

row(
    "cuLibraryGetModule",
    "of a library",
    "SUCCESS",
    lambda g: g.cu.cuLibraryGetModule(byref(c_uint64()), g.library),
)
row(
    "cuLibraryGetModule",
    "of a library that was unloaded",
    "INVALID_HANDLE",
    lambda g: g.cu.cuLibraryGetModule(byref(c_uint64()), gone(g, "cuLibrary")),
)
row(
    "cuLibraryGetModule",
    "NULL",
    "INVALID_VALUE",
    lambda g: g.cu.cuLibraryGetModule(None, g.library),
)

# ---- functions and kernels -----------------------------------------------------------------------

KERNEL = "kernel"
# A getter's arguments around the function or kernel: outputs before it, what follows it.
GETTERS: dict[str, tuple[list[Any], str, list[Any]]] = {
    "cuFuncGetAttribute": ([byref(c_int()), 0], "add_one", []),
    "cuKernelGetAttribute": ([byref(c_int()), 0], KERNEL, [0]),
    "cuFuncGetName": ([byref(c_void_p())], "add_one", []),
    "cuKernelGetName": ([byref(c_void_p())], KERNEL, []),
    "cuFuncGetModule": ([byref(c_void_p())], "add_one", []),
    "cuKernelGetFunction": ([byref(c_void_p())], KERNEL, []),
    "cuKernelGetLibrary": ([byref(c_void_p())], KERNEL, []),
    "cuFuncIsLoaded": ([byref(c_int())], "add_one", []),
}
for symbol, (outputs, handle, after) in GETTERS.items():

    def ask(
        g: Any,
        symbol: str = symbol,
        outputs: list[Any] = outputs,
        handle: str = handle,
        after: list[Any] = after,
        of: int | None = None,
    ) -> int:
        return int(getattr(g.cu, symbol)(*outputs, of or getattr(g, handle), *after))

    row(symbol, "a function", "SUCCESS", ask)
    row(symbol, "no function", "INVALID_HANDLE", lambda g, ask=ask: ask(g, of=0x1234))
    row(
        symbol,
        "NULL output",
        "INVALID_VALUE",
        lambda g, ask=ask, o=outputs: ask(g, outputs=[None, *o[1:]]),
    )

row("cuFuncLoad", "a function", "SUCCESS", lambda g: g.cu.cuFuncLoad(g.add_one))
row("cuFuncLoad", "no function", "INVALID_HANDLE", lambda g: g.cu.cuFuncLoad(0x1234))
row(
    "cuFuncGetAttribute",
    "an attribute that there is not",
    "INVALID_VALUE",
    lambda g: g.cu.cuFuncGetAttribute(byref(c_int()), 99, g.add_one),
)
row(
    "cuKernelGetAttribute",
    "a device that there is not",
    "INVALID_DEVICE",
    lambda g: g.cu.cuKernelGetAttribute(byref(c_int()), 0, g.kernel, 99),
)
for symbol, handle in (("cuFuncGetParamInfo", "add_one"), ("cuKernelGetParamInfo", KERNEL)):

    def param(g: Any, symbol: str = symbol, handle: str = handle) -> int:
        offset, size = c_size_t(), c_size_t()
        result = int(getattr(g.cu, symbol)(getattr(g, handle), 1, byref(offset), byref(size)))
        assert (offset.value, size.value) == (8, 4)
        return result

    row(symbol, "the second parameter", "SUCCESS", param)
    row(
        symbol,
        "NULL size: not wanted",
        "SUCCESS",
        lambda g, s=symbol, h=handle: getattr(g.cu, s)(getattr(g, h), 0, byref(c_size_t()), None),
    )
    row(
        symbol,
        "a parameter that there is not",
        "INVALID_VALUE",
        lambda g, s=symbol, h=handle: getattr(g.cu, s)(getattr(g, h), 2, byref(c_size_t()), None),
    )
    row(
        symbol,
        "NULL offset",
        "INVALID_VALUE",
        lambda g, s=symbol, h=handle: getattr(g.cu, s)(getattr(g, h), 0, None, None),
    )

DYNAMIC_SHARED = 8


def set_attribute(
    g: Any, of: int | None = None, which: int = DYNAMIC_SHARED, value: int = 1024
) -> int:
    return int(g.cu.cuFuncSetAttribute(of or g.add_one, which, value))


@parity("cuFuncSetAttribute", "dynamic shared memory: what cuFuncGetAttribute then gives")
def attribute_set(g: Any) -> int:
    value = c_int()
    result = set_attribute(g)
    g.ok(g.cu.cuFuncGetAttribute(byref(value), DYNAMIC_SHARED, g.add_one))
    assert value.value == 1024
    return result


for situation, changes, documented in (
    ("more shared memory than a block can have", {"value": 1 << 30}, "INVALID_VALUE"),
    ("an attribute that cannot be set", {"which": 0, "value": 32}, "INVALID_VALUE"),
    ("an attribute that there is not", {"which": 99}, "INVALID_VALUE"),
    ("no function", {"of": 0x1234}, "INVALID_HANDLE"),
):
    row("cuFuncSetAttribute", situation, documented, lambda g, c=changes: set_attribute(g, **c))
row(
    "cuKernelSetAttribute",
    "dynamic shared memory",
    "SUCCESS",
    lambda g: g.cu.cuKernelSetAttribute(DYNAMIC_SHARED, 1024, g.kernel, 0),
)
row(
    "cuKernelSetAttribute",
    "a device that there is not",
    "INVALID_DEVICE",
    lambda g: g.cu.cuKernelSetAttribute(DYNAMIC_SHARED, 1024, g.kernel, 99),
)
for symbol, handle, after in (
    ("cuFuncSetCacheConfig", "add_one", []),
    ("cuKernelSetCacheConfig", KERNEL, [0]),
    ("cuFuncSetSharedMemConfig", "add_one", []),
):

    def prefer(
        g: Any,
        symbol: str = symbol,
        handle: str = handle,
        after: list[Any] = after,
        config: int = 1,
        of: int | None = None,
    ) -> int:
        return int(getattr(g.cu, symbol)(of or getattr(g, handle), config, *after))

    row(symbol, "a preference", "SUCCESS", prefer)
    row(symbol, "none of CUDA's", "INVALID_VALUE", lambda g, p=prefer: p(g, config=9))
    row(symbol, "no function", "INVALID_HANDLE", lambda g, p=prefer: p(g, of=0x1234))

# ---- launches ------------------------------------------------------------------------------------


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        *((name, c_uint) for name in ("gx", "gy", "gz", "bx", "by", "bz", "shared")),
        ("stream", c_void_p),
        ("attributes", c_void_p),
        ("count", c_uint),
    ]


def launch(
    g: Any,
    symbol: str,
    grid: tuple[int, int, int] = (1, 1, 1),
    block: tuple[int, int, int] = (4, 1, 1),
    shared: int = 0,
    params: Any = 0,
    extra: Any = None,
    of: int | None = None,
    stream: int | None = None,
) -> int:
    """add_one on four words of device memory, by one of the functions that launch."""
    data, count = c_uint64(g.device), c_uint32(4)
    if params == 0:
        params = (c_void_p * 2)(addressof(data), addressof(count))
    function, on = of or g.add_one, stream or g.stream
    if symbol == "cuLaunchKernelEx":
        config = Config(*grid, *block, shared, on, None, 0)
        return int(g.cu.cuLaunchKernelEx(byref(config), function, params, extra))
    more = [extra] if symbol == "cuLaunchKernel" else []
    call = getattr(g.cu, symbol)
    return int(call(function, *grid, *block, shared, on, params, *more))


def adds_one(g: Any, call: Callable[[], int]) -> int:
    """The launch's result; the four words must have grown by one."""
    g.ok(g.cu.cuMemsetD32_v2(g.device, 41, 4))
    g.ok(g.cu.cuCtxSynchronize())
    result = call()
    words = (c_uint32 * 4)()
    g.ok(g.cu.cuCtxSynchronize())
    g.ok(g.cu.cuMemcpyDtoH_v2(words, g.device, 16))
    assert list(words) == [42] * 4
    return result


def buffer(*, of: bytes, size: int | None = None) -> tuple[Any, Any]:
    """`extra` with these parameters, and what has to live as long."""
    block = ctypes.create_string_buffer(of, max(len(of), 1))
    length = c_size_t(len(of) if size is None else size)
    return (c_void_p * 5)(1, addressof(block), 2, addressof(length), None), (block, length)


def by_buffer(g: Any, symbol: str, cut: int = 0) -> int:
    """The launch with its parameters in one buffer, `cut` bytes shorter than declared."""
    packed = bytes(c_uint64(g.device)) + bytes(c_uint32(4))
    extra, alive = buffer(of=packed[: len(packed) - cut])
    result = launch(g, symbol, params=None, extra=extra)
    assert alive
    return result


for symbol in ("cuLaunchKernel", "cuLaunchKernelEx", "cuLaunchCooperativeKernel"):
    row(
        symbol,
        "a kernel",
        "SUCCESS",
        lambda g, s=symbol: adds_one(g, lambda: launch(g, s)),
    )
    for situation, asked, documented in (
        ("a grid of 0 blocks", {"grid": (0, 1, 1)}, "INVALID_VALUE"),
        ("a block of 0 threads", {"block": (1, 0, 1)}, "INVALID_VALUE"),
        ("a block that is too large", {"block": (1024, 1024, 1)}, "INVALID_VALUE"),
        ("too much shared memory", {"shared": 1 << 30}, "INVALID_VALUE"),
        ("no parameters for a kernel that has some", {"params": None}, "INVALID_VALUE"),
        ("NULL among the parameters", {"params": (c_void_p * 2)()}, "INVALID_VALUE"),
        ("no function", {"of": 0x1234}, "INVALID_HANDLE"),
    ):
        row(symbol, situation, documented, lambda g, s=symbol, c=asked: launch(g, s, **c))
    row(
        symbol,
        "a stream that is gone",
        "INVALID_HANDLE",
        lambda g, s=symbol: launch(g, s, stream=g.gone_stream()),
    )
    if symbol == "cuLaunchCooperativeKernel":
        continue
    row(
        symbol,
        "parameters in one buffer",
        "SUCCESS",
        lambda g, s=symbol: adds_one(g, lambda: by_buffer(g, s)),
    )
    row(
        symbol,
        "a buffer shorter than the parameters: the rest is zero",
        "SUCCESS",
        lambda g, s=symbol: adds_one(g, lambda: by_buffer(g, s, cut=3)),
    )
    row(symbol, "a buffer of 0 bytes", "SUCCESS", lambda g, s=symbol: by_buffer(g, s, cut=12))
    row(
        symbol,
        "a buffer and an array of parameters",
        "INVALID_VALUE",
        lambda g, s=symbol: launch(g, s, extra=buffer(of=bytes(12))[0]),
    )
row(
    "cuLaunchKernelEx",
    "NULL configuration",
    "INVALID_VALUE",
    lambda g: g.cu.cuLaunchKernelEx(None, g.add_one, None, None),
)

# ---- occupancy -----------------------------------------------------------------------------------

for symbol, more in (
    ("cuOccupancyMaxPotentialBlockSize", []),
    ("cuOccupancyMaxPotentialBlockSizeWithFlags", [0]),
):

    def potential(g: Any, s: str = symbol, more: list[int] = more, of: int | None = None) -> int:
        grid, block = c_int(), c_int()
        result = int(
            getattr(g.cu, s)(byref(grid), byref(block), of or g.add_one, None, 0, 0, *more)
        )
        assert result or (grid.value > 0 and block.value > 0)
        return result

    row(symbol, "a function", "SUCCESS", potential)
    row(symbol, "no function", "INVALID_HANDLE", lambda g, p=potential: p(g, of=0x1234))
    row(
        symbol,
        "NULL output",
        "INVALID_VALUE",
        lambda g, s=symbol, m=more: getattr(g.cu, s)(
            None, byref(c_int()), g.add_one, None, 0, 0, *m
        ),
    )
