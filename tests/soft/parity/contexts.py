"""Primary contexts, contexts of a program's own, each thread's stack of them."""

from __future__ import annotations

from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from support.parity import parity, row


@parity("cuDevicePrimaryCtxGetState", "retained")
def primary_state(g: Any) -> int:
    flags, active = c_uint(), c_int()
    result = g.cu.cuDevicePrimaryCtxGetState(0, byref(flags), byref(active))
    assert active.value == 1
    return int(result)


@parity("cuDevicePrimaryCtxRelease_v2", "one retain of two")
def release_one(g: Any) -> int:
    g.made(g.cu.cuDevicePrimaryCtxRetain, 0)
    result = g.cu.cuDevicePrimaryCtxRelease_v2(0)
    g.ok(g.cu.cuCtxSynchronize())
    return int(result)


for symbol in ("cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxReset_v2"):
    row(
        symbol,
        "a device that there is not",
        "INVALID_DEVICE",
        lambda g, symbol=symbol: getattr(g.cu, symbol)(99),
    )
row(
    "cuDevicePrimaryCtxGetState",
    "a device that there is not",
    "INVALID_DEVICE",
    lambda g: g.cu.cuDevicePrimaryCtxGetState(99, byref(c_uint()), byref(c_int())),
)
row(
    "cuDevicePrimaryCtxGetState",
    "NULL output",
    "INVALID_VALUE",
    lambda g: g.cu.cuDevicePrimaryCtxGetState(0, None, byref(c_int())),
)
row(
    "cuDevicePrimaryCtxSetFlags_v2",
    "flags",
    "SUCCESS",
    lambda g: g.cu.cuDevicePrimaryCtxSetFlags_v2(0, 0),
)
row(
    "cuDevicePrimaryCtxSetFlags_v2",
    "flags that there are not",
    "INVALID_VALUE",
    lambda g: g.cu.cuDevicePrimaryCtxSetFlags_v2(0, 0x8000),
)
row("cuCtxSetFlags", "flags that there are not", "INVALID_VALUE", lambda g: g.cu.cuCtxSetFlags(3))
row("cuCtxSetFlags", "none", "SUCCESS", lambda g: g.cu.cuCtxSetFlags(0))


# ---- contexts of a program's own -----------------------------------------------------------------


@parity("cuCtxCreate_v2", "becomes current")
@parity("cuCtxDestroy_v2", "is no longer current")
def create(g: Any) -> int:
    before, now = c_void_p(), c_void_p()
    g.ok(g.cu.cuCtxGetCurrent(byref(before)))
    made = g.made(g.cu.cuCtxCreate_v2, 0, 0)
    g.ok(g.cu.cuCtxGetCurrent(byref(now)))
    assert now.value == made
    result = g.cu.cuCtxDestroy_v2(made)
    g.ok(g.cu.cuCtxGetCurrent(byref(now)))
    assert now.value == before.value
    return int(result)


@parity("cuCtxCreate_v2", "a hundred of them")
def many(g: Any) -> int:
    made = [g.made(g.cu.cuCtxCreate_v2, 0, 0) for _ in range(100)]
    try:
        assert len(set(made)) == 100
        address = g.made(g.cu.cuMemAlloc_v2, 16)
        return int(g.cu.cuMemFree_v2(address))
    finally:
        for context in reversed(made):
            g.ok(g.cu.cuCtxDestroy_v2(context))


@parity("cuCtxDestroy_v2", "what was destroyed", "INVALID_CONTEXT")
def destroyed(g: Any) -> int:
    made = g.made(g.cu.cuCtxCreate_v2, 0, 0)
    g.ok(g.cu.cuCtxDestroy_v2(made))
    return int(g.cu.cuCtxDestroy_v2(made))


@parity("cuCtxDestroy_v2", "a primary context", "INVALID_CONTEXT")
def destroy_primary(g: Any) -> int:
    return int(g.cu.cuCtxDestroy_v2(g.context))


CREATE: dict[str, list[Any]] = {
    "cuCtxCreate_v2": [],
    "cuCtxCreate_v3": [None, 0],
    "cuCtxCreate_v4": [None],
}
for symbol, between in CREATE.items():

    def created(g: Any, symbol: str = symbol, between: list[Any] = between) -> int:
        out = c_uint64()
        result = int(getattr(g.cu, symbol)(byref(out), *between, 0, 0))
        g.ok(g.cu.cuCtxDestroy_v2(out.value))
        return result

    def with_flags(g: Any, symbol: str = symbol, between: list[Any] = between) -> int:
        return int(getattr(g.cu, symbol)(byref(c_uint64()), *between, 0x8000, 0))

    def on_no_device(g: Any, symbol: str = symbol, between: list[Any] = between) -> int:
        return int(getattr(g.cu, symbol)(byref(c_uint64()), *between, 0, 99))

    def to_nowhere(g: Any, symbol: str = symbol, between: list[Any] = between) -> int:
        return int(getattr(g.cu, symbol)(None, *between, 0, 0))

    row(symbol, "device 0", "SUCCESS", created)
    row(symbol, "flags that there are not", "INVALID_VALUE", with_flags)
    row(symbol, "a device that there is not", "INVALID_DEVICE", on_no_device)
    row(symbol, "NULL output", "INVALID_VALUE", to_nowhere)


@parity("cuCtxAttach", "counts")
@parity("cuCtxDetach", "ends what is counted no more")
def attach(g: Any) -> int:
    made = g.made(g.cu.cuCtxCreate_v2, 0, 0)
    again = g.made(g.cu.cuCtxAttach, 0)
    assert again == made
    g.ok(g.cu.cuCtxDetach(made))
    g.ok(g.cu.cuCtxSynchronize())
    result = g.cu.cuCtxDetach(made)
    assert g.cu.cuCtxDestroy_v2(made) == 201
    return int(result)


row("cuCtxAttach", "flags", "INVALID_VALUE", lambda g: g.cu.cuCtxAttach(byref(c_uint64()), 1))
row("cuCtxAttach", "NULL output", "INVALID_VALUE", lambda g: g.cu.cuCtxAttach(None, 0))
row("cuCtxDetach", "not current", "INVALID_CONTEXT", lambda g: g.cu.cuCtxDetach(12345))

# ---- the thread's stack --------------------------------------------------------------------------


@parity("cuCtxPushCurrent_v2", "a context")
@parity("cuCtxPopCurrent_v2", "gives what was pushed")
def push_pop(g: Any) -> int:
    g.ok(g.cu.cuCtxPushCurrent_v2(g.context))
    return 0 if g.made(g.cu.cuCtxPopCurrent_v2) == g.context else 1


@parity("cuCtxPopCurrent_v2", "NULL output: popped all the same")
def pop_nowhere(g: Any) -> int:
    g.ok(g.cu.cuCtxPushCurrent_v2(g.context))
    return int(g.cu.cuCtxPopCurrent_v2(None))


row(
    "cuCtxPopCurrent_v2",
    "an empty stack",
    "INVALID_CONTEXT",
    lambda g: g.without_context(lambda: g.cu.cuCtxPopCurrent_v2(byref(c_uint64()))),
)
row(
    "cuCtxPushCurrent_v2",
    "no context",
    "INVALID_CONTEXT",
    lambda g: g.cu.cuCtxPushCurrent_v2(12345),
)
row("cuCtxSetCurrent", "no context", "INVALID_CONTEXT", lambda g: g.cu.cuCtxSetCurrent(12345))
row(
    "cuCtxSetCurrent",
    "NULL: none is current",
    "SUCCESS",
    lambda g: g.without_context(lambda: g.cu.cuCtxSetCurrent(None)),
)
row("cuCtxGetCurrent", "NULL output", "INVALID_VALUE", lambda g: g.cu.cuCtxGetCurrent(None))


@parity("cuCtxGetCurrent", "none is current: NULL")
def current_of_none(g: Any) -> int:
    out = c_void_p(1)
    result = g.without_context(lambda: g.cu.cuCtxGetCurrent(byref(out)))
    assert out.value is None
    return int(result)


# ---- what a context remembers --------------------------------------------------------------------

OUTPUTS: dict[str, tuple[list[Any], list[Any]]] = {
    "cuCtxGetDevice": ([byref(c_int())], [None]),
    "cuCtxGetDevice_v2": ([byref(c_int()), None], [None, None]),
    "cuCtxGetId": ([None, byref(c_uint64())], [None, None]),
    "cuCtxGetApiVersion": ([None, byref(c_uint())], [None, None]),
    "cuCtxGetFlags": ([byref(c_uint())], [None]),
    "cuCtxGetLimit": ([byref(c_size_t()), 0], [None, 0]),
    "cuCtxGetCacheConfig": ([byref(c_int())], [None]),
    "cuCtxGetSharedMemConfig": ([byref(c_int())], [None]),
}
for symbol, (whole, empty) in OUTPUTS.items():

    def get(g: Any, symbol: str = symbol, arguments: list[Any] = whole) -> int:
        return int(getattr(g.cu, symbol)(*arguments))

    def get_nowhere(g: Any, symbol: str = symbol, arguments: list[Any] = empty) -> int:
        return int(getattr(g.cu, symbol)(*arguments))

    def get_without(g: Any, symbol: str = symbol, arguments: list[Any] = whole) -> int:
        return int(g.without_context(lambda: getattr(g.cu, symbol)(*arguments)))

    row(symbol, "of the current context", "SUCCESS", get)
    row(symbol, "NULL output", "INVALID_VALUE", get_nowhere)
    row(symbol, "none is current", "INVALID_CONTEXT", get_without)


@parity("cuCtxSetLimit", "what cuCtxGetLimit then gives")
def limit(g: Any) -> int:
    out = c_size_t()
    result = g.cu.cuCtxSetLimit(0, 4096)
    g.ok(g.cu.cuCtxGetLimit(byref(out), 0))
    assert out.value >= 4096
    return int(result)


row(
    "cuCtxSetLimit",
    "a limit that there is not",
    "INVALID_VALUE",
    lambda g: g.cu.cuCtxSetLimit(99, 1),
)
row(
    "cuCtxGetLimit",
    "a limit that there is not",
    "INVALID_VALUE",
    lambda g: g.cu.cuCtxGetLimit(byref(c_size_t()), 99),
)
row("cuCtxSetCacheConfig", "prefer L1", "SUCCESS", lambda g: g.cu.cuCtxSetCacheConfig(2))
row("cuCtxSetCacheConfig", "none of CUDA's", "INVALID_VALUE", lambda g: g.cu.cuCtxSetCacheConfig(9))
row("cuCtxSetSharedMemConfig", "8-byte banks", "SUCCESS", lambda g: g.cu.cuCtxSetSharedMemConfig(2))
row(
    "cuCtxSetSharedMemConfig",
    "none of CUDA's",
    "INVALID_VALUE",
    lambda g: g.cu.cuCtxSetSharedMemConfig(9),
)


@parity("cuCtxGetStreamPriorityRange", "NULL outputs: not wanted")
def priority_range(g: Any) -> int:
    least, greatest = c_int(-99), c_int(-99)
    g.ok(g.cu.cuCtxGetStreamPriorityRange(byref(least), None))
    g.ok(g.cu.cuCtxGetStreamPriorityRange(None, byref(greatest)))
    assert least.value >= greatest.value > -99
    return int(g.cu.cuCtxGetStreamPriorityRange(None, None))


row(
    "cuCtxResetPersistingL2Cache",
    "any time",
    "SUCCESS",
    lambda g: g.cu.cuCtxResetPersistingL2Cache(),
)
row(
    "cuCtxGetExecAffinity",
    "not supported by the device",
    "UNSUPPORTED_EXEC_AFFINITY",
    lambda g: g.cu.cuCtxGetExecAffinity(byref((c_uint * 8)()), 0),
)
row(
    "cuCtxEnablePeerAccess",
    "no context",
    "INVALID_CONTEXT",
    lambda g: g.cu.cuCtxEnablePeerAccess(None, 0),
)
row(
    "cuCtxEnablePeerAccess",
    "devices that cannot",
    "PEER_ACCESS_UNSUPPORTED",
    lambda g: g.cu.cuCtxEnablePeerAccess(g.context, 0),
)
row(
    "cuCtxEnablePeerAccess",
    "flags",
    "INVALID_VALUE",
    lambda g: g.cu.cuCtxEnablePeerAccess(g.context, 1),
)
row(
    "cuCtxDisablePeerAccess",
    "what was not enabled",
    "PEER_ACCESS_NOT_ENABLED",
    lambda g: g.cu.cuCtxDisablePeerAccess(g.context),
)
row(
    "cuCtxDisablePeerAccess",
    "no context",
    "INVALID_CONTEXT",
    lambda g: g.cu.cuCtxDisablePeerAccess(12345),
)
for symbol, arguments in (("cuCtxSynchronize", []), ("cuCtxSynchronize_v2", [None])):

    def synchronize(g: Any, symbol: str = symbol, arguments: list[Any] = arguments) -> int:
        g.spinning(20, g.stream)
        result = int(getattr(g.cu, symbol)(*arguments))
        assert g.cu.cuStreamQuery(g.stream) == 0, "work is still running"
        return result

    def synchronize_nothing(g: Any, symbol: str = symbol, arguments: list[Any] = arguments) -> int:
        return int(g.without_context(lambda: getattr(g.cu, symbol)(*arguments)))

    row(symbol, "waits for all streams", "SUCCESS", synchronize)
    row(symbol, "none is current", "INVALID_CONTEXT", synchronize_nothing)
row(
    "cuCtxSynchronize_v2",
    "no context",
    "INVALID_CONTEXT",
    lambda g: g.cu.cuCtxSynchronize_v2(12345),
)
