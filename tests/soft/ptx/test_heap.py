"""Device code's malloc and free, and its barriers in shared memory (mbarrier)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import toolchain
from support.kernels import HEAD
from support.soft_device import Module, SoftDevice, SoftError, soft_device

SOURCE = Path(__file__).with_name("heap_kernels.cu")
FLAGS = (*toolchain.PTX_ONLY, "-std=c++17")
HEAP_BYTES = 8 << 20  # CUDA's default
MALLOC_HEAP_SIZE = 2  # CU_LIMIT_MALLOC_HEAP_SIZE

pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(toolchain.toolkit() is None, reason="needs nvcc"),
]


@pytest.fixture
def module() -> Iterator[Module]:
    """In a context of its own: heaps live as long as that."""
    device = soft_device()
    device.reset()
    yield device.load_image(toolchain.compile_fatbin(SOURCE, FLAGS).read_bytes())
    device.reset()


@pytest.mark.parametrize(("length", "rounds"), [(1, 20), (7, 10), (300, 4)])
def test_lists_of_many_threads_do_not_overlap(module: Module, length: int, rounds: int) -> None:
    device = soft_device()
    sums, overlaps = (device.buffer(np.zeros(n, np.int32)) for n in (8 * 64, 1))
    module.launch("lists", [8], [64], sums, overlaps, length, rounds)
    assert overlaps.read()[0] == 0
    assert (sums.read() == length * rounds).all()


def test_a_full_heap_gives_null_until_something_is_freed(module: Module) -> None:
    device = soft_device()
    kept = device.buffer(np.zeros(32, np.uint64))
    for _ in range(3):  # what is given back serves again
        module.launch("keep", [1], [32], kept, (HEAP_BYTES // 16, "Q"))
        given = kept.read()
        assert ((given != 0).sum(), len(set(given[given != 0]))) == (16, 16)
        module.launch("give_back", [1], [32], kept, (0, "q"))


def test_the_limit_is_the_programs_to_set(module: Module) -> None:
    device = soft_device()
    device.call("cuCtxSetLimit", MALLOC_HEAP_SIZE, HEAP_BYTES * 4)
    kept = device.buffer(np.zeros(32, np.uint64))
    module.launch("keep", [1], [32], kept, (HEAP_BYTES // 8, "Q"))
    assert (kept.read() != 0).all()
    with pytest.raises(SoftError):
        device.call("cuCtxSetLimit", MALLOC_HEAP_SIZE, HEAP_BYTES)


@pytest.mark.parametrize("offset", [4, 64, 1 << 40])
def test_freeing_what_was_not_allocated_is_a_fault(module: Module, offset: int) -> None:
    device = soft_device()
    kept = device.buffer(np.zeros(1, np.uint64))
    module.launch("keep", [1], [1], kept, (256, "Q"))
    with pytest.raises(SoftError):
        module.launch("give_back", [1], [1], kept, (offset, "q"))


@pytest.mark.parametrize("threads", [64, 128])
def test_halves_of_a_block_meet_at_barriers(module: Module, threads: int) -> None:
    wrong = soft_device().buffer(np.zeros(1, np.int32))
    module.launch("pipeline", [3], [threads], wrong, 12)
    assert wrong.read()[0] == 0


MBARRIER = {
    # text, what %r is afterwards
    "pending": ("mbarrier.arrive.noComplete.b64 %s, [b], 2; mbarrier.arrive.b64 %s, [b];"
                "mbarrier.pending_count.b64 %r, %s;", 3),
    "open": ("mbarrier.arrive.b64 %s, [b]; mbarrier.test_wait.b64 %p, [b], %s; selp.u32 %r,1,0,%p;",
             0),
    "closed": ("mbarrier.arrive.noComplete.b64 %s, [b], 4; mbarrier.arrive.b64 %s, [b];"
               "mbarrier.test_wait.b64 %p, [b], %s; selp.u32 %r, 1, 0, %p;", 1),
    "parity": ("mbarrier.arrive.b64 %s, [b], 5; mbarrier.test_wait.parity.b64 %p, [b], 0;"
               "selp.u32 %r, 1, 0, %p;", 1),
    "next parity": ("mbarrier.arrive.b64 %s, [b], 5; mbarrier.test_wait.parity.b64 %p, [b], 1;"
                    "selp.u32 %r, 1, 0, %p;", 0),
    "drop": ("mbarrier.arrive_drop.b64 %s, [b]; mbarrier.arrive.b64 %s, [b], 4;"
             "mbarrier.arrive.b64 %s, [b], 1; mbarrier.pending_count.b64 %r, %s;", 4),
    "copies": ("cp.async.mbarrier.arrive.shared.b64 [b]; mbarrier.arrive.b64 %s, [b];"
               "mbarrier.pending_count.b64 %r, %s;", 5),
    "copies that count": ("cp.async.mbarrier.arrive.noinc.shared.b64 [b];"
                          "mbarrier.arrive.b64 %s, [b]; mbarrier.pending_count.b64 %r, %s;", 4),
}  # fmt: skip


@pytest.mark.parametrize("name", MBARRIER)
def test_barriers_count_arrivals(name: str) -> None:
    text, expected = MBARRIER[name]
    device: SoftDevice = soft_device()
    out = device.buffer(np.zeros(1, np.uint32))
    ptx = f"""{HEAD}.visible .entry k(.param .u64 p)
{{ .reg .b64 %a, %s; .reg .b32 %r; .reg .pred %p; .shared .align 8 .b64 b;
ld.param.u64 %a, [p]; mbarrier.init.shared.b64 [b], 5; {text.replace(".b64 %s, [", ".shared.b64 %s, [").replace(".b64 %p, [", ".shared.b64 %p, [")}
st.global.u32 [%a], %r; mbarrier.inval.shared.b64 [b]; ret; }}"""  # noqa: E501
    device.load(ptx).launch("k", [1], [1], out)
    assert out.read()[0] == expected
