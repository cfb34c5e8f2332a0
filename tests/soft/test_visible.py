"""CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER, as CUDA documents them, on three devices."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from support.daemon import Daemon, read_line

pytestmark = pytest.mark.beside

NO_DEVICE = 100
PROGRAM = """
import ctypes, json, os
os.environ.update(json.loads(os.environ.get("LATE", "{}")))  # before cuInit is early enough
cuda = ctypes.CDLL("libcuda.so.1")
version, count, seen = ctypes.c_int(), ctypes.c_int(), []
cuda.cuDriverGetVersion(ctypes.byref(version))
result = cuda.cuInit(0)
if not result:
    cuda.cuDeviceGetCount(ctypes.byref(count))
for ordinal in range(count.value):
    uuid, context, free = (ctypes.c_ubyte * 16)(), ctypes.c_void_p(), ctypes.c_size_t()
    assert cuda.cuDeviceGetUuid_v2(uuid, ordinal) == 0
    assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), ordinal) == 0
    assert cuda.cuCtxSetCurrent(context) == 0
    address = ctypes.c_uint64()
    assert cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t((ordinal + 1) << 20)) == 0
    seen.append(bytes(uuid).hex())
assert cuda.cuDeviceGetUuid_v2((ctypes.c_ubyte * 16)(), count.value) != 0
print(json.dumps([result, seen]))
"""


@pytest.fixture(scope="module")
def three() -> Iterator[Daemon]:
    with Daemon("--soft-workers", "1", device="soft:3") as daemon:
        yield daemon


def look(daemon: Daemon, **env: str) -> tuple[int, list[str]]:
    result, seen = json.loads(daemon.ok(sys.executable, "-c", PROGRAM, env=env))
    return result, seen


@pytest.fixture(scope="module")
def uuids(three: Daemon) -> list[str]:
    """Of tallyd's devices, in its order."""
    result, seen = look(three)
    assert (result, len(set(seen))) == (0, 3)
    return seen


def spelled(uuid: str) -> str:
    """As nvidia-smi -L writes it."""
    return "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))


@pytest.mark.parametrize(
    ("value", "devices"),
    [
        ("0", [0]),
        ("2", [2]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [0]),
        ("0,7,1", [0]),
        ("7", []),
        ("99999999999999999999", []),
        ("0,,1", [0]),
        ("0,", [0]),
        ("1,1", []),
        ("0,1,0", []),
        ("NoDevFiles", []),
        ("none", []),
        ("all", []),
        ("1x", [1]),
        ("+1", [1]),
        ("0,GPU-", [0]),
    ],
)
def test_indices(three: Daemon, uuids: list[str], value: str, devices: list[int]) -> None:
    seen = look(three, CUDA_VISIBLE_DEVICES=value)
    assert seen == (0 if devices else NO_DEVICE, [uuids[index] for index in devices])


def test_uuids(three: Daemon, uuids: list[str]) -> None:
    names = [f"GPU-{spelled(uuid)}" for uuid in uuids]
    unique = next(n for n in range(1, 33) if len({uuid[:n] for uuid in uuids}) == 3)
    prefix = "GPU-" + spelled(uuids[1])[: unique + spelled(uuids[1])[: unique + 4].count("-")]
    for value, devices in (
        (names[2], [2]),
        (f"{names[2]},{names[0]}", [2, 0]),
        (names[1].upper().replace("GPU-", "GPU-"), [1]),
        (prefix, [1]),
        (f"{names[1]},1", [1]),  # another form ends the list
        (f"1,{names[2]}", [1]),
        (f"{names[1]},{names[1]}", []),
        (f"{names[1]},{prefix}", []),
        (f"GPU-{'f' * 8},{names[1]}", []),
        (names[1] + "0", []),
        ("GPU-", []),  # fits all three
        (names[1].replace("GPU-", "MIG-"), []),  # softgpu has no MIG instances
        (f"MIG-{names[1]}/1/0", []),
        ("gpu-" + spelled(uuids[1]), []),
    ):
        seen = look(three, CUDA_VISIBLE_DEVICES=value)
        assert seen == (0 if devices else NO_DEVICE, [uuids[d] for d in devices]), value


def test_what_is_used_is_what_is_seen(three: Daemon) -> None:
    program = PROGRAM + "\nimport sys; sys.stdout.flush(); sys.stdin.readline()\n"
    process = three.start(sys.executable, "-c", program, env={"CUDA_VISIBLE_DEVICES": "2,1"})
    try:
        read_line(process, "[0,")
        assert [device["sessions"] for device in three.stats()["devices"]] == [0, 1, 1]
    finally:
        three.kill_started()


def test_order(three: Daemon, uuids: list[str]) -> None:
    by_bus = look(three, CUDA_DEVICE_ORDER="PCI_BUS_ID")[1]
    assert sorted(by_bus) == sorted(uuids)
    assert look(three, CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES="2")[1] == [by_bus[2]]
    assert look(three, CUDA_DEVICE_ORDER="FASTEST_FIRST")[1] == uuids


def test_a_program_sets_it_for_itself(three: Daemon, uuids: list[str]) -> None:
    late = json.dumps({"CUDA_VISIBLE_DEVICES": "1"})
    assert look(three, LATE=late) == (0, [uuids[1]])
