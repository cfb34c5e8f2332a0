"""What test_shim_surface.py runs in processes of its own: `shim_client.py NAME ARGS`, JSON out."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from collections.abc import Callable
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

TABLES = {
    "cudart": "6bd5fb6c5bf4e74a8987d93912fd9df9",
    "hooks": "a094798c2e742e7493f20800200c0a66",
    "integrity": "d4082055bde6704b8d34ba123c66e1f2",
    "tools": "21318c60971432488ca641ff7324c8f2",
    "storage": "c693336e1121df11a8c368f355d89593",
}


def driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def address(function: Any) -> int | None:
    return ctypes.cast(function, c_void_p).value


def table(cuda: ctypes.CDLL, uuid: str) -> tuple[int, int | None]:
    pointer = c_void_p(1)
    result = cuda.cuGetExportTable(byref(pointer), bytes.fromhex(uuid))
    return result, pointer.value


def slot(cuda: ctypes.CDLL, name: str, index: int, *argtypes: Any) -> Any:
    _, base = table(cuda, TABLES[name])
    assert base is not None
    return ctypes.CFUNCTYPE(c_int, *argtypes)(c_void_p.from_address(base + 8 * index).value or 0)


def both_names() -> Any:
    plain, versioned = ctypes.CDLL("libcuda.so"), driver()
    version = c_int()
    assert plain.cuDriverGetVersion(byref(version)) == 0
    same = table(plain, TABLES["cudart"]) == table(versioned, TABLES["cudart"])
    return {"same_table": same, "version": version.value}


def get(cuda: ctypes.CDLL, name: str, version: int, flags: int) -> list[int | None]:
    pointer, status = c_void_p(1), c_int(-1)
    result = cuda.cuGetProcAddress_v2(
        name.encode(), byref(pointer), version, c_ulonglong(flags), byref(status)
    )
    return [result, pointer.value, status.value]


def look_up(rows: str) -> Any:
    cuda = driver()
    wrong = []
    for base, version, flags, symbol in json.loads(rows):
        found = get(cuda, base, version, flags)
        if found != [0, address(getattr(cuda, symbol)), 0]:
            wrong.append([base, version, flags, symbol, found])
    return wrong


def look_up_misses() -> Any:
    cuda = driver()
    names = ("cuMemAlloc_v2", "cuCtxCreate_v4")
    symbols = {address(getattr(cuda, name)): name for name in names}
    return {
        "unknown": get(cuda, "cuNoSuchThing", 13000, 0),
        "empty": get(cuda, "", 0, 0),
        "too_old": get(cuda, "cuLibraryLoadData", 11080, 0),
        "bad_flags": get(cuda, "cuInit", 13000, 64),
        "per_thread_of_plain": symbols.get(get(cuda, "cuMemAlloc", 13000, 2)[1]),
        "newer_than_all": symbols.get(get(cuda, "cuCtxCreate", 99000, 0)[1]),
    }


def before_init() -> Any:
    cuda = driver()
    number, pointer, text, text2 = c_int(), c_void_p(), c_char_p(), c_char_p()
    found: dict[str, Any] = {}
    assert cuda.cuDriverGetVersion(byref(number)) == 0
    found["version"] = number.value
    found["count"] = cuda.cuDeviceGetCount(byref(number))
    found["context"] = cuda.cuCtxGetCurrent(byref(pointer))
    found["alloc"] = cuda.cuMemAlloc_v2(byref(pointer), c_size_t(16))
    found["graph"] = cuda.cuGraphCreate(byref(pointer), 0)
    assert cuda.cuGetErrorName(500, byref(text)) == cuda.cuGetErrorString(500, byref(text2)) == 0
    found["names"] = [(text.value or b"").decode(), (text2.value or b"").decode()]
    found["bad_name"] = [cuda.cuGetErrorName(12345, byref(text)), text.value]
    found["init"] = cuda.cuInit(0)
    return found


def private_tables() -> Any:
    cuda = driver()
    sizes, null_slots = {}, 0
    for name, uuid in TABLES.items():
        _, base = table(cuda, uuid)
        assert base is not None
        if name == "storage":
            assert c_void_p.from_address(base + 24).value is None  # its end
            continue
        sizes[name] = (c_void_p.from_address(base).value or 0) // 8
        slots = [c_void_p.from_address(base + 8 * i).value for i in range(sizes[name])]
        null_slots += slots.count(None)
    unknown, base = table(cuda, "00112233445566778899aabbccddeeff")
    assert base is not None and table(cuda, "00112233445566778899aabbccddeeff")[1] == base
    stub = ctypes.CFUNCTYPE(c_int)(c_void_p.from_address(base + 40).value or 0)
    digest = ctypes.create_string_buffer(16)
    check = slot(cuda, "integrity", 1, c_uint, c_ulonglong, c_void_p)
    fixed = []
    for version in (12080, 12081):
        assert check(version, 0, digest) == 0
        fixed.append(digest.raw.hex())
    return {
        "sizes": sizes,
        "null_slots": null_slots,
        "refused": table(cuda, "da9151d33ae6cc41a5c04f26d533e328"),
        "unknown": [unknown, stub()],
        "storage_without_context": slot(cuda, "storage", 2, c_void_p, c_void_p, c_void_p)(
            byref(c_void_p()), None, c_void_p(8)
        ),
        "fixed": fixed,
    }


def init() -> Any:
    return driver().cuInit(0)


def cudart(path: str) -> Any:
    runtime = ctypes.CDLL(path)
    count, value, pointer = c_int(-1), c_int(-1), c_void_p()
    found: dict[str, Any] = {"count": [runtime.cudaGetDeviceCount(byref(count)), count.value]}
    properties = ctypes.create_string_buffer(4096)
    name = "cudaGetDeviceProperties_v2"
    get_properties = getattr(runtime, name, None) or runtime.cudaGetDeviceProperties
    result = get_properties(properties, 0)
    found["properties"] = [result, properties.value.decode()]
    found["attribute"] = [runtime.cudaDeviceGetAttribute(byref(value), 16, 0), value.value]
    found["malloc"] = runtime.cudaMalloc(byref(pointer), c_size_t(16))
    results: list[int] = []

    def in_thread() -> None:
        results.append(runtime.cudaSetDevice(0) or runtime.cudaFree(None))

    threads = [threading.Thread(target=in_thread) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found["threads"] = results
    return found


def started() -> ctypes.CDLL:
    cuda = driver()
    assert cuda.cuInit(0) == 0
    return cuda


def devices() -> Any:
    cuda = started()
    text = ctypes.create_string_buffer(64)
    found: dict[str, Any] = {}
    assert cuda.cuDeviceGetName(text, 64, 0) == 0
    found["name"] = text.value.decode()
    assert cuda.cuDeviceGetName(text, 4, 0) == 0
    found["short_name"] = text.value.decode()
    assert cuda.cuDeviceGetPCIBusId(text, 64, 0) == 0
    found["bus_id"] = text.value.decode()
    device = c_int(-1)
    spellings = (b"0000:01:00.0", b"0:1:0", b"01:00.0", b"0000:02:00.0", b"nonsense")
    found["by_bus_id"] = [cuda.cuDeviceGetByPCIBusId(byref(device), s) for s in spellings]
    uuid = ctypes.create_string_buffer(16)
    assert cuda.cuDeviceGetUuid_v2(uuid, 0) == 0
    found["uuid"] = uuid.raw.hex()
    wide, narrow = c_size_t(), c_uint()
    assert cuda.cuDeviceTotalMem_v2(byref(wide), 0) == cuda.cuDeviceTotalMem(byref(narrow), 0) == 0
    found["total"] = [wide.value, narrow.value]
    value = c_int()
    found["attributes"] = {}
    for attribute in (41, 83, 102, 115, 16):
        assert cuda.cuDeviceGetAttribute(byref(value), attribute, 0) == 0
        found["attributes"][attribute] = value.value
    found["bad"] = [
        cuda.cuDeviceGetAttribute(byref(value), 100000, 0),
        cuda.cuDeviceGetAttribute(byref(value), -1, 0),
        cuda.cuDeviceGetAttribute(byref(value), 1, 5),
        cuda.cuDeviceGet(byref(device), -1),
    ]
    return found


def current(cuda: ctypes.CDLL) -> int | None:
    context = c_void_p()
    assert cuda.cuCtxGetCurrent(byref(context)) == 0
    return context.value


def contexts() -> Any:
    cuda = started()
    invalid, destroyed = 201, 709
    primary, first, second, popped = c_void_p(), c_void_p(), c_void_p(), c_void_p()
    flags, active, device = c_uint(), c_int(), c_int()
    assert current(cuda) is None
    assert cuda.cuCtxGetDevice(byref(device)) == invalid
    # A primary context is counted, and usable only while it is retained.
    assert cuda.cuDevicePrimaryCtxGetState(0, byref(flags), byref(active)) == 0
    assert active.value == 0
    assert cuda.cuDevicePrimaryCtxRelease_v2(0) == invalid
    assert cuda.cuDevicePrimaryCtxRetain(byref(primary), 0) == 0
    assert cuda.cuDevicePrimaryCtxRetain(byref(popped), 0) == 0
    assert popped.value == primary.value
    assert cuda.cuCtxSetCurrent(primary) == 0 and current(cuda) == primary.value
    assert cuda.cuCtxGetDevice(byref(device)) == 0
    assert cuda.cuDevicePrimaryCtxRelease_v2(0) == 0
    assert cuda.cuCtxGetDevice(byref(device)) == 0
    assert cuda.cuDevicePrimaryCtxRelease_v2(0) == 0
    assert cuda.cuCtxGetDevice(byref(device)) == destroyed
    assert cuda.cuCtxDestroy_v2(primary) == invalid
    # Created contexts stack up, and a destroyed one is known to be gone.
    assert cuda.cuCtxCreate_v2(byref(first), 0, 0) == 0
    assert cuda.cuCtxCreate_v4(byref(second), None, 4, 0) == 0
    assert current(cuda) == second.value
    assert cuda.cuCtxGetFlags(byref(flags)) == 0 and flags.value == 4
    assert cuda.cuCtxPopCurrent_v2(byref(popped)) == 0 and popped.value == second.value
    assert current(cuda) == first.value
    assert cuda.cuCtxDestroy_v2(second) == 0
    assert cuda.cuCtxPushCurrent_v2(second) == invalid
    ids = [c_ulonglong(), c_ulonglong()]
    assert cuda.cuCtxGetId(first, byref(ids[0])) == cuda.cuCtxGetId(None, byref(ids[1])) == 0
    assert ids[0].value == ids[1].value > 0
    in_thread: list[int | None] = []
    thread = threading.Thread(target=lambda: in_thread.append(current(cuda)))
    thread.start()
    thread.join()
    assert in_thread == [None]  # stacks are the threads' own
    assert cuda.cuCtxDestroy_v2(first) == 0
    assert current(cuda) == primary.value
    # Made-up handles, flags and devices.
    for made_up in (0x1000, primary.value + 1 if primary.value else 1, 2**64 - 8):
        assert cuda.cuCtxSetCurrent(c_void_p(made_up)) == invalid
    assert cuda.cuCtxCreate_v2(byref(first), 3, 0) == cuda.cuCtxCreate_v2(None, 0, 0) == 1
    assert cuda.cuCtxCreate_v2(byref(first), 0, 9) == 101
    assert cuda.cuCtxSetCurrent(None) == 0 and current(cuda) is None
    assert cuda.cuCtxPopCurrent_v2(byref(popped)) == invalid
    # Neither slots nor the stack run over.
    made = 0
    while cuda.cuCtxCreate_v2(byref(first), 0, 0) == 0:
        made += 1
        assert made < 10000
    assert made >= 16 and cuda.cuCtxCreate_v2(byref(first), 0, 0) == 2
    # What was refused left no slot behind: each destroyed context makes room for one.
    for _ in range(3 * made):
        assert cuda.cuCtxGetCurrent(byref(first)) == cuda.cuCtxDestroy_v2(first) == 0
        assert cuda.cuCtxCreate_v2(byref(first), 0, 0) == 0
    # Attaching counts, for primary contexts too.
    assert cuda.cuCtxAttach(byref(second), 0) == 0 and second.value == first.value
    assert cuda.cuCtxDetach(first) == 0 and current(cuda) == first.value
    assert cuda.cuCtxDetach(first) == 0 and current(cuda) != first.value
    assert cuda.cuDevicePrimaryCtxRetain(byref(primary), 0) == cuda.cuCtxSetCurrent(primary) == 0
    assert cuda.cuCtxAttach(byref(second), 0) == cuda.cuCtxDetach(primary) == 0
    assert cuda.cuDevicePrimaryCtxRelease_v2(0) == 0
    assert cuda.cuDevicePrimaryCtxRelease_v2(0) == invalid
    return {}


def storage() -> Any:
    cuda = started()
    destructor_type = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
    put = slot(cuda, "storage", 0, c_void_p, c_void_p, c_void_p, destructor_type)
    delete = slot(cuda, "storage", 1, c_void_p, c_void_p)
    find = slot(cuda, "storage", 2, c_void_p, c_void_p, c_void_p)
    primary_of = slot(cuda, "cudart", 2, c_void_p, c_int)
    context, value = c_void_p(), c_void_p()
    gone: list[tuple[int, int]] = []
    destructor = destructor_type(lambda _, key, held: gone.append((key, held)))
    assert find(byref(value), None, c_void_p(8)) == 201
    assert primary_of(byref(context), 0) == 0
    assert find(byref(value), context, c_void_p(8)) == 400
    for key in range(1, 101):
        assert put(context, c_void_p(key * 8), c_void_p(key), destructor) == 0
    assert put(context, c_void_p(8), c_void_p(1000), destructor) == 0
    assert find(byref(value), context, c_void_p(8)) == 0 and value.value == 1000
    assert find(byref(value), context, c_void_p(800)) == 0 and value.value == 100
    assert delete(context, c_void_p(16)) == 0
    assert find(byref(value), context, c_void_p(16)) == delete(context, c_void_p(16)) == 400
    assert put(context, None, c_void_p(1), destructor) == 1
    held = c_void_p()
    assert cuda.cuDevicePrimaryCtxRetain(byref(held), 0) == 0 and held.value == context.value
    assert cuda.cuDevicePrimaryCtxReset_v2(0) == 0
    assert sorted(gone) == sorted([(8, 1000), *((k * 8, k) for k in range(3, 101))])
    assert find(byref(value), context, c_void_p(8)) == 400
    return {}


def fork() -> Any:
    cuda = started()
    context, count = c_void_p(), c_int()
    assert cuda.cuCtxCreate_v2(byref(context), 0, 0) == 0
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        found = {
            "before": cuda.cuCtxGetCurrent(byref(context)),
            "init": cuda.cuInit(0),
            "count": cuda.cuDeviceGetCount(byref(count)),
        }
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert current(cuda) == context.value
    return json.loads(os.read(reader, 1000))


def null_arguments(rows: str) -> Any:
    """Calls every symbol with zeroes in three states; which ones succeed without a context."""
    cuda = driver()
    symbols: list[list[Any]] = json.loads(rows)

    def call_all() -> list[str]:
        succeeded = []
        for symbol, count in symbols:
            if getattr(cuda, symbol)(*[c_void_p(None)] * count) == 0:
                succeeded.append(symbol)
        return succeeded

    before = call_all()  # cuInit(0) is among them
    after = call_all()
    context = c_void_p()
    for _ in range(3):
        assert cuda.cuCtxCreate_v2(byref(context), 0, 0) == 0
    call_all()
    return [before, after]


def unsupported() -> Any:
    cuda = started()
    return [cuda.cuGraphCreate(byref(c_void_p()), 0) for _ in range(3)]


SCRIPTS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        before_init,
        both_names,
        contexts,
        cudart,
        devices,
        fork,
        init,
        look_up,
        look_up_misses,
        null_arguments,
        private_tables,
        storage,
        unsupported,
    )
}

if __name__ == "__main__":
    json.dump(SCRIPTS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
