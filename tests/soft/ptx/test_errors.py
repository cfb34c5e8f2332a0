"""PTX that is wrong or hostile: an error with a line, never a crash, a hang or all memory."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.kernels import HEAD
from support.soft_device import SoftError, soft_device

from tally.daemon.softgpu.code import CompiledModule
from tally.daemon.softgpu.errors import PtxError

pytestmark = pytest.mark.beside

INVALID_IMAGE, INVALID_PTX, UNSUPPORTED_VERSION = 200, 218, 222
HARDWARE_STACK_ERROR = 714


def kernel(body: str, params: str = ".param .u64 a") -> str:
    return f"{HEAD}.visible .entry k({params})\n{{\n{body}\nret;\n}}\n"


GOOD = kernel(
    ".reg .b32 %r<9>; .reg .b64 %d<4>; .reg .pred %p<3>;\n.shared .align 4 .b8 s[128];\n"
    "ld.param.u64 %d1, [a];\nmov.u32 %r1, %tid.x;\nmad.wide.u32 %d2, %r1, 4, %d1;\n"
    "ld.global.u32 %r2, [%d2];\nsetp.lt.u32 %p1, %r2, 7;\n@%p1 bra L1;\nadd.u32 %r2, %r2, 3;\n"
    "L1:\nst.shared.u32 [s+4], %r2;\nbar.sync 0;\natom.global.add.u32 %r3, [%d1], %r2;\n"
    "shfl.sync.bfly.b32 %r4|%p2, %r2, 1, 31, -1;\nst.global.u32 [%d2], %r4;"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (kernel("frobnicate.u32 %tid;"), ["line 6", "frobnicate.u32"]),
        (kernel("add.strange.u32 1, 2, 3;"), ["line 6", ".strange"]),
        (kernel("\n\ntexture.2d.v4.f32.f32 {a, a}, [a];"), ["line 8"]),
        (kernel(".reg .b32 %r<2>; add.u32 %r0, %r1, %r2;"), ["line 6", "%r2"]),
        (kernel("bra NOWHERE;"), ["line 6", "NOWHERE"]),
        (kernel(".reg .b32 %r<2>; add.u32 %r0, %r1;"), ["line 6", "2 operands"]),
        (kernel(".reg .b32 %r<2>; mov.u32 %r0, missing;"), ["missing"]),
        (kernel("call.uni nobody, ();"), ["nobody"]),
        (kernel(".reg .b32 %r<2>; mov.u32 %r0, %nothing;"), ["%nothing"]),
        (kernel(".local .b8 x[1000000];"), ["local"]),
        (kernel(".shared .b8 x[1000000]; .reg .b32 %r<1>; mov.u32 %r0, x;"), ["shared"]),
        (kernel("ret"), ["line"]),
        (HEAD + ".visible .entry k() {", ["not closed"]),
        (HEAD + "}", ["line 4"]),
        (HEAD + ".global .u32 x = {1, 2, 3};", ["too many"]),
        (HEAD + ".global .u64 x = nowhere;", ["nowhere"]),
        (HEAD + "add.u32 1, 2, 3;", ["outside of a function"]),
        ("", ["version"]),
        (".version 8.0\n", ["target"]),
        (".version 8.0\n.target quantum\n", ["quantum"]),
    ],
)
def test_errors_name_the_line(text: str, words: list[str]) -> None:
    with pytest.raises(PtxError) as caught:
        CompiledModule(text)
    assert caught.value.result == (INVALID_IMAGE if words == ["version"] else INVALID_PTX)
    for word in words:
        assert word in str(caught.value)


FUNCTION = HEAD + ".extern .func %s;\n.visible .entry k() {\n%s\nret;\n}\n"
VARIABLE = HEAD + ".extern .global .u32 %s;\n.visible .entry k() {\n.reg .b64 %%d;\n%s\nret;\n}\n"


@pytest.mark.parametrize(
    ("text", "use"),
    [
        (FUNCTION, "call.uni %s;"),
        (FUNCTION, ".reg .b64 %%d; mov.u64 %%d, %s;"),
        (VARIABLE, "mov.u64 %%d, %s;"),
    ],
)
def test_a_symbol_that_nobody_defines(text: str, use: str) -> None:
    """It refuses the module that uses it, but for the device runtime's; declared it may be."""
    with pytest.raises(PtxError, match="unresolved external 'nobody'") as caught:
        CompiledModule(text % ("nobody", use % "nobody"))
    assert caught.value.result == INVALID_PTX
    assert str(caught.value).startswith("line ")
    CompiledModule(text % ("nobody", ""))
    CompiledModule(text % ("cudaGetLastError", use % "cudaGetLastError"))


def test_the_driver_gives_code_and_log() -> None:
    with pytest.raises(SoftError) as caught:
        soft_device().load(kernel("wgmmma.mma_async.sync 1;"))
    assert caught.value.result == INVALID_PTX
    assert "line 6" in caught.value.log
    assert "wgmmma" in caught.value.log
    with pytest.raises(SoftError) as caught:
        soft_device().load(".version 99.0\n.target sm_80\n")
    assert caught.value.result == UNSUPPORTED_VERSION


@pytest.mark.parametrize(
    "text",
    [
        HEAD + ".global .b8 x[999999999999];",
        HEAD + ".global .b8 x[99999999999999999999999999];",
        kernel(".reg .b32 %r<4000000000>;"),
        kernel("{" * 5000 + "}" * 5000),
        kernel(".reg .b32 %r<2>; mov.b32 %r0, " + "{" * 3000 + "%r1" + "}" * 3000 + ";"),
        kernel("/* " * 10000 + "*/"),
        HEAD + ".global .u32 x = " + "{" * 3000 + "1" + "}" * 3000 + ";",
        kernel("", ".param .b8 a[99999999]"),
        "." * 100000,
        '"' * 10001,
        kernel(".reg .b32 %r<2>; add.u32 %r0, %r1, " + "9" * 100000 + ";"),
    ],
)
def test_hostile_text_ends_soon(text: str) -> None:
    began = time.monotonic()
    with contextlib.suppress(PtxError):
        CompiledModule(text)
    assert time.monotonic() - began < 10


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_changed_text_compiles_or_is_refused(data: st.DataObject) -> None:
    """Characters and words of a good module replaced, dropped and doubled."""
    words = GOOD.split(" ")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        other = words[data.draw(st.integers(0, len(words) - 1))]
        odd = st.text('%{}[];,.:@!|+-<>()"/*0123456789abrsuxf_$\n ', max_size=6)
        words[at] = data.draw(st.sampled_from(["", other, words[at] * 2, data.draw(odd)]))
    try:
        CompiledModule(" ".join(words))
    except PtxError as error:
        assert error.message


DEEP = f"""{HEAD}
.func (.param .b32 result) deep(.param .b32 left)
{{
.reg .b32 %r<3>; .reg .pred %p<2>;
ld.param.u32 %r1, [left];
mov.u32 %r2, 0;
setp.eq.u32 %p1, %r1, 0;
@%p1 bra DONE;
sub.u32 %r1, %r1, 1;
{{
.param .b32 given; .param .b32 got;
st.param.b32 [given], %r1;
call.uni (got), deep, (given);
ld.param.b32 %r2, [got];
}}
add.u32 %r2, %r2, 1;
DONE:
st.param.b32 [result], %r2;
ret;
}}
.visible .entry k(.param .u64 a, .param .u32 depth)
{{
.reg .b32 %r<3>; .reg .b64 %d<2>;
ld.param.u64 %d1, [a];
ld.param.u32 %r1, [depth];
FIRST
{{
.param .b32 given; .param .b32 got;
st.param.b32 [given], %r1;
call.uni (got), deep, (given);
ld.param.b32 %r2, [got];
}}
st.global.u32 [%d1], %r2;
ret;
}}
"""


@pytest.mark.parametrize("first", ["", "bar.sync 0;"], ids=["on-its-own", "warps-take-turns"])
def test_calls_too_deep_for_the_stack_end_the_launch_and_nothing_else(first: str) -> None:
    device = soft_device()
    module = device.load(DEEP.replace("FIRST", first))
    result = device.buffer(np.zeros(1, np.uint32))
    module.launch("k", [1], [64], result, np.uint32(100))
    assert result.read()[0] == 100
    with pytest.raises(SoftError) as caught:
        module.launch("k", [1], [64], result, np.uint32(10_000_000))
    assert caught.value.result == HARDWARE_STACK_ERROR
    device.reset()
    module = device.load(DEEP.replace("FIRST", first))
    result = device.buffer(np.zeros(1, np.uint32))
    module.launch("k", [1], [64], result, np.uint32(50))
    assert result.read()[0] == 50
