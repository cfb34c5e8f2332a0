"""What softgpu cannot run refuses its kernel, by name, and not the module around it."""

from __future__ import annotations

import numpy as np
import pytest
from support.soft_device import SoftError, soft_device

pytestmark = pytest.mark.beside

NOT_SUPPORTED = 801
HEAD = ".version 8.6\n.target sm_80\n.address_size 64\n"
REGISTERS = ".reg .b32 %r<9>; .reg .b64 %d<4>; .reg .pred %p<3>; .reg .f32 %f<9>;\n"
FINE = ".visible .entry fine(.param .u64 a) { .reg .b64 %d; ld.param.u64 %d, [a]; "
FINE += "st.global.u32 [%d], 42; ret; }\n"

BAD = {
    "tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%d1, {%f5, %f6}];": "tex.2d",
    "suld.b.1d.b32.trap {%r1}, [%d1, {%r2}];": "suld.b.1d",
    "wgmma.fence.sync.aligned;": "wgmma.fence",
    "clusterlaunchcontrol.query_cancel.is_canceled.pred.b128 %p1, %d1;": "clusterlaunchcontrol",
    "cp.async.bulk.commit_group;": ".bulk",
    "vadd4.u32.u32.u32 %r1, %r2, %r3, %r4;": "vadd4",
    "red.async.relaxed.cluster.global.add.u32 [%d1], %r1;": "async",
}


def module(body: str, declarations: str = "") -> str:
    bad = f".visible .entry bad(.param .u64 a) {{ {REGISTERS} {body}\nret; }}\n"
    return HEAD + declarations + FINE + bad


def refusal(text: str, kernel: str = "bad") -> str:
    """Why the launch of one kernel fails, where another kernel of the module runs."""
    device = soft_device()
    told: list[tuple[str, str]] = []
    device.compiler.refused = lambda module, name, why: told.append((name, why))
    try:
        loaded = device.load(text)
        word = device.buffer(np.zeros(1, np.uint32))
        loaded.launch("fine", [1], [32], word)
        assert word.read()[0] == 42
        with pytest.raises(SoftError) as caught:
            loaded.launch(kernel, [1], [32], word)
        assert caught.value.result == NOT_SUPPORTED
        loaded.launch("fine", [1], [32], word)
    finally:
        device.compiler.refused = None
    assert [name for name, _ in told] == [kernel]
    return told[0][1]


@pytest.mark.parametrize("line", BAD)
def test_an_instruction_refuses_its_kernel(line: str) -> None:
    why = refusal(module(line))
    assert BAD[line] in why
    assert "line" in why


def test_a_called_function_refuses_its_callers() -> None:
    helper = f".func helper() {{ {REGISTERS} vadd4.u32.u32.u32 %r1, %r2, %r3, %r4; ret; }}\n"
    why = refusal(module("call.uni helper, ();", helper))
    assert "vadd4" in why
    assert "helper" in why


def test_an_external_function_refuses_the_module() -> None:
    """As the driver's linker does."""
    with pytest.raises(SoftError, match="unresolved external 'elsewhere'"):
        soft_device().load(module("call.uni elsewhere, ();", ".extern .func elsewhere();\n"))


def test_launches_from_the_device_are_recognised() -> None:
    extern = ".extern .func cudaLaunchDeviceV2(.param .b64 a, .param .b64 b);\n"
    call = "{ .param .b64 x; .param .b64 y; call.uni cudaLaunchDeviceV2, (x, y); }"
    assert "from the device" in refusal(module(call, extern))


def test_textures_refuse_the_kernels_that_read_them() -> None:
    tex = "tex.1d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [t, {%f5}];"
    assert "tex.1d" in refusal(module(tex, ".global .texref t;\n"))


def test_a_mistake_refuses_the_module() -> None:
    for line in ("frobnicate.u32 %r1;", "add.strange.u32 %r1, %r2, %r3;", "add.u32 %r1, %r2;"):
        with pytest.raises(SoftError) as caught:
            soft_device().load(module(line))
        assert caught.value.result == 218
