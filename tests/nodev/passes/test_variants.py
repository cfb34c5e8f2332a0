"""A module with rewritten forms beside its kernels, and the PTX that images hold."""

from __future__ import annotations

import struct
from pathlib import Path

import lz4.block
import pytest
import zstandard

from tally.scheduler.ptx import variables, variants
from tally.scheduler.ptx.image import ImageError, extract, is_mixed
from tally.scheduler.ptx.module import Module, RewriteError

SOURCE = (Path(__file__).parent / "golden" / "passes.ptx").read_text()


def names(text: str) -> set[str]:
    return {entry.name for entry in Module.parse(text).entries}


def test_forms_follow_the_class() -> None:
    made = variants.run(SOURCE)
    assert {"plain", "plain__tallyguard", "plain__tallysub"} <= names(made.text)
    # Waits for another block: slices in ascending order only.
    assert "waits_for_another_block__tallysub" in names(made.text)
    assert "waits_for_another_block__tallyguard" not in names(made.text)
    # Never delayed: no form at all.
    assert "talks_to_the_host" in names(made.text)
    assert not any(n.startswith("talks_to_the_host__") for n in names(made.text))


def test_a_refused_form_is_left_out() -> None:
    made = variants.run(SOURCE)
    assert set(made.refused) == {"through_a_function"}
    assert "through_a_function__tallyguard" in names(made.text)
    assert "through_a_function__tallysub" not in names(made.text)


def test_the_original_kernels_stay_as_they_were() -> None:
    made = variants.run(SOURCE)
    assert made.text.startswith(SOURCE.rstrip())


def test_forms_alone() -> None:
    """Only the forms, and the functions that they call; nothing that is about the originals."""
    text = HEAD + "\n".join(
        [
            '.file 1 "k.cu"',
            ".global .align 4 .u32 unused = 3;",
            ".func helper() { ret; }",
            ".visible .entry k(.param .u64 data)\n{",
            ".loc 1 2 3, function_name $L__info0, inlined_at 1 4 5",
            "call helper, ();\nret;\n}",
            ".section .debug_str\n{\n$L__info0:\n.b8 0\n}",
        ]
    )
    assert variables.reachable(text) == []
    made = variants.run(text, alone=True)
    assert names(made.text) == {"k__tallyguard", "k__tallysub"}
    assert {f.name for f in Module.parse(made.text).functions} > {"helper"}
    for word in (".loc", ".file", ".section", "unused"):
        assert word not in made.text
    beside = variants.run(text)
    assert {f.name for f in Module.parse(beside.text).entries} == {"k"} | names(made.text)
    assert beside.verdicts == made.verdicts and beside.refused == made.refused


HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
KERNEL = "\n.visible .entry k(.param .u64 .ptr .global .align 4 data)\n{{\n{}\nret;\n}}\n"


@pytest.mark.parametrize(
    ("declared", "used", "names"),
    [
        ("", "ld.global.u32 %r0, [%d0];", []),
        (".global .align 4 .u32 gauge;", "ld.global.u32 %r0, [%d0];", []),
        (".global .align 4 .u32 gauge;", "// gauge\n@%gauge bra a.gauge;", []),
        (".global .align 4 .u32 gauge;", "mov.u64 %d0, gauge;", ["gauge"]),
        (".visible .global .align 4 .u32 gauge[4];", "ld.global.u32 %r0, [gauge+4];", ["gauge"]),
        (".global .u32 gauge;\n.global .u64 p = gauge;", "mov.u64 %d0, p;", ["gauge", "p"]),
        (".visible .const .align 8 .b8 step[16] = {1, 2};", "ld.const.u32 %r0, [step+4];", None),
        (".global .attribute(.managed) .u32 gauge;", "", None),
        (".global .u32 gauge;\n.global .u32 gauge;", "", None),
        (".extern .shared .align 16 .b8 tile[];", "ld.shared.u32 %r0, [tile];", []),
        (".global .texref t;", "", None),
        (".global .u32 data;", "ld.param.u64 %d0, [data];", None),
        (".global .u32 gauge;", ".reg .u32 other, gauge;", None),
        (".global .u32 gauge;", "gauge: bra gauge;", None),
        ("", "call (r), %d0, (), prototype;\nprototype: .callprototype ();", None),
    ],
)
def test_variables_that_forms_alone_reach(
    declared: str, used: str, names: list[str] | None
) -> None:
    text = HEAD + declared + KERNEL.format(used)
    assert variables.reachable(text) == names
    if names is None:
        with pytest.raises(RewriteError):
            variants.run(text, alone=True)
        assert not variants.run(text, alone=None).text.startswith(variables.LINE)


def test_debug_builds_have_their_forms_beside_them() -> None:
    debug = (HEAD + KERNEL.format("")).replace("sm_80", "sm_80, debug")
    assert variables.reachable(debug) is None


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        ("mov.u64 %d0, b;", ["mov.u64 %d0, %tally_v0;"]),
        ("mov.u64 %d0, b+8;", ["add.s64 %tally_v1, %tally_v0, 8;", "mov.u64 %d0, %tally_v1;"]),
        ("ld.global.u32 %r0, [b];", ["ld.global.u32 %r0, [%tally_v0];"]),
        ("@!%p1 st.global.u32 [ b+-4], %r0;", ["@!%p1 st.global.u32 [%tally_v0+-4], %r0;"]),
        ("atom.global.add.u32 %r0, [b+4], 1;", ["atom.global.add.u32 %r0, [%tally_v0+4], 1;"]),
        ("cvta.global.u64 %d0, b;", ["cvta.global.u64 %d0, %tally_v0;"]),
    ],
)
def test_uses_go_through_the_table(used: str, expected: list[str]) -> None:
    text = (
        HEAD
        + ".global .u64 a; .global .u64 b;\n".replace("; .", ";\n.")
        + KERNEL.format(f"mov.u64 %d1, a;\n{used}")
    )
    made = variants.run(text, alone=True).text
    assert made.startswith(f"{variables.LINE}a b\n")
    assert f".const .align 8 .u64 {variables.TABLE}[2];" in made
    for entry in Module.parse(made).entries:
        body = Module.parse(made).statements[entry.open : entry.close]
        lines = [" ".join(s.bare.split()) for s in body]
        at = lines.index(f"ld.const.u64 %tally_v0, [{variables.TABLE}+8];")
        assert lines[at - 2 : at] == ["{", ".reg .b64 %tally_v<2>;"]
        assert lines[at + 1 : at + 2 + len(expected)] == [*expected, "}"]


@pytest.mark.parametrize("used", ["call f, (a);", "mov.u64 %d0, generic(a);", "@a bra L;"])
def test_uses_that_are_not_understood(used: str) -> None:
    text = HEAD + ".global .u64 a;" + KERNEL.format(used)
    with pytest.raises(RewriteError, match="line 7"):
        variants.run(text, alone=True)


def test_twice_is_refused() -> None:
    with pytest.raises(RewriteError):
        variants.run(variants.run(SOURCE).text)


def test_what_does_not_read_is_refused() -> None:
    with pytest.raises(RewriteError, match="line"):
        variants.run(".version 8.0\n.target sm_80\n.entry k() {")


def fatbin(*entries: tuple[int, int, int, bytes, int]) -> bytes:
    """(kind, sm, flags, payload, raw bytes) each."""
    body = b""
    for kind, sm, flags, payload, raw in entries:
        body += struct.pack("<HHIIIIIIIIIQQQ", kind, 0x101, 64, len(payload), 0, len(payload),
                            0, 0, sm, 64, 0, flags, 0, raw) + bytes(0) + payload  # fmt: skip
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def entry(sm: int, text: str, flags: int = 0) -> tuple[int, int, int, bytes, int]:
    data = text.encode()
    packed = {0: data, 0x2000: b"", 0x8000: b""}[flags]
    if flags == 0x2000:
        packed = lz4.block.compress(data, store_size=False)
    if flags == 0x8000:
        packed = zstandard.ZstdCompressor().compress(data)
    return 1, sm, flags, packed, len(data)


@pytest.mark.parametrize("flags", [0, 0x2000, 0x8000])
def test_the_best_entry_is_taken_out_of_a_fatbin(flags: int) -> None:
    image = fatbin(
        entry(75, ".version 7.0\n", flags), entry(80, SOURCE, flags), (2, 90, 0, b"elf", 3)
    )
    assert extract(image) == SOURCE


def test_images_that_hold_more_than_one_piece_of_code() -> None:
    assert not is_mixed(SOURCE.encode())
    assert not is_mixed(fatbin(entry(80, SOURCE)))
    assert is_mixed(fatbin(entry(80, SOURCE), (2, 90, 0, b"elf", 3)))
    assert is_mixed(fatbin(entry(75, SOURCE), entry(80, SOURCE)))


def test_text_ends_at_its_nul() -> None:
    assert extract(SOURCE.encode() + b"\0rest") == SOURCE


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"\x7fELF" + bytes(60),
        fatbin((2, 80, 0, b"elf", 3)),
        fatbin(entry(80, SOURCE))[:100],
        fatbin((1, 80, 0x8000, b"not zstd", 100)),
        fatbin((1, 80, 0x2000, b"not lz4", 100)),
        fatbin((1, 80, 0x8000, b"", 1 << 40)),
    ],
)
def test_images_without_ptx(image: bytes) -> None:
    with pytest.raises(ImageError):
        extract(image)
