"""The PTX reader: splits into statements, and writes back what it read to the byte."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tally.scheduler.ptx.reader import Kind, ReadError, read, write

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.ptx"))

SAMPLE = r"""// a module
.version 8.0
.target sm_80, debug
.address_size 64
.file 1 "a \"b\".cu", 12, 34
.global .align 1 .b8 text[4] = {59, 123, 125}; /* ; { } */
.const .u32 nested[2] = {{1}, {2}};
.visible .entry k( // { ; }
    .param .u64 a
)
.maxntid 256, 1, 1
{
    .reg .b32 %r<3>; .reg .pred %p;
    .loc 1 2 3
    .pragma "nounroll";
$L__BB0_1:
    mov.b64 {%r1, %r2}, %rd1;  @%p bra $L__BB0_1;
    {  // callseq
    .param .b32 retval0;
    call (retval0), f,
        (
        param0
        );
    prototype_0 : .callprototype (.param .b32 _) _ (.param .b32 _);
    }
    ret;
}
.section .debug_str
{
.b8 59,123,0
label: .b8 1
}
"""


def test_writing_gives_what_was_read() -> None:
    assert write(read(SAMPLE)) == SAMPLE


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.name)
def test_golden_files_round_trip(path: Path) -> None:
    text = path.read_text()
    assert write(read(text)) == text


def test_kinds_and_lines() -> None:
    found = [(s.kind, s.bare.split()[0], s.line) for s in read(SAMPLE) if s.text]
    assert found == [
        (Kind.DIRECTIVE, ".version", 2),
        (Kind.DIRECTIVE, ".target", 3),
        (Kind.DIRECTIVE, ".address_size", 4),
        (Kind.DIRECTIVE, ".file", 5),
        (Kind.DIRECTIVE, ".global", 6),
        (Kind.DIRECTIVE, ".const", 7),
        (Kind.FUNCTION, ".visible", 8),
        (Kind.OPEN, "{", 12),
        (Kind.DIRECTIVE, ".reg", 13),
        (Kind.DIRECTIVE, ".reg", 13),
        (Kind.DIRECTIVE, ".loc", 14),
        (Kind.DIRECTIVE, ".pragma", 15),
        (Kind.LABEL, "$L__BB0_1:", 16),
        (Kind.INSTRUCTION, "mov.b64", 17),
        (Kind.INSTRUCTION, "@%p", 17),
        (Kind.OPEN, "{", 18),
        (Kind.DIRECTIVE, ".param", 19),
        (Kind.INSTRUCTION, "call", 20),
        (Kind.LABEL, "prototype_0", 24),
        (Kind.DIRECTIVE, ".callprototype", 24),
        (Kind.CLOSE, "}", 25),
        (Kind.INSTRUCTION, "ret;", 26),
        (Kind.CLOSE, "}", 27),
        (Kind.DIRECTIVE, ".section", 28),
    ]


def test_comments_inside_a_statement_are_dropped_from_bare() -> None:
    (statement,) = read('.pragma /* ; */ "not // a comment"; ')[:1]
    assert statement.bare.split() == [".pragma", '"not', "//", "a", 'comment";']


@pytest.mark.parametrize(
    ("text", "line"),
    [("\n}", 2), ("{\n", 2), ("\n\nmov.u32 %r1, 2", 3), (".section .x {", 1), ("@", 1)],
)
def test_errors_have_lines(text: str, line: int) -> None:
    with pytest.raises(ReadError) as caught:
        read(text)
    assert caught.value.line == line


@given(st.text(st.sampled_from(list('ab.;{}:/*"\\\n @,_$%#()[]<>+-0 ')), max_size=200))
def test_any_text_round_trips_or_is_refused(text: str) -> None:
    try:
        statements = read(text)
    except ReadError as error:
        assert 1 <= error.line <= text.count("\n") + 1
    else:
        assert write(statements) == text


def test_megabytes_take_about_a_second() -> None:
    body = "    add.s32 %r1, %r2, 3; // comment\n    @%p1 bra LABEL;\n" * 60_000
    text = f".version 8.0\n.visible .entry k()\n{{\n{body}}}\n"
    began = time.perf_counter()
    assert len(read(text)) > 120_000
    assert time.perf_counter() - began < 10  # about 0.4 s when the machine is idle
