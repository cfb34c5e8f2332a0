"""Streams and events."""

from __future__ import annotations

from ctypes import byref, c_float, c_int, c_uint, c_uint64, c_void_p
from typing import Any

from support.parity import parity, row

for symbol, more in (("cuStreamCreate", []), ("cuStreamCreateWithPriority", [0])):

    def create(g: Any, symbol: str = symbol, more: list[int] = more) -> int:
        return int(g.cu.cuStreamDestroy_v2(g.made(getattr(g.cu, symbol), 1, *more)))

    row(symbol, "non-blocking", "SUCCESS", create)
    row(
        symbol,
        "NULL output",
        "INVALID_VALUE",
        lambda g, s=symbol, more=more: getattr(g.cu, s)(None, 0, *more),
    )
    row(
        symbol,
        "flags that there are not",
        "INVALID_VALUE",
        lambda g, s=symbol, more=more: getattr(g.cu, s)(byref(c_uint64()), 8, *more),
    )
    row(
        symbol,
        "none is current",
        "INVALID_CONTEXT",
        lambda g, s=symbol, more=more: g.without_context(
            lambda: getattr(g.cu, s)(byref(c_uint64()), 0, *more)
        ),
    )


@parity("cuStreamCreateWithPriority", "a priority beyond the range: the nearest")
def far_priority(g: Any) -> int:
    least, got = c_int(), c_int(-99)
    g.ok(g.cu.cuCtxGetStreamPriorityRange(byref(least), None))
    stream = g.made(g.cu.cuStreamCreateWithPriority, 1, 1000)
    g.ok(g.cu.cuStreamGetPriority(stream, byref(got)))
    assert got.value == least.value
    return int(g.cu.cuStreamDestroy_v2(stream))


row(
    "cuStreamDestroy_v2",
    "a stream that is gone",
    "INVALID_HANDLE",
    lambda g: g.cu.cuStreamDestroy_v2(g.gone_stream()),
)
row("cuStreamDestroy_v2", "a stream", "SUCCESS", lambda g: 0 if g.gone_stream() else 1)


@parity("cuStreamSynchronize", "waits for the stream")
@parity("cuStreamQuery", "of work: not ready, and then")
def synchronize(g: Any) -> int:
    g.spinning(30, g.stream)
    assert g.cu.cuStreamQuery(g.stream) == 600
    g.ok(g.cu.cuStreamSynchronize(g.stream))
    return int(g.cu.cuStreamQuery(g.stream))


# ---- what a stream is ----------------------------------------------------------------------------

GETTERS: dict[str, tuple[list[Any], list[Any]]] = {
    "cuStreamGetPriority": ([byref(c_int())], [None]),
    "cuStreamGetFlags": ([byref(c_uint())], [None]),
    "cuStreamGetId": ([byref(c_uint64())], [None]),
    "cuStreamGetCtx": ([byref(c_void_p())], [None]),
    "cuStreamGetCtx_v2": ([byref(c_void_p()), byref(c_void_p())], [None, None]),
    "cuStreamGetGreenCtx": ([byref(c_void_p())], [None]),
    "cuStreamGetDevice": ([byref(c_int())], [None]),
    "cuStreamIsCapturing": ([byref(c_int())], [None]),
    "cuStreamGetCaptureInfo": ([byref(c_int()), None], [None, None]),
    "cuStreamGetCaptureInfo_v2": ([byref(c_int()), *[None] * 4], [None] * 5),
    "cuStreamGetCaptureInfo_v3": ([byref(c_int()), *[None] * 5], [None] * 6),
}
for symbol, (whole, empty) in GETTERS.items():

    def get(g: Any, symbol: str = symbol, out: list[Any] = whole, stream: int | None = None) -> int:
        return int(getattr(g.cu, symbol)(stream, *out))

    row(symbol, "of a stream", "SUCCESS", lambda g, get=get: get(g, stream=g.stream))
    row(symbol, "of the default stream", "SUCCESS", get)
    row(
        symbol,
        "of a stream that is gone",
        "INVALID_HANDLE",
        lambda g, get=get: get(g, stream=g.gone_stream()),
    )
    row(
        symbol,
        "NULL output",
        "INVALID_VALUE",
        lambda g, get=get, empty=empty: get(g, out=empty, stream=g.stream),
    )


@parity("cuThreadExchangeStreamCaptureMode", "gives what was set before")
def capture_mode(g: Any) -> int:
    mode = c_int(2)
    g.ok(g.cu.cuThreadExchangeStreamCaptureMode(byref(mode)))
    assert mode.value == 0
    result = g.cu.cuThreadExchangeStreamCaptureMode(byref(mode))
    assert mode.value == 2
    return int(result)


row(
    "cuThreadExchangeStreamCaptureMode",
    "NULL",
    "INVALID_VALUE",
    lambda g: g.cu.cuThreadExchangeStreamCaptureMode(None),
)
row(
    "cuThreadExchangeStreamCaptureMode",
    "none of CUDA's",
    "INVALID_VALUE",
    lambda g: g.cu.cuThreadExchangeStreamCaptureMode(byref(c_int(7))),
)

# ---- values in memory ----------------------------------------------------------------------------

for bits in (32, 64):

    def write(g: Any, at: int | None = None, bits: int = bits, stream: int | None = None) -> int:
        call = getattr(g.cu, f"cuStreamWriteValue{bits}_v2")
        return int(call(stream or g.stream, g.device if at is None else at, 5, 0))

    def wait(g: Any, at: int | None = None, bits: int = bits, stream: int | None = None) -> int:
        call = getattr(g.cu, f"cuStreamWaitValue{bits}_v2")
        return int(call(stream or g.stream, g.device if at is None else at, 5, 0))

    def written(g: Any, write: Any = write, wait: Any = wait) -> int:
        g.ok(write(g))
        g.ok(wait(g))
        return int(g.cu.cuStreamSynchronize(g.stream))

    row(f"cuStreamWaitValue{bits}_v2", "what was written: goes on", "SUCCESS", written)
    row(f"cuStreamWriteValue{bits}_v2", "device memory", "SUCCESS", written)
    for symbol, call in (
        (f"cuStreamWaitValue{bits}_v2", wait),
        (f"cuStreamWriteValue{bits}_v2", write),
    ):
        row(symbol, "NULL", "INVALID_VALUE", lambda g, call=call: call(g, at=0))
        row(
            symbol,
            "an address that is not aligned",
            "INVALID_VALUE",
            lambda g, call=call: call(g, at=g.device + 1),
        )
        row(
            symbol,
            "a stream that is gone",
            "INVALID_HANDLE",
            lambda g, call=call: call(g, stream=g.gone_stream()),
        )

# ---- events --------------------------------------------------------------------------------------

row("cuEventCreate", "NULL output", "INVALID_VALUE", lambda g: g.cu.cuEventCreate(None, 0))
row(
    "cuEventCreate",
    "flags that there are not",
    "INVALID_VALUE",
    lambda g: g.cu.cuEventCreate(byref(c_uint64()), 0x100),
)
row(
    "cuEventCreate",
    "INTERPROCESS without DISABLE_TIMING",
    "INVALID_VALUE",
    lambda g: g.cu.cuEventCreate(byref(c_uint64()), 4),
)
row(
    "cuEventCreate",
    "none is current",
    "INVALID_CONTEXT",
    lambda g: g.without_context(lambda: g.cu.cuEventCreate(byref(c_uint64()), 0)),
)
row("cuEventCreate", "an event", "SUCCESS", lambda g: 0 if g.gone_event() else 1)
row("cuEventDestroy_v2", "an event", "SUCCESS", lambda g: 0 if g.gone_event() else 1)
for symbol in ("cuEventDestroy_v2", "cuEventQuery", "cuEventSynchronize"):
    row(
        symbol,
        "an event that is gone",
        "INVALID_HANDLE",
        lambda g, s=symbol: getattr(g.cu, s)(g.gone_event()),
    )
    row(symbol, "NULL", "INVALID_HANDLE", lambda g, s=symbol: getattr(g.cu, s)(None))


def fresh(g: Any) -> int:
    """An event that was never recorded."""
    return int(g.made(g.cu.cuEventCreate, 0))


row("cuEventQuery", "never recorded", "SUCCESS", lambda g: g.cu.cuEventQuery(fresh(g)))
row("cuEventSynchronize", "never recorded", "SUCCESS", lambda g: g.cu.cuEventSynchronize(fresh(g)))


@parity("cuEventQuery", "recorded behind work: not ready", "NOT_READY")
@parity("cuEventRecord", "behind work", "NOT_READY")
def not_ready(g: Any) -> int:
    g.spinning(30, g.stream)
    g.ok(g.cu.cuEventRecord(g.event, g.stream))
    return int(g.cu.cuEventQuery(g.event))


@parity("cuEventSynchronize", "recorded behind work: waits")
def event_wait(g: Any) -> int:
    g.spinning(30, g.stream)
    g.ok(g.cu.cuEventRecord(g.event, g.stream))
    g.ok(g.cu.cuEventSynchronize(g.event))
    return int(g.cu.cuEventQuery(g.event))


for symbol, more in (("cuEventRecord", []), ("cuEventRecordWithFlags", [0])):
    row(
        symbol,
        "on a stream",
        "SUCCESS",
        lambda g, s=symbol, m=more: getattr(g.cu, s)(g.event, g.stream, *m),
    )
    row(
        symbol,
        "an event that is gone",
        "INVALID_HANDLE",
        lambda g, s=symbol, m=more: getattr(g.cu, s)(g.gone_event(), g.stream, *m),
    )
    row(
        symbol,
        "a stream that is gone",
        "INVALID_HANDLE",
        lambda g, s=symbol, m=more: getattr(g.cu, s)(g.event, g.gone_stream(), *m),
    )
row(
    "cuEventRecordWithFlags",
    "flags that there are not",
    "INVALID_VALUE",
    lambda g: g.cu.cuEventRecordWithFlags(g.event, g.stream, 8),
)


@parity("cuStreamWaitEvent", "waits on the device")
def stream_wait(g: Any) -> int:
    other = g.made(g.cu.cuStreamCreate, 1)
    g.spinning(30, g.stream)
    g.ok(g.cu.cuEventRecord(g.event, g.stream))
    g.ok(g.cu.cuStreamWaitEvent(other, g.event, 0))
    g.ok(g.cu.cuStreamSynchronize(other))
    g.ok(g.cu.cuStreamDestroy_v2(other))
    return int(g.cu.cuStreamQuery(g.stream))


row(
    "cuStreamWaitEvent",
    "never recorded",
    "SUCCESS",
    lambda g: g.cu.cuStreamWaitEvent(g.stream, fresh(g), 0),
)
row(
    "cuStreamWaitEvent",
    "an event that is gone",
    "INVALID_HANDLE",
    lambda g: g.cu.cuStreamWaitEvent(g.stream, g.gone_event(), 0),
)
row(
    "cuStreamWaitEvent",
    "flags that there are not",
    "INVALID_VALUE",
    lambda g: g.cu.cuStreamWaitEvent(g.stream, g.event, 8),
)


@parity("cuEventElapsedTime_v2", "between two records")
def elapsed(g: Any) -> int:
    start, end, milliseconds = fresh(g), fresh(g), c_float(-1)
    g.ok(g.cu.cuEventRecord(start, g.stream))
    g.spinning(10, g.stream)
    g.ok(g.cu.cuEventRecord(end, g.stream))
    g.ok(g.cu.cuEventSynchronize(end))
    result = g.cu.cuEventElapsedTime_v2(byref(milliseconds), start, end)
    assert milliseconds.value >= 9
    return int(result)


@parity("cuEventElapsedTime_v2", "not there yet", "NOT_READY")
def elapsed_early(g: Any) -> int:
    start, end = fresh(g), fresh(g)
    g.ok(g.cu.cuEventRecord(start, g.stream))
    g.spinning(30, g.stream)
    g.ok(g.cu.cuEventRecord(end, g.stream))
    return int(g.cu.cuEventElapsedTime_v2(byref(c_float()), start, end))


row(
    "cuEventElapsedTime_v2",
    "never recorded",
    "INVALID_HANDLE",
    lambda g: g.cu.cuEventElapsedTime_v2(byref(c_float()), g.event, fresh(g)),
)
row(
    "cuEventElapsedTime_v2",
    "created with DISABLE_TIMING",
    "INVALID_HANDLE",
    lambda g: g.cu.cuEventElapsedTime_v2(byref(c_float()), g.event, g.untimed),
)
row(
    "cuEventElapsedTime_v2",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuEventElapsedTime_v2(None, g.event, g.event),
)
for symbol in ("cuStreamSynchronize", "cuStreamQuery"):
    row(
        symbol,
        "a stream that is gone",
        "INVALID_HANDLE",
        lambda g, s=symbol: getattr(g.cu, s)(g.gone_stream()),
    )
    row(
        symbol,
        "the default stream, and none is current",
        "INVALID_CONTEXT",
        lambda g, s=symbol: g.without_context(lambda: getattr(g.cu, s)(None)),
    )
