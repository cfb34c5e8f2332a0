"""Compiled code in the executor: bound into one piece, loaded without LLVM, and given back."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.soft_device import SoftDevice, SoftError, soft_device

from tally.daemon.softgpu import WORK_MODULE, Modules, abi, install
from tally.daemon.softgpu.image import LinkError, link
from tally.daemon.softgpu.jit import jit
from tally.daemon.softgpu.loader import Loaded, LoadError
from tally.daemon.workers import Limits, Pool

pytestmark = pytest.mark.beside

PTX = """.version 8.0
.target sm_80
.address_size 64
.visible .global .align 8 .b64 big[65536];
.visible .entry k(.param .u64 out)
{{
.reg .b64 %d0; .reg .b32 %r0;
ld.param.u64 %d0, [out];
mov.u32 %r0, {0};
st.global.u32 [%d0], %r0;
ret;
}}
"""


@pytest.fixture
def device() -> SoftDevice:
    return soft_device()


def executable() -> int:
    """Bytes of this process's memory that hold code of no file. The kernel shows neighbours as one
    mapping, so that their number says nothing."""
    bytes_in_all = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        words = line.split()
        if len(words) == 5 and words[1] == "r-xp":
            first, last = words[0].split("-")
            bytes_in_all += int(last, 16) - int(first, 16)
    return bytes_in_all


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def call(code: Loaded, kind: Any, *arguments: float) -> Any:
    function = ctypes.CFUNCTYPE(kind, *[kind] * len(arguments))(code.entry)
    return function(*arguments)


def test_code_with_constants_in_sections_of_their_own() -> None:
    """LLVM's loader ended the process where such sections came to lie too far apart."""
    body = "\n".join(f"%a{i + 1} = fadd double %a{i}, {i + 0.5}" for i in range(500))
    text = f"define double @K(double %a0) {{\n{body}\nret double %a500\n}}"
    image = link(jit().compile(text), "K")
    before = executable()
    code = Loaded(image)
    assert call(code, ctypes.c_double, 1.0) == 1.0 + sum(i + 0.5 for i in range(500))
    assert code.entry - code.base < code.bytes and executable() >= before
    code.unload()
    assert executable() == before


def test_code_that_calls_the_c_library() -> None:
    text = (
        "declare double @sin(double)\ndeclare double @pow(double, double)\n"
        "define double @K(double %a) {\n%b = call double @sin(double %a)\n"
        "%c = call double @pow(double %b, double 3.0)\n%d = call double @sin(double %c)\n"
        "ret double %d\n}"
    )
    code = Loaded(link(jit().compile(text), "K"))
    assert call(code, ctypes.c_double, 0.5) == math.sin(math.pow(math.sin(0.5), 3.0))
    code.unload()


def test_code_with_tables_of_addresses() -> None:
    cases = "\n".join(f"i64 {i}, label %c{i}" for i in range(40))
    blocks = "\n".join(f"c{i}:\n%v{i} = mul i64 %x, {i * i + 3}\nbr label %end" for i in range(40))
    merged = ", ".join(f"[%v{i}, %c{i}]" for i in range(40))
    text = (
        "@t = internal constant [2 x ptr] [ptr @F, ptr @G]\n"
        "define internal i64 @F(i64 %a) noinline {\n%b = add i64 %a, 1\nret i64 %b\n}\n"
        "define internal i64 @G(i64 %a) noinline {\n%b = mul i64 %a, 7\nret i64 %b\n}\n"
        "define i64 @K(i64 %x) {\nentry:\nswitch i64 %x, label %other [\n" + cases + "\n]\n"
        f"{blocks}\nother:\nbr label %end\nend:\n%r = phi i64 {merged}, [-1, %other]\n"
        "%i = and i64 %x, 1\n%p = getelementptr [2 x ptr], ptr @t, i64 0, i64 %i\n"
        "%f = load ptr, ptr %p\n%s = call i64 %f(i64 %r)\nret i64 %s\n}"
    )
    code = Loaded(link(jit().compile(text), "K"))
    for x in range(40):
        value = x * (x * x + 3)
        assert call(code, ctypes.c_int64, x) == (value * 7 if x & 1 else value + 1)
    code.unload()


def test_what_cannot_be_bound_is_an_error_and_ends_nothing() -> None:
    with pytest.raises(LinkError, match="no X"):
        link(jit().compile("define void @K() {\nret void\n}"), "X")
    written = "@g = global i32 5\ndefine ptr @K() {\nret ptr @g\n}"
    with pytest.raises(LinkError, match="written"):
        link(jit().compile(written), "K")
    missing = (
        "declare void @no_such_function()\ndefine void @K() {\ncall void @no_such_function()\n"
    )
    image = link(jit().compile(missing + "call void @no_such_function()\nret void\n}"), "K")
    with pytest.raises(LoadError, match="no_such_function"):
        Loaded(image)
    with pytest.raises(ValueError, match="image"):
        Loaded(b'{"bytes": 5, "entry": 0, "rebase": [], "symbols": []}\nabc')


def run_once(device: SoftDevice, number: int) -> None:
    module = device.load(PTX.format(number))
    out = device.buffer(np.zeros(1, np.uint32))
    module.launch("k", (1, 1, 1), (1, 1, 1), out)
    assert out.read()[0] == number
    out.free()
    device.call("cuModuleUnload", module.handle)


def test_code_goes_with_the_last_module_that_has_it(device: SoftDevice) -> None:
    before = executable()
    first, second = device.load(PTX.format(77)), device.load(PTX.format(77))
    out = device.buffer(np.zeros(1, np.uint32))
    for module in (first, second):
        module.launch("k", (1, 1, 1), (1, 1, 1), out)
    both = executable()
    assert both > before
    device.call("cuModuleUnload", first.handle)
    second.launch("k", (1, 1, 1), (1, 1, 1), out)
    assert executable() == both and out.read()[0] == 77
    device.call("cuModuleUnload", second.handle)
    assert executable() == before
    out.free()


def test_memory_does_not_grow_with_modules_that_come_and_go(device: SoftDevice) -> None:
    for number in range(20):
        run_once(device, number)
    code_before, bytes_before = executable(), resident_bytes()
    for number in range(20, 150):
        run_once(device, number)
    assert executable() == code_before
    assert resident_bytes() - bytes_before < 16 << 20


def test_a_compiler_that_is_ended_refuses_its_module_alone(device: SoftDevice) -> None:
    pool = Pool([WORK_MODULE], Limits(1, 0.01, 1 << 30))
    library = device.library
    modules = Modules(pool, None, 0, leaving=library.softgpuLeaving, urgent=library.softgpuUrgent)
    body = "add.u32 %r0, %r0, 1;\n" * 100_000
    text = PTX.format(5).replace("ret;", body + "ret;").encode()
    with pytest.raises(Exception, match="code_seconds_max"):
        modules.load(text)
    pool.close()
    run_once(device, 1)


def test_text_that_is_no_ptx_has_its_error_from_the_worker(device: SoftDevice) -> None:
    with pytest.raises(SoftError, match="line 4"):
        device.load(".version 8.0\n.target sm_80\n.address_size 64\n}\n")


# ---- the library that it is for ------------------------------------------------------------------


def test_helpers_are_held_by_name_and_order(
    device: SoftDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled code calls them by their places: one that has another's place is called for it."""
    names = list(abi.HELPERS)
    load, store = names.index("load"), names.index("store")
    names[load], names[store] = names[store], names[load]
    monkeypatch.setattr(abi, "HELPERS", tuple(names))
    with pytest.raises(RuntimeError, match=r"does not fit this compiler: .*,load,store,"):
        install(device.library, keep=False)


@pytest.mark.parametrize("field", ["ctaid", "workspace"])
def test_fields_are_held_by_their_places(
    device: SoftDevice, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    monkeypatch.setitem(abi.FIELDS, field, abi.FIELDS[field] + 4)
    with pytest.raises(RuntimeError, match="does not fit this compiler"):
        install(device.library, keep=False)
