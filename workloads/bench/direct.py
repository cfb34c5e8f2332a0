"""A device by its driver, called directly: its streams, and a kernel whole and guarded."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from tally.client import paths
from tally.errors import NoDeviceError, TallyError
from tally.scheduler.ptx import variants

THREADS = 128
# What the control block has room for: blocks that are skipped, and waves of others behind them.
SKIPPED = 100_000
BACKGROUND_WAVES = 60
NON_BLOCKING = 1
MULTIPROCESSORS = 16  # CUdevice_attribute
DONE_BYTES = 64  # of a control block, ahead of its marks; see scheduler/ptx/guard.py

PTX = """
.version 7.0
.target sm_80
.address_size 64
.visible .entry churn(.param .u64 churn_data, .param .u32 churn_turns)
{
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .b64 %d<2>;
    ld.param.u64 %d0, [churn_data];
    ld.param.u32 %r0, [churn_turns];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.u32 %r1, %r1, %r2, %r3;
    and.b32 %r1, %r1, 1048575;
    mul.wide.u32 %d1, %r1, 4;
    add.u64 %d1, %d0, %d1;
    ld.global.u32 %r4, [%d1];
again:
    setp.eq.u32 %p0, %r0, 0;
    @%p0 bra done;
    shr.u32 %r5, %r4, 13;
    xor.b32 %r4, %r4, %r5;
    mad.lo.u32 %r4, %r4, 1664525, 1013904223;
    sub.u32 %r0, %r0, 1;
    bra again;
done:
    st.global.u32 [%d1], %r4;
    ret;
}
"""


def now_ns() -> float:
    return float(time.perf_counter_ns())


class Device:
    """A driver's first device, its streams, and one kernel in its original and guarded form."""

    def __init__(self, kind: str) -> None:
        self.driver = _load(kind)
        self.call("cuInit", 0)
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.device = device
        self.context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), device)
        self.call("cuCtxSetCurrent", self.context)
        least, greatest = ctypes.c_int(), ctypes.c_int()
        self.call("cuCtxGetStreamPriorityRange", ctypes.byref(least), ctypes.byref(greatest))
        self.low, self.other = self.stream(least.value), self.stream(least.value)
        self.urgent = self.stream(greatest.value)
        self.whole, self.guarded = self.kernels()
        self.data = self.memory(4 << 20)
        self.resident = self._resident()
        self.control = self.memory(DONE_BYTES + 4 * (SKIPPED + BACKGROUND_WAVES * self.resident))
        self.epoch = 0

    def call(self, name: str, *arguments: object) -> None:
        """TallyError with the driver's number if it refuses."""
        if status := getattr(self.driver, name)(*arguments):
            raise TallyError(f"{name} gives CUDA error {status}")

    def stream(self, priority: int) -> ctypes.c_void_p:
        stream = ctypes.c_void_p()
        self.call("cuStreamCreateWithPriority", ctypes.byref(stream), NON_BLOCKING, priority)
        return stream

    def kernels(self) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
        """In the current context."""
        module, whole, guarded = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        text = variants.run(PTX).text.encode()
        self.call("cuModuleLoadData", ctypes.byref(module), text)
        self.call("cuModuleGetFunction", ctypes.byref(whole), module, b"churn")
        name = f"churn{variants.GUARDED}".encode()
        self.call("cuModuleGetFunction", ctypes.byref(guarded), module, name)
        return whole, guarded

    def memory(self, size: int) -> ctypes.c_uint64:
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        self.call("cuMemsetD8_v2", address, 0, ctypes.c_size_t(size))
        return address

    def _resident(self) -> int:
        """Blocks that the device holds at once."""
        count, each = ctypes.c_int(), ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(count), MULTIPROCESSORS, self.device)
        self.call(
            "cuOccupancyMaxActiveBlocksPerMultiprocessor",
            *(ctypes.byref(each), self.whole, THREADS, ctypes.c_size_t(0)),
        )
        return max(1, count.value * each.value)

    def launch(
        self,
        blocks: int,
        turns: int,
        stream: ctypes.c_void_p,
        *,
        guarded: bool = False,
        kernel: ctypes.c_void_p | None = None,
        data: ctypes.c_uint64 | None = None,
    ) -> None:
        values: list[ctypes.c_uint64 | ctypes.c_uint32] = [
            data or self.data,
            ctypes.c_uint32(turns),
            self.control,
        ]
        params = (ctypes.c_void_p * 3)(*(ctypes.addressof(v) for v in values))
        shape = (blocks, 1, 1, THREADS, 1, 1, 0)
        function = kernel or (self.guarded if guarded else self.whole)
        self.call("cuLaunchKernel", function, *shape, stream, params, None)

    def arm(self, blocks: int, flag: int = 0) -> None:
        """Makes the control block ready for a guarded launch of so many blocks."""
        self.epoch += 1
        head = (ctypes.c_uint32 * 5)(flag, self.epoch, 0, blocks, 0)
        self.call("cuMemcpyHtoD_v2", self.control, head, ctypes.c_size_t(ctypes.sizeof(head)))

    def raise_flag(self) -> None:
        write = getattr(self.driver, "cuStreamWriteValue32_v2", None)
        if write is None or write(self.urgent, self.control, 1, 0) != 0:
            words = ctypes.c_size_t(1)
            self.call("cuMemsetD32Async", self.control, 1, words, self.urgent)

    def ran(self) -> int:
        """Blocks of the guarded launch that ran."""
        head = (ctypes.c_uint32 * 5)()
        self.call("cuMemcpyDtoH_v2", head, self.control, ctypes.c_size_t(ctypes.sizeof(head)))
        return head[4]

    def wait(self, stream: ctypes.c_void_p) -> None:
        self.call("cuStreamSynchronize", stream)

    def poll(self, stream: ctypes.c_void_p) -> None:
        """Until the stream is empty, looking all the time."""
        while self.driver.cuStreamQuery(stream) != 0:
            continue

    def time(self, action: Callable[[], None], stream: ctypes.c_void_p) -> float:
        began = now_ns()
        action()
        self.wait(stream)
        return now_ns() - began

    def turns_of(self, block_us: float) -> int:
        """Turns with which one wave of blocks takes so long."""
        few, many = 1_000, 11_000
        self.time(lambda: self.launch(self.resident, few, self.low), self.low)
        best = [
            min(
                self.time(lambda n=n: self.launch(self.resident, n, self.low), self.low)  # type: ignore[misc]
                for _ in range(5)
            )
            for n in (few, many)
        ]
        return max(1, round(block_us * 1e3 * (many - few) / (best[1] - best[0])))


def _load(kind: str) -> ctypes.CDLL:
    if kind == "soft":
        from tally.daemon.executor.soft import prepare

        library = paths.softgpu_library()
        if library is None:
            raise NoDeviceError("the software GPU is missing from the package")
        prepare(str(library))
        return ctypes.CDLL(str(library))
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise NoDeviceError(f"no driver: {error}") from None
