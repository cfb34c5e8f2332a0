"""Blocks that wait for other blocks: at a grid's barrier and in loops, more than workers."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import numpy as np
import pytest
from support import toolchain
from support.soft_device import Module, SoftDevice, SoftError, soft_device

SOURCE = Path(__file__).with_name("waiting_blocks.cu")
CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720
CUDA_ERROR_LAUNCH_FAILED = 719
MULTIPROCESSORS = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
RESIDENT_MAX = 16  # blocks of a multiprocessor

pytestmark = pytest.mark.skipif(toolchain.toolkit() is None, reason="needs nvcc")


@pytest.fixture(scope="module")
def device() -> SoftDevice:
    return soft_device()


@pytest.fixture(scope="module")
def module(device: SoftDevice) -> Module:
    return device.load_image(toolchain.compile_fatbin(SOURCE).read_bytes())


def occupancy(device: SoftDevice, module: Module, name: str, threads: int, shared: int = 0) -> int:
    """Blocks of one multiprocessor, as programs ask for it."""
    blocks = ctypes.c_int()
    device.call(
        "cuOccupancyMaxActiveBlocksPerMultiprocessor",
        *(ctypes.byref(blocks), module.function(name), threads, ctypes.c_size_t(shared)),
    )
    return blocks.value


@pytest.mark.parametrize("threads", [1, 32, 64, 100, 512, 1024])
def test_all_blocks_that_may_be_resident_meet(
    device: SoftDevice, module: Module, threads: int
) -> None:
    blocks = device.attribute(MULTIPROCESSORS) * occupancy(device, module, "rounds", threads)
    count, wrong = (device.buffer(np.zeros(1, np.uint32)) for _ in range(2))
    module.launch("rounds", [blocks], [threads], count, wrong, 7, cooperative=True)
    assert count.read()[0] == 7 * blocks * threads
    assert wrong.read()[0] == 0


def test_one_block_more_is_too_large(device: SoftDevice, module: Module) -> None:
    blocks = device.attribute(MULTIPROCESSORS) * occupancy(device, module, "rounds", 32)
    count, wrong = (device.buffer(np.zeros(1, np.uint32)) for _ in range(2))
    with pytest.raises(SoftError) as caught:
        module.launch("rounds", [blocks + 1], [32], count, wrong, 1, cooperative=True)
    assert caught.value.result == CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE


@pytest.mark.parametrize(
    ("threads", "shared", "resident"),
    [(32, 0, RESIDENT_MAX), (64, 0, RESIDENT_MAX), (512, 0, 2), (1024, 0, 1), (32, 40 << 10, 4)],
)
def test_occupancy_follows_threads_and_shared_memory(
    device: SoftDevice, module: Module, threads: int, shared: int, resident: int
) -> None:
    assert occupancy(device, module, "rounds", threads, shared) == resident


def test_a_grid_barrier_needs_a_cooperative_launch(device: SoftDevice, module: Module) -> None:
    count, wrong = (device.buffer(np.zeros(1, np.uint32)) for _ in range(2))
    with pytest.raises(SoftError) as caught:
        module.launch("rounds", [1], [32], count, wrong, 1)
    assert caught.value.result == CUDA_ERROR_LAUNCH_FAILED
    device.reset()


@pytest.mark.parametrize("name", ["backwards", "patient"])
@pytest.mark.parametrize("threads", [32, 96])
def test_blocks_that_wait_for_later_ones(device: SoftDevice, name: str, threads: int) -> None:
    module = device.load_image(toolchain.compile_fatbin(SOURCE).read_bytes())
    blocks = 8 * device.attribute(MULTIPROCESSORS)
    done, order = (device.buffer(np.zeros(blocks + 1, np.uint32)) for _ in range(2))
    module.launch(name, [blocks], [threads], done, order)
    assert (order.read()[:blocks] == np.arange(blocks)[::-1]).all()


def test_waiting_blocks_leave_their_workers_to_others(device: SoftDevice) -> None:
    module = device.load_image(toolchain.compile_fatbin(SOURCE).read_bytes())
    word = device.buffer(np.zeros(1, np.uint32))
    other = ctypes.c_void_p()
    device.call("cuStreamCreate", ctypes.byref(other), 1)
    module.start("forever", [4 * device.attribute(MULTIPROCESSORS)], [64], word)
    began = time.monotonic()
    one = (ctypes.c_uint32 * 1)(1)
    device.call(  # the copy needs a worker
        "cuMemcpyHtoDAsync_v2",
        *(ctypes.c_uint64(word.address), one, ctypes.c_size_t(4), other),
    )
    device.call("cuCtxSynchronize")
    assert time.monotonic() - began < 30


def test_a_context_with_waiting_blocks_can_be_reset(device: SoftDevice) -> None:
    module = device.load_image(toolchain.compile_fatbin(SOURCE).read_bytes())
    for threads in (32, 64):
        word = device.buffer(np.zeros(1, np.uint32))
        module.start("forever", [5 * device.attribute(MULTIPROCESSORS)], [threads], word)
        time.sleep(0.05)
        device.reset()
        module = device.load_image(toolchain.compile_fatbin(SOURCE).read_bytes())
        done, order = (device.buffer(np.zeros(5, np.uint32)) for _ in range(2))
        module.launch("backwards", [4], [32], done, order)
        assert order.read()[0] == 3


def test_blocks_in_line_do_not_fill_the_cpus(device: SoftDevice) -> None:
    """Where one is slow those behind it wait, and as many more would only take its CPU."""
    module = device.load_image(toolchain.compile_fatbin(SOURCE).read_bytes())
    turn = device.buffer(np.zeros(1, np.uint32))
    before = len(os.listdir("/proc/self/task"))
    module.launch("in_line", [20000], [32], turn, 5000)
    assert turn.read()[0] == 20000
    assert len(os.listdir("/proc/self/task")) < before + 64  # 1024 may be, one each 0.1 ms
