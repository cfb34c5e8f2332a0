"""Linking PTX modules, and the choice among an image's PTX."""

from __future__ import annotations

import struct

import pytest
from support.toolchain import assemble

from tally.scheduler.ptx.image import ImageError, extract, is_mixed
from tally.scheduler.ptx.link import LinkError, link, split
from tally.scheduler.ptx.reader import read

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
TWICE = ".func (.param .b32 out) twice(.param .b32 in)"
BODY = (
    "{\n.reg .b32 %r<2>;\nld.param.b32 %r1, [in];\nshl.b32 %r1, %r1, 1;\n"
    "st.param.b32 [out], %r1;\nret;\n}\n"
)
CALLER = (
    HEAD
    + f".extern {TWICE};\n.extern .global .align 4 .b8 table[16];\n"
    + ".global .align 1 .b8 $str[3] = {104, 105};\n"
    + ".visible .global .align 8 .u64 where = generic(table)+8;\n"
    + ".visible .entry kernel(.param .u64 p)\n{\n.reg .b32 %r<3>;\n.reg .b64 %d<3>;\n"
    + "mov.u64 %d1, $str;\nmov.u64 %d2, table;\nld.global.b32 %r1, [%d2];\n"
    + "{\n.param .b32 in;\nst.param.b32 [in], %r1;\n.param .b32 out;\n"
    + "call.uni (out), twice, (in);\nld.param.b32 %r2, [out];\n}\nret;\n}\n"
)
CALLEE = (
    HEAD.replace("8.0", "8.3")
    + ".visible .global .align 4 .b8 table[16] = {1, 0, 0, 0};\n"
    + ".global .align 1 .b8 $str[3] = {104, 111};\n"
    + f".visible {TWICE}\n{BODY}"
)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_modules(order: tuple[int, int]) -> None:
    linked = link([(CALLER, CALLEE)[i] for i in order])
    assert linked.startswith(".version 8.3\n.target sm_80\n.address_size 64\n")
    assert ".extern" not in linked
    assert linked.count("twice(") == 2  # declared and defined; called without a parenthesis
    assert "$str__m0[3]" in linked and "$str__m1[3]" in linked
    assert linked.index("table[16]") < linked.index("where =")
    assemble(linked, "sm_80")


def test_names_are_renamed_where_they_are_names() -> None:
    first = HEAD + '.global .u32 own = 1;\n// own\n.global .b8 text[4];\n.pragma "own";\n'
    linked = link([first, HEAD + ".global .u32 own = 2;\n.global .u64 p = own;\n"])
    assert ".global .u32 own__m0 = 1" in linked and '.pragma "own"' in linked
    assert ".global .u32 own__m1 = 2" in linked and "p = own__m1" in linked


def test_one_module_stays_as_it_is() -> None:
    assert link([CALLER]) == CALLER
    assert split(CALLER) == [CALLER]
    assert split(f"{CALLER}\n{CALLEE}") == [CALLER + "\n", CALLEE]


def test_what_nobody_defines_stays_declared_once() -> None:
    declared = HEAD + ".extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);\n"
    assert link([declared, declared]).count("vprintf") == 1


def test_weak_and_common_definitions() -> None:
    weak = HEAD + f".weak {TWICE}\n{BODY}"
    strong = HEAD + f".visible {TWICE}\n{BODY}"
    assert link([weak, strong, weak]).count("ret;") == 1
    assert ".visible .func" in link([weak, strong]) and ".weak .func" in link([weak, weak])
    commons = [HEAD + f".common .global .align 4 .b8 c[{n}];\n" for n in (4, 16, 8)]
    assert "c[16]" in link(commons) and "c[4]" not in link(commons)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ([CALLEE, CALLEE], "table is defined in two modules"),
        ([HEAD, ".version 8.0\n.target sm_80\n.address_size 32\n"], "address sizes"),
        ([HEAD, ".version 8.0\n"], "module 2 has no .version, .target or .address_size"),
        ([HEAD, HEAD + "/* no end"], "module 2: line 4: a comment that does not end"),
        ([], "0 modules"),
    ],
)
def test_what_cannot_be_linked(texts: list[str], wanted: str) -> None:
    with pytest.raises(LinkError, match=wanted):
        link(texts)


def test_addresses_in_a_circle() -> None:
    circle = HEAD + ".visible .global .u64 a = b;\n.visible .global .u64 b = a;\n"
    assert len(read(link([circle, HEAD]))) == len(read(circle))


def fatbin(*entries: tuple[int, int, str]) -> bytes:
    """kind (1 PTX, 2 machine code), architecture, text."""
    payload = b""
    for kind, architecture, text in entries:
        data = text.encode() + b"\0"
        payload += struct.pack(
            "<HHIIIIIIIIIQQQ", kind, 0x101, 64, len(data), 0, 0, 0, 0, architecture, 64, 0, 0, 0, 0
        )
        payload += data
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(payload)) + payload


def bundle(*fatbins: bytes) -> bytes:
    head = struct.pack(f"<II{len(fatbins)}Q", 0x4B4E4C54, len(fatbins), *map(len, fatbins))
    return head + b"".join(data + bytes(-len(data) % 8) for data in fatbins)


def target(name: str) -> str:
    return HEAD.replace("sm_80", name)


ALL = fatbin(
    *((1, int(n.rstrip("af")), target(f"sm_{n}")) for n in ("80", "90", "90a", "100f", "120"))
)


@pytest.mark.parametrize(
    ("device", "wanted"),
    [
        *[(80, "sm_80"), (86, "sm_80"), (89, "sm_80"), (90, "sm_90"), (100, "sm_100f")],
        *[(103, "sm_100f"), (120, "sm_120"), (121, "sm_120")],
    ],
)
def test_the_best_ptx_that_the_device_can_run(device: int, wanted: str) -> None:
    assert f".target {wanted}\n" in extract(ALL, device)


def test_no_ptx_for_the_device() -> None:
    with pytest.raises(ImageError, match="its PTX is for sm_80 and later, the device is sm_75"):
        extract(ALL, 75)
    with pytest.raises(ImageError, match="none of its PTX is for sm_103"):
        extract(fatbin((1, 90, target("sm_90a"))), 103)


def test_a_bundle() -> None:
    empty, caller, callee = fatbin(), fatbin((1, 80, CALLER)), fatbin((1, 80, CALLEE))
    runtime = fatbin((2, 80, "code"), (1, 121, target("sm_121")))  # as the device runtime's library
    image = bundle(empty, caller, runtime, callee)
    assert is_mixed(image)
    assert extract(image, 80) == link([CALLER, CALLEE])
    assert extract(bundle(caller, callee), 80) == CALLER  # linked already
    with pytest.raises(ImageError, match="no PTX in the fatbins"):
        extract(bundle(empty, runtime), 80)
    for cut in range(len(image) - 8):  # never another error, whatever is missing
        with pytest.raises((ImageError, LinkError)):
            extract(image[:cut], 80)
