"""What blocks that run at the same time see of each other's stores."""

from __future__ import annotations

import numpy as np
import pytest
from support.soft_device import soft_device

pytestmark = pytest.mark.beside

TURNS = 100_000

# Block 0 writes vectors of equal elements, block 1 counts those that it reads unequal.
KERNEL = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 cells, .param .u64 torn, .param .u32 turns)
{{
    .reg .pred %p<3>;
    .reg .b32 %r<8>;
    .reg .b{bits} %v<6>;
    .reg .b64 %d<5>;
    ld.param.u64 %d1, [cells];
    ld.param.u64 %d2, [torn];
    ld.param.u32 %r1, [turns];
    mov.u32 %r2, %tid.x;
    mul.wide.u32 %d3, %r2, {stride};
    add.u64 %d1, %d1, %d3;
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, 0;
    mov.b{bits} %v0, 0;
    setp.ne.u32 %p1, %r3, 0;
    @%p1 bra read;
write:
    add.u{bits} %v0, %v0, 1;
    st.relaxed.gpu.{vector}.b{bits} [%d1], {{{writes}}};
    add.u32 %r4, %r4, 1;
    setp.lt.u32 %p1, %r4, %r1;
    @%p1 bra write;
    ret;
read:
    ld.relaxed.gpu.{vector}.b{bits} {{{reads}}}, [%d1];
    setp.ne.b{bits} %p2, %v1, {last};
    @%p2 red.global.add.u32 [%d2], 1;
    add.u32 %r4, %r4, 1;
    setp.lt.u32 %p1, %r4, %r1;
    @%p1 bra read;
    ret;
}}
"""


@pytest.mark.parametrize("stride", [0, 64], ids=["one", "lanes"])
@pytest.mark.parametrize(("vector", "bits"), [("v2", 32), ("v4", 32), ("v2", 64)])
def test_short_vectors_are_read_and_written_at_once(vector: str, bits: int, stride: int) -> None:
    """Look-back scans publish a sum and its state so."""
    count = int(vector[1])
    text = KERNEL.format(
        vector=vector,
        bits=bits,
        stride=stride,
        writes=", ".join(["%v0"] * count),
        reads=", ".join(f"%v{i + 1}" for i in range(count)),
        last=f"%v{count}",
    )
    device = soft_device()
    cells, torn = (device.buffer(np.zeros(n, np.uint32)) for n in (1024, 1))
    device.load(text).launch("k", (2,), (32,), cells, torn, TURNS)
    written = cells.read()[: count * bits // 32]
    assert (written.view(np.uint32 if bits == 32 else np.uint64) == TURNS).all()
    assert torn.read()[0] == 0
    for buffer in (cells, torn):
        buffer.free()
