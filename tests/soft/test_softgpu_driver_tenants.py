"""softgpu's tenants and queues with real kernels: faults stay where they belong, nothing hangs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import toolchain
from support.daemon import wait_until
from support.soft_device import Buffer, Module, SoftDevice, SoftError, soft_device

SOURCE = Path(__file__).with_name("softgpu_driver.cu")
CUDA_ERROR_ILLEGAL_ADDRESS = 700
NON_BLOCKING = 1

pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(toolchain.toolkit() is None, reason="needs nvcc"),
]


class Tenant:
    """A tenant with the test's module; the thread is in it from then on."""

    def __init__(self, device: SoftDevice) -> None:
        self.device = device
        self.open()

    def open(self) -> None:
        number = ctypes.c_uint32()
        self.device.call("softgpuTenantCreate", ctypes.byref(number))
        self.number = number.value
        self.enter()
        handle = ctypes.c_void_p()
        image = ctypes.create_string_buffer(toolchain.compile_fatbin(SOURCE).read_bytes())
        self.device.call("cuModuleLoadData", ctypes.byref(handle), image)
        self.module = Module(self.device, handle)

    def enter(self) -> None:
        self.device.call("softgpuTenantSet", self.number)

    def close(self) -> None:
        self.device.call("softgpuTenantDestroy", self.number)
        self.device.call("softgpuTenantSet", 0)

    def stream(self, priority: int = 0) -> ctypes.c_void_p:
        stream = ctypes.c_void_p()
        self.device.call("cuStreamCreateWithPriority", ctypes.byref(stream), NON_BLOCKING, priority)
        return stream

    def launch(
        self, stream: ctypes.c_void_p, name: str, grid: int, block: int, *args: Buffer | int
    ) -> None:
        """Without waiting. Arguments: buffers, ints."""
        function = ctypes.c_void_p()
        call = self.device.call
        call("cuModuleGetFunction", ctypes.byref(function), self.module.handle, name.encode())
        values = [
            ctypes.c_uint64(a.address) if isinstance(a, Buffer) else ctypes.c_int(a) for a in args
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        call("cuLaunchKernel", function, grid, 1, 1, block, 1, 1, 0, stream, pointers, None)

    def zeros(self, count: int) -> Buffer:
        return self.device.buffer(np.zeros(count, np.uint32))


@pytest.fixture
def tenants() -> Iterator[list[Tenant]]:
    device = soft_device()
    made = [Tenant(device), Tenant(device)]
    yield made
    for tenant in made:
        tenant.close()


def test_out_of_bounds_write(tenants: list[Tenant]) -> None:
    victim, culprit = tenants
    victim.enter()
    precious = victim.device.buffer(np.arange(1000, dtype=np.uint32))
    culprit.enter()
    for address in (precious.address, 0, 0x7FFF_FFFF_0000, (1 << 64) - 4):
        with pytest.raises(SoftError) as error:
            culprit.module.launch("store", [1], [1], (address, "Q"), 7)
        assert error.value.result == CUDA_ERROR_ILLEGAL_ADDRESS
        with pytest.raises(SoftError) as error:
            culprit.zeros(1)
        assert error.value.result == CUDA_ERROR_ILLEGAL_ADDRESS
        culprit.close()
        culprit.open()
    victim.enter()
    np.testing.assert_array_equal(precious.read(), np.arange(1000))
    victim.module.launch("store", [1], [1], precious, 7)
    assert precious.read()[0] == 7


def test_just_behind_an_allocation(tenants: list[Tenant]) -> None:
    tenants[0].enter()
    buffer = tenants[0].zeros(1024)
    with pytest.raises(SoftError) as error:
        tenants[0].module.launch("store", [1], [1], (buffer.address + 4096, "Q"), 7)
    assert error.value.result == CUDA_ERROR_ILLEGAL_ADDRESS


def test_a_kernel_that_never_ends(tenants: list[Tenant]) -> None:
    stuck, other = tenants
    stuck.enter()
    flag = stuck.zeros(1)
    stuck.launch(stuck.stream(), "spin", 50, 32, flag)
    other.enter()
    with pytest.raises(SoftError):
        other.device.call("softgpuTenantDestroy", 9999)
    stuck.close()  # returns, which waiting for the kernel would not
    other.enter()
    word = other.zeros(1)
    other.module.launch("store", [1], [1], word, 5)
    assert word.read()[0] == 5
    stuck.open()


def test_cooperative_grid(tenants: list[Tenant]) -> None:
    tenant = tenants[0]
    tenant.enter()
    workers = ctypes.c_int()
    tenant.device.call("cuDeviceGetAttribute", ctypes.byref(workers), 16, 0)
    function = ctypes.c_void_p()
    tenant.device.call("cuModuleGetFunction", ctypes.byref(function), tenant.module.handle, b"meet")
    blocks = 16 * workers.value  # of one warp, as many as may be resident
    arrived, out = tenant.zeros(1), tenant.zeros(blocks)
    values = [ctypes.c_uint64(arrived.address), ctypes.c_uint64(out.address)]
    pointers = (ctypes.c_void_p * 2)(*(ctypes.addressof(v) for v in values))
    launch = tenant.device.library.cuLaunchCooperativeKernel
    assert launch(function, blocks + 1, 1, 1, 32, 1, 1, 0, None, pointers) == 720
    assert launch(function, blocks, 1, 1, 32, 1, 1, 0, None, pointers) == 0
    tenant.device.call("cuCtxSynchronize")
    assert (out.read() == blocks).all()


def policies() -> set[int]:
    """How the kernel schedules the threads that play SMs."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a spare that ends
            if (task / "comm").read_text().startswith("soft-sm-"):
                found.add(os.sched_getscheduler(int(task.name)))
    return found


def may_leave_idle_policy() -> bool:
    """Tried on a process of its own, which may be stuck there."""
    code = "import os; [os.sched_setscheduler(0, p, os.sched_param(0)) for p in (5, 0)]"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


@pytest.mark.skipif(not may_leave_idle_policy(), reason="threads may not leave the idle policy")
def test_sms_give_way_to_programs_but_in_urgent_work(tenants: list[Tenant]) -> None:
    training, service = tenants
    training.enter()
    order, ticket = training.zeros(4096), training.zeros(1)
    stream = training.stream(0)
    training.launch(stream, "work", 4000, 32, order, ticket, 1, 20000)
    wait_until(lambda: os.SCHED_IDLE in policies(), 30, "an SM in the background")
    service.enter()
    mine, count = service.zeros(64), service.zeros(1)
    urgent = service.stream(-5)
    service.launch(urgent, "work", 64, 32, mine, count, 2, 2000000)
    assert policies() == {os.SCHED_OTHER}  # at once: what they run has to end
    service.device.call("cuStreamSynchronize", urgent)
    wait_until(lambda: os.SCHED_IDLE in policies(), 30, "an SM in the background again")
    training.enter()
    training.device.call("cuStreamSynchronize", stream)


def test_high_priority_goes_first(tenants: list[Tenant]) -> None:
    training, service = tenants
    training.enter()
    order, ticket = training.zeros(4096), training.zeros(1)
    stream = training.stream(0)
    training.launch(stream, "work", 2000, 32, order, ticket, 1, 20000)
    service.enter()
    mine, count = service.zeros(64), service.zeros(1)
    urgent = service.stream(-5)
    service.launch(urgent, "work", 4, 32, mine, count, 2, 1000)
    service.device.call("cuStreamSynchronize", urgent)
    training.enter()
    # The other launch is far from done: it was overtaken at block boundaries.
    assert training.device.library.cuStreamQuery(stream) == 600
    training.device.call("cuStreamSynchronize", stream)
    assert int(ticket.read()[0]) == 2000


def test_usage_and_output(tenants: list[Tenant]) -> None:
    tenant = tenants[0]
    lines: list[tuple[int, int, bytes]] = []
    kind = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
    )

    def note(_user: int | None, number: int, fd: int, text: int, size: int) -> None:
        lines.append((number, fd, ctypes.string_at(text, size)))

    output = kind(note)
    tenant.enter()
    tenant.device.call("softgpuSetOutput", output, None)
    try:
        tenant.module.launch("hello", [3], [1], 3)
    finally:
        tenant.device.call("softgpuSetOutput", None, None)
    assert sorted(lines) == [(tenant.number, 1, b"block %d of 3\n" % i) for i in range(3)]
    busy, blocks = ctypes.c_uint64(), ctypes.c_uint64()
    tenant.device.call(
        "softgpuTenantUsage", tenant.number, ctypes.byref(busy), ctypes.byref(blocks)
    )
    assert blocks.value == 3
    assert 0 < busy.value < 10**10
