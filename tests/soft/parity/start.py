"""Errors, look-up, logs, cuInit, devices."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from support.parity import parity, row

for symbol, of_3 in (
    ("cuGetErrorName", b"CUDA_ERROR_NOT_INITIALIZED"),
    ("cuGetErrorString", b"initialization error"),
):

    def text_of(g: Any, symbol: str = symbol, of_3: bytes = of_3) -> int:
        text = c_char_p()
        result = int(getattr(g.cu, symbol)(3, byref(text)))
        assert text.value == of_3
        return result

    def text_of_nothing(g: Any, symbol: str = symbol) -> int:
        text = c_char_p(b"before")
        result = int(getattr(g.cu, symbol)(123456, byref(text)))
        assert text.value is None
        return result

    def no_text(g: Any, symbol: str = symbol) -> int:
        return int(getattr(g.cu, symbol)(3, None))

    row(symbol, "a result", "SUCCESS", text_of)
    row(symbol, "no result of CUDA's", "INVALID_VALUE", text_of_nothing)
    row(symbol, "NULL output", "INVALID_VALUE", no_text)

# ---- look-up -------------------------------------------------------------------------------------


@parity("cuGetProcAddress_v2", "a function")
def look_up(g: Any) -> int:
    found, status = c_void_p(), c_int(-1)
    result = g.cu.cuGetProcAddress_v2(b"cuMemAlloc", byref(found), 12000, 0, byref(status))
    assert found.value == ctypes.cast(g.cu.cuMemAlloc_v2, c_void_p).value
    assert status.value == 0
    return int(result)


@parity("cuGetProcAddress_v2", "no function of CUDA's", "NOT_FOUND")
def look_up_nothing(g: Any) -> int:
    found, status = c_void_p(1), c_int(-1)
    result = g.cu.cuGetProcAddress_v2(b"cuNothing", byref(found), 12000, 0, byref(status))
    assert (found.value, status.value) == (None, 1)
    return int(result)


@parity("cuGetProcAddress", "a function")
def look_up_first(g: Any) -> int:
    found = c_void_p()
    result = g.cu.cuGetProcAddress(b"cuMemAlloc", byref(found), 12000, 0)
    assert found.value == ctypes.cast(g.cu.cuMemAlloc_v2, c_void_p).value
    return int(result)


row(
    "cuGetProcAddress_v2",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuGetProcAddress_v2(b"cuInit", None, 12000, 0, None),
)
row(
    "cuGetProcAddress",
    "flags that there are not",
    "INVALID_VALUE",
    lambda g: g.cu.cuGetProcAddress(b"cuInit", byref(c_void_p()), 12000, 1 << 40),
)
row(
    "cuGetExportTable",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuGetExportTable(None, b"x" * 16),
)

# ---- logs ----------------------------------------------------------------------------------------

CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_size_t)(lambda *_: None)


@parity("cuLogsRegisterCallback", "a function")
@parity("cuLogsUnregisterCallback", "what was registered")
def log_callback(g: Any) -> int:
    handle = c_void_p()
    g.ok(g.cu.cuLogsRegisterCallback(ctypes.cast(CALLBACK, c_void_p), None, byref(handle)))
    return int(g.cu.cuLogsUnregisterCallback(handle))


@parity("cuLogsDumpToMemory", "a buffer")
def log_text(g: Any) -> int:
    buffer, size = ctypes.create_string_buffer(b"before", 64), c_size_t(64)
    result = g.cu.cuLogsDumpToMemory(None, buffer, byref(size), 0)
    assert (buffer.value, size.value) == (b"", 0)
    return int(result)


row("cuLogsCurrent", "the end", "SUCCESS", lambda g: g.cu.cuLogsCurrent(byref(c_uint()), 0))
row("cuLogsCurrent", "NULL output", "INVALID_VALUE", lambda g: g.cu.cuLogsCurrent(None, 0))
row(
    "cuLogsDumpToFile",
    "a file that cannot be written",
    "INVALID_VALUE",
    lambda g: g.cu.cuLogsDumpToFile(None, b"/nowhere/at/all", 0),
)
row(
    "cuLogsDumpToMemory",
    "NULL buffer",
    "INVALID_VALUE",
    lambda g: g.cu.cuLogsDumpToMemory(None, None, byref(c_size_t(9)), 0),
)
row(
    "cuLogsRegisterCallback",
    "NULL function",
    "INVALID_VALUE",
    lambda g: g.cu.cuLogsRegisterCallback(None, None, byref(c_void_p())),
)

# ---- cuInit and devices --------------------------------------------------------------------------

row("cuInit", "again", "SUCCESS", lambda g: g.cu.cuInit(0))
row("cuInit", "flags", "INVALID_VALUE", lambda g: g.cu.cuInit(1))
row("cuDriverGetVersion", "NULL output", "INVALID_VALUE", lambda g: g.cu.cuDriverGetVersion(None))


@parity("cuDriverGetVersion", "any time")
def version(g: Any) -> int:
    number = c_int()
    result = g.cu.cuDriverGetVersion(byref(number))
    assert number.value >= 12000
    return int(result)


@parity("cuDeviceGetCount", "devices")
def count(g: Any) -> int:
    number = c_int(-1)
    result = g.cu.cuDeviceGetCount(byref(number))
    assert number.value >= 1
    return int(result)


row("cuDeviceGetCount", "NULL output", "INVALID_VALUE", lambda g: g.cu.cuDeviceGetCount(None))

TEXT = ctypes.create_string_buffer(256)
ROOM = ctypes.create_string_buffer(1024)
# Functions of one device: what they are given before the device, with NULL for each output.
OF_DEVICE: dict[str, tuple[list[Any], list[Any]]] = {
    "cuDeviceGetName": ([TEXT, 256], [None, 256]),
    "cuDeviceGetUuid": ([ROOM], [None]),
    "cuDeviceGetUuid_v2": ([ROOM], [None]),
    "cuDeviceTotalMem_v2": ([byref(c_size_t())], [None]),
    "cuDeviceGetAttribute": ([byref(c_int()), 75], [None, 75]),
    "cuDeviceGetProperties": ([ROOM], [None]),
    "cuDeviceComputeCapability": ([byref(c_int()), byref(c_int())], [byref(c_int()), None]),
    "cuDeviceGetPCIBusId": ([TEXT, 256], [None, 256]),
    "cuDeviceGetExecAffinitySupport": ([byref(c_int()), 0], [None, 0]),
    "cuDeviceCanAccessPeer": ([byref(c_int()), 0], [None, 0]),
    "cuDevicePrimaryCtxRetain": ([byref(c_uint64())], [None]),
}
for symbol, (whole, empty) in OF_DEVICE.items():
    for situation, first, device, documented in (
        ("device 0", whole, 0, "SUCCESS"),
        ("device -1", whole, -1, "INVALID_DEVICE"),
        ("a device that there is not", whole, 99, "INVALID_DEVICE"),
        ("NULL output", empty, 0, "INVALID_VALUE"),
    ):

        def of_device(
            g: Any, symbol: str = symbol, first: list[Any] = first, device: int = device
        ) -> int:
            return int(getattr(g.cu, symbol)(*first, device))

        row(symbol, situation, documented, of_device)

row("cuDeviceGet", "NULL output", "INVALID_VALUE", lambda g: g.cu.cuDeviceGet(None, 0))
row("cuDeviceGet", "ordinal -1", "INVALID_DEVICE", lambda g: g.cu.cuDeviceGet(byref(c_int()), -1))
row("cuDeviceGet", "ordinal 0", "SUCCESS", lambda g: g.cu.cuDeviceGet(byref(c_int()), 0))
row(
    "cuDeviceGetAttribute",
    "an attribute that there is not",
    "INVALID_VALUE",
    lambda g: g.cu.cuDeviceGetAttribute(byref(c_int()), 100000, 0),
)
row(
    "cuDeviceGetAttribute",
    "attribute 0",
    "INVALID_VALUE",
    lambda g: g.cu.cuDeviceGetAttribute(byref(c_int()), 0, 0),
)
row(
    "cuDeviceGetLuid",
    "not on Windows",
    "NOT_SUPPORTED",
    lambda g: g.cu.cuDeviceGetLuid(ROOM, byref(c_uint()), 0),
)


@parity("cuDeviceGetAttribute", "HOST_REGISTER_SUPPORTED and what goes with it are 0 here")
def registered_attribute(g: Any) -> int:
    value = c_int(-1)
    for attribute in (91, 99, 113):
        g.ok(g.cu.cuDeviceGetAttribute(byref(value), attribute, 0))
        assert value.value == 0, attribute
    return 0


@parity("cuDeviceGetName", "a short buffer: cut, and ended by a NUL")
def short_name(g: Any) -> int:
    buffer = ctypes.create_string_buffer(b"#" * 8, 8)
    result = g.cu.cuDeviceGetName(buffer, 4, 0)
    assert buffer.raw[3:5] == b"\0#"
    return int(result)


@parity("cuDeviceGetByPCIBusId", "what cuDeviceGetPCIBusId gave")
def by_bus_id(g: Any) -> int:
    device = c_int(-1)
    g.ok(g.cu.cuDeviceGetPCIBusId(TEXT, 256, 0))
    result = g.cu.cuDeviceGetByPCIBusId(byref(device), TEXT.value)
    assert device.value == 0
    return int(result)


row(
    "cuDeviceGetByPCIBusId",
    "no bus id",
    "INVALID_VALUE",
    lambda g: g.cu.cuDeviceGetByPCIBusId(byref(c_int()), b"nonsense"),
)
row(
    "cuDeviceGetByPCIBusId",
    "of no device",
    "INVALID_DEVICE",
    lambda g: g.cu.cuDeviceGetByPCIBusId(byref(c_int()), b"00ff:fe:1d.7"),
)
row(
    "cuDeviceGetByPCIBusId",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuDeviceGetByPCIBusId(None, b"0000:01:00.0"),
)
row(
    "cuDeviceGetP2PAttribute",
    "a device and itself",
    "INVALID_DEVICE",
    lambda g: g.cu.cuDeviceGetP2PAttribute(byref(c_int()), 2, 0, 0),
)
row(
    "cuDeviceGetP2PAttribute",
    "an attribute that there is not",
    "INVALID_VALUE",
    lambda g: g.cu.cuDeviceGetP2PAttribute(byref(c_int()), 77, 0, 0),
)
row(
    "cuDeviceGetP2PAttribute",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuDeviceGetP2PAttribute(None, 2, 0, 0),
)
row("cuModuleGetLoadingMode", "NULL", "INVALID_VALUE", lambda g: g.cu.cuModuleGetLoadingMode(None))
row(
    "cuModuleGetLoadingMode",
    "lazy or eager",
    "SUCCESS",
    lambda g: g.cu.cuModuleGetLoadingMode(byref(c_int())),
)
row("cuProfilerStart", "no profiler", "SUCCESS", lambda g: g.cu.cuProfilerStart())
row("cuProfilerStop", "no profiler", "SUCCESS", lambda g: g.cu.cuProfilerStop())
row(
    "cuProfilerStart",
    "no context",
    "INVALID_CONTEXT",
    lambda g: g.without_context(g.cu.cuProfilerStart),
)
row(
    "cuProfilerInitialize",
    "since CUDA 12",
    "PROFILER_DISABLED",
    lambda g: g.cu.cuProfilerInitialize(b"a", b"b", 0),
)
