"""Shared addresses have 32 bits, also those that are a register and an offset."""

from __future__ import annotations

import numpy as np
import pytest
from support.kernels import HEAD
from support.soft_device import SoftError, soft_device

pytestmark = pytest.mark.beside

LANES = 32

# {at}: the lane's word of s; {row}: 16 bytes of a lane.
FORMS = {
    "ld and st": "st.shared.u32 [{at}], %v; ld.shared.u32 %d, [{at}];",
    "bytes": "st.shared.u8 [{at}], %v; ld.shared.u8 %d, [{at}];",
    "vectors": "st.shared.v2.u32 [{row}], {{%v, %v}}; "
               "ld.shared.v4.u32 {{%d, %x, %y, %z}}, [{row}];",
    "volatile": "st.volatile.shared.u32 [{at}], %v; ld.volatile.shared.u32 %d, [{at}];",
    "atom": "st.shared.u32 [{at}], 0; atom.shared.add.u32 %x, [{at}], %v; "
            "ld.shared.u32 %d, [{at}];",
    "red": "st.shared.u32 [{at}], 0; red.shared.add.u32 [{at}], %v; ld.shared.u32 %d, [{at}];",
    "cp.async": "cp.async.ca.shared.global [{at}], [%g], 4; cp.async.wait_all; "
                "ld.shared.u32 %d, [{at}];",
    "one address": "st.shared.u32 [%one+{off}], 7; ld.shared.u32 %x, [%one+{off}]; "
                   "sub.u32 %d, %x, 7; add.u32 %d, %d, %v;",
}  # fmt: skip


def run(body: str, offset: int, width: int) -> list[int]:
    """The body on one warp, with registers that hold addresses less `offset`, modulo 2**width."""
    device = soft_device()
    buffer = device.buffer(np.arange(100, 100 + LANES, dtype=np.uint32))
    narrow = width == 32
    text = body.format(at=f"%a+{offset}", row=f"%q+{offset}", off=offset)
    kind = f"b{width}"
    convert = "" if narrow else "cvt.u64.u32 %a, %p0; cvt.u64.u32 %q, %q0; cvt.u64.u32 %one, %o0;"
    copy = "mov.b32 %a, %p0; mov.b32 %q, %q0; mov.b32 %one, %o0;" if narrow else convert
    ptx = f"""{HEAD}.visible .entry k(.param .u64 p)
{{ .reg .{kind} %a, %q, %one; .reg .b32 %p0, %q0, %o0, %l, %v, %d, %x, %y, %z; .reg .b64 %g, %w;
.shared .align 16 .b8 s[512];
mov.u32 %l, %tid.x; mov.u32 %o0, s; shl.b32 %p0, %l, 2; add.u32 %p0, %p0, %o0;
shl.b32 %q0, %l, 4; add.u32 %q0, %q0, %o0;
{copy}
sub.s{width} %a, %a, {offset}; sub.s{width} %q, %q, {offset}; sub.s{width} %one, %one, {offset};
ld.param.u64 %g, [p]; mul.wide.u32 %w, %l, 4; add.u64 %g, %g, %w; ld.global.u32 %v, [%g];
{text}
st.global.u32 [%g], %d; ret; }}"""
    device.load(ptx).launch("k", [1], [LANES], buffer)
    return [int(v) for v in buffer.read()]


@pytest.mark.parametrize("offset", [0, 4, 512, 4096, -512, 1 << 20])
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("form", FORMS)
def test_register_and_offset_wrap_together(form: str, width: int, offset: int) -> None:
    assert run(FORMS[form], offset, width) == list(range(100, 100 + LANES))


def test_a_wrapped_address_outside_of_the_window_is_a_fault() -> None:
    with pytest.raises(SoftError):
        run("st.shared.u32 [%a-1048576], %v; mov.u32 %d, 0;", 0, 32)
    soft_device().reset()


def test_global_addresses_have_64_bits() -> None:
    """[register+offset] wraps there, and not at 32 bits."""
    body = "add.u64 %w, %g, 4096; ld.global.u32 %d, [%w-4096]; sub.u64 %w, %g, 4096; "
    body += "ld.global.u32 %d, [%w+4096];"
    assert run(body, 0, 64) == list(range(100, 100 + LANES))
