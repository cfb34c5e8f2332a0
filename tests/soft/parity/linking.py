"""The driver's linker."""

from __future__ import annotations

import ctypes
import tempfile
from ctypes import addressof, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from support.parity import parity, row

HEAD = b".version 7.0\n.target sm_70\n.address_size 64\n"
FIRST = HEAD + b".visible .entry first() { ret; }\n"
SECOND = HEAD + b".visible .entry second() { ret; }\n"
LATER = FIRST.replace(b"sm_70", b"sm_121")
NO_IMAGE = b"\x01\x02\x03\x04 no image"
GARBAGE = 0x1234
CUBIN, TEXT, FATBINARY, OBJECT, LIBRARY, NVVM = range(6)  # CUjitInputType
WALL_TIME, INFO, INFO_BYTES, ERROR, ERROR_BYTES = 2, 3, 4, 5, 6


def made(g: Any, symbol: str = "cuLinkCreate_v2") -> int:
    out = c_uint64()
    g.ok(getattr(g.cu, symbol)(0, None, None, byref(out)))
    return out.value


def gone(g: Any) -> int:
    """The handle of a link that was destroyed."""
    link = made(g)
    g.ok(g.cu.cuLinkDestroy(link))
    return link


def fatbin(architecture: int, kind: int = 1) -> bytes:
    """Of one entry, PTX or machine code."""
    payload = FIRST + bytes(-len(FIRST) % 8)
    entry = b"".join(
        number.to_bytes(size, "little")
        for number, size in (
            (kind, 2), (0x101, 2), (64, 4), (len(payload), 8), (0, 12), (architecture, 4),
            (0, 8), (0x11, 8), (0, 16),
        )
    )  # fmt: skip
    entries = entry + payload
    return b"\x50\xed\x55\xba\x01\x00\x10\x00" + len(entries).to_bytes(8, "little") + entries


# ---- making --------------------------------------------------------------------------------------


def create(g: Any, kinds: Any = (), values: Any = (), count: int | None = None) -> int:
    link = c_uint64()
    options = (c_int * len(kinds))(*kinds) if kinds else None
    told = (c_void_p * len(values))(*values) if values else None
    result = g.cu.cuLinkCreate_v2(count or len(kinds), options, told, byref(link))
    return int(result or g.cu.cuLinkDestroy(link.value))


row("cuLinkCreate_v2", "no options", "SUCCESS", create)
row("cuLinkCreate_v2", "options", "SUCCESS", lambda g: create(g, (0, 7), (32, 3)))
row(
    "cuLinkCreate_v2",
    "an option that there is not",
    "INVALID_VALUE",
    lambda g: create(g, (99,), (0,)),
)
row("cuLinkCreate_v2", "options without values", "INVALID_VALUE", lambda g: create(g, (0,)))
row(
    "cuLinkCreate_v2",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuLinkCreate_v2(0, None, None, None),
)
row(
    "cuLinkCreate_v2",
    "none is current",
    "INVALID_CONTEXT",
    lambda g: g.without_context(lambda: create(g)),
)


@parity("cuLinkCreate_v2", "by its older name")
def older_names(g: Any) -> int:
    link = made(g, "cuLinkCreate")
    g.ok(g.cu.cuLinkAddData(link, TEXT, FIRST, len(FIRST), None, 0, None, None))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "second.ptx"
        path.write_bytes(SECOND)
        g.ok(g.cu.cuLinkAddFile(link, TEXT, str(path).encode(), 0, None, None))
    return int(g.cu.cuLinkDestroy(link))


row("cuLinkDestroy", "a link", "SUCCESS", lambda g: g.cu.cuLinkDestroy(made(g)))
row("cuLinkDestroy", "one that is gone", "INVALID_HANDLE", lambda g: g.cu.cuLinkDestroy(gone(g)))
row("cuLinkDestroy", "no link", "INVALID_HANDLE", lambda g: g.cu.cuLinkDestroy(GARBAGE))
row("cuLinkDestroy", "NULL", "INVALID_HANDLE", lambda g: g.cu.cuLinkDestroy(None))

# ---- inputs --------------------------------------------------------------------------------------


def add(g: Any, kind: int, data: bytes | None, size: int | None = None) -> int:
    """The result of one input, given to a link of its own."""
    link = made(g)
    bytes_ = len(data or b"") if size is None else size
    result = g.cu.cuLinkAddData_v2(link, kind, data, bytes_, b"input", 0, None, None)
    g.ok(g.cu.cuLinkDestroy(link))
    return int(result)


def add_file(g: Any, kind: int, data: bytes | None) -> int:
    link = made(g)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        if data is not None:
            path.write_bytes(data)
        result = g.cu.cuLinkAddFile_v2(link, kind, str(path).encode(), 0, None, None)
    g.ok(g.cu.cuLinkDestroy(link))
    return int(result)


for symbol, given in (("cuLinkAddData_v2", add), ("cuLinkAddFile_v2", add_file)):
    for situation, kind, data, documented in (
        ("PTX", TEXT, FIRST, "SUCCESS"),
        ("PTX after a comment", TEXT, b"// one\n/* two */" + FIRST, "SUCCESS"),
        ("no PTX", TEXT, b"hello", "INVALID_PTX"),
        ("PTX for a later device", TEXT, LATER, "INVALID_PTX"),
        ("a fatbin", FATBINARY, fatbin(70), "SUCCESS"),
        ("a fatbin with PTX for a later device", FATBINARY, fatbin(121), "NO_BINARY_FOR_GPU"),
        ("a fatbin with another's machine code", FATBINARY, fatbin(70, 2), "NO_BINARY_FOR_GPU"),
        ("half a fatbin", FATBINARY, fatbin(70)[:100], "INVALID_IMAGE"),
        ("no cubin", CUBIN, NO_IMAGE, "INVALID_IMAGE"),
        ("no object file", OBJECT, NO_IMAGE, "INVALID_IMAGE"),
        ("no archive", LIBRARY, NO_IMAGE, "INVALID_IMAGE"),
        ("an empty archive", LIBRARY, b"!<arch>\n", "SUCCESS"),
        ("an archive that is cut short", LIBRARY, b"!<arch>\n" + b"1" * 60, "INVALID_IMAGE"),
        ("a kind of input that there is not", 6, FIRST, "INVALID_VALUE"),
        ("NVVM code (link-time optimisation)", NVVM, FIRST, "NOT_SUPPORTED"),
    ):
        row(symbol, situation, documented, lambda g, f=given, k=kind, d=data: f(g, k, d))

row("cuLinkAddData_v2", "NULL data", "INVALID_VALUE", lambda g: add(g, TEXT, None, 8))
row("cuLinkAddData_v2", "zero bytes", "INVALID_VALUE", lambda g: add(g, TEXT, FIRST, 0))
row("cuLinkAddFile_v2", "no file", "FILE_NOT_FOUND", lambda g: add_file(g, TEXT, None))
for situation, handle in (("one that is gone", gone), ("no link", lambda g: GARBAGE)):
    row(
        "cuLinkAddData_v2",
        situation,
        "INVALID_HANDLE",
        lambda g, h=handle: g.cu.cuLinkAddData_v2(
            h(g), TEXT, FIRST, len(FIRST), None, 0, None, None
        ),
    )
    row(
        "cuLinkAddFile_v2",
        situation,
        "INVALID_HANDLE",
        lambda g, h=handle: g.cu.cuLinkAddFile_v2(h(g), TEXT, b"/dev/null", 0, None, None),
    )
    row(
        "cuLinkComplete",
        situation,
        "INVALID_HANDLE",
        lambda g, h=handle: g.cu.cuLinkComplete(h(g), byref(c_uint64()), None),
    )


@parity("cuLinkAddData_v2", "no PTX: the log of errors names the input and says why", "INVALID_PTX")
def told(g: Any) -> int:
    log = ctypes.create_string_buffer(b"before", 2048)
    kinds = (c_int * 3)(ERROR, ERROR_BYTES, WALL_TIME)
    values = (c_void_p * 3)(addressof(log), 2048, None)
    link = c_uint64()
    g.ok(g.cu.cuLinkCreate_v2(3, kinds, values, byref(link)))
    assert log.value == b""
    ctypes.memset(kinds, 0, ctypes.sizeof(kinds))  # the values are kept by the program, not these
    result = g.cu.cuLinkAddData_v2(link.value, TEXT, b"hello", 6, b"greeting", 0, None, None)
    assert log.value == b"greeting: no PTX: it does not begin with .version and .target\n"
    assert values[1] == len(log.value)
    g.ok(g.cu.cuLinkDestroy(link.value))
    return int(result)


# ---- the result ----------------------------------------------------------------------------------


def completed(g: Any, *texts: bytes) -> tuple[int, bytes, list[str]]:
    """Result, image, and names of the kernels in it."""
    link, image, size, module, count = made(g), c_void_p(), c_size_t(), c_uint64(), c_uint()
    for text in texts:
        g.ok(g.cu.cuLinkAddData_v2(link, TEXT, text, len(text), None, 0, None, None))
    result = int(g.cu.cuLinkComplete(link, byref(image), byref(size)))
    g.ok(g.cu.cuModuleLoadData(byref(module), image.value))
    bytes_ = ctypes.string_at(image.value or 0, size.value)
    g.ok(g.cu.cuLinkDestroy(link))
    g.ok(g.cu.cuModuleGetFunctionCount(byref(count), module.value))
    functions = (c_uint64 * count.value)()
    g.ok(g.cu.cuModuleEnumerateFunctions(functions, count.value, module.value))
    names = []
    for function in functions:
        name = c_char_p()
        g.ok(g.cu.cuFuncGetName(byref(name), function))
        names.append((name.value or b"").decode())
    g.ok(g.cu.cuModuleUnload(module.value))
    return result, bytes_, sorted(names)


@parity("cuLinkComplete", "two texts: an image with the kernels of both")
def two(g: Any) -> int:
    result, image, names = completed(g, FIRST, SECOND)
    assert image
    assert names == ["first", "second"]
    return result


@parity("cuLinkComplete", "one text")
def one(g: Any) -> int:
    result, image, names = completed(g, FIRST)
    assert image
    assert names == ["first"]
    return result


@parity("cuLinkComplete", "options: time, and logs with their sizes, are written back")
def options(g: Any) -> int:
    info, error = (ctypes.create_string_buffer(b"before", 2048) for _ in range(2))
    kinds = (c_int * 5)(WALL_TIME, INFO, INFO_BYTES, ERROR, ERROR_BYTES)
    values = (c_void_p * 5)(None, addressof(info), 2048, addressof(error), 2048)
    link = c_uint64()
    g.ok(g.cu.cuLinkCreate_v2(5, kinds, values, byref(link)))
    g.ok(g.cu.cuLinkAddData_v2(link.value, TEXT, FIRST, len(FIRST), None, 0, None, None))
    result = g.cu.cuLinkComplete(link.value, byref(c_uint64()), None)
    assert (info.value, values[2] or 0, error.value, values[4] or 0) == (b"", 0, b"", 0)
    assert 0 < ctypes.c_float.from_buffer(values).value < 60_000
    g.ok(g.cu.cuLinkDestroy(link.value))
    return int(result)


row("cuLinkComplete", "NULL size: not wanted", "SUCCESS", lambda g: complete(g, byref(c_uint64())))
row("cuLinkComplete", "NULL image", "INVALID_VALUE", lambda g: complete(g, None))


def complete(g: Any, image: Any) -> int:
    link = made(g)
    g.ok(g.cu.cuLinkAddData_v2(link, TEXT, FIRST, len(FIRST), None, 0, None, None))
    result = g.cu.cuLinkComplete(link, image, None)
    g.ok(g.cu.cuLinkDestroy(link))
    return int(result)
