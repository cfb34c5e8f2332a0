"""Whatever a program's PTX says, reading and judging it takes time in proportion to its size.

Times are of the thread's own work. Twice the size may take 2.8 times as long and a little more,
where what is quadratic takes 4 times as long.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tally.daemon.softgpu.errors import PtxError
from tally.daemon.softgpu.front.ptx.parse import parse
from tally.scheduler.ptx import variables, variants
from tally.scheduler.ptx.module import RewriteError

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
REPEATS = 4000
REPEATS_MAX = 32_000  # what is quick at this size is not quadratic
ENOUGH_SECONDS = 0.15

# What stands before, what is repeated, what stands behind: each made one of the expressions that
# were used here before quadratic, or would if it gave back what it took.
TEXTS = {
    "newlines": ("", "\n", "x"),
    "comments that do not end": ("", "/* ", "x"),
    "strings that do not end": (".pragma ", '"\\\\"', ";"),
    "escapes at the end of a string": ('.pragma "', "\\\\", '";'),
    "spaces behind a name": ("x", " ", "y;"),
    "linkage without an end": ("", ".visible\n", ";"),
    "linkage on one line": ("", ".visible ", ";"),
    "targets": (".target sm_80", ",\n", "debug_;"),
    "a declaration of state spaces": ("", ".global ", ";"),
    "declarations": ("", ".global .u32 v; ", ""),
    "kinds of a declaration": (".global", " .b8 1", ";"),
    "dimensions": (".global .b8 x", "[", "];"),
    "spaces in a dimension": (".global .b8 x[", " ", ";"),
    "an initial value": (".global .b8 x[4] = {mask(", " ", "};"),
    "an initial sum": (".global .u64 x[4] = {y", " ", "z};"),
    "a parameter": (".entry k(.param .u64 .ptr ", "a", "!){ret;}"),
    "spaces in a parameter": (".entry k(.param .u64 .ptr ", "a ", "!){ret;}"),
    "parameters": (".entry k(.param .u64 a", ",.param .u64 b", "){ret;}"),
    "qualifiers": (".entry k(){", "red.", "x;ret;}"),
    "vectors in vectors": (".entry k(){", "mov.v4.u32 {", "}".join([""] * 2) + ";ret;}"),
    "groups": (".entry k(){// ", "cooperative_groups grid_group ", "\nret;}"),
    "names of groups": (".entry k(){call ", "cooperative_groups", ";ret;}"),
    "an address": (".entry k(){.reg .b64 %r<2>;ld.u32 %r1,[%r0+", " ", "x y];ret;}"),
    "a register": (".entry k(){.reg .b64 %r<2>;mov.b64 %r1, %r", "1", ";ret;}"),
    "registers": (".entry k(){.reg .b64 %r<2>;", "mov.b64 %r1,%r0;", "ret;}"),
    "labels": (".entry k(){", "a\n", ";ret;}"),
    "braces": (".entry k(){", "{", ""),
    "a call": (".entry k(){call (", "(", ";ret;}"),
    "kernels": ("", ".entry k(){ret;}", ""),
    "statements": ("", ";", ""),
    "attributes": (".global .attribute(", ".attribute(", ") .u32 x;"),
}


def reach(text: str) -> None:
    variables.reachable(text)


def rewrite(text: str) -> None:
    with contextlib.suppress(RewriteError):
        variants.run(text, alone=None)


def read_for_softgpu(text: str) -> None:
    with contextlib.suppress(PtxError):
        parse(text)


READERS = [reach, rewrite, read_for_softgpu]


def seconds(reader: Callable[[str], None], text: str, runs: int = 1) -> float:
    """The least of several runs."""
    taken = []
    for _ in range(runs):
        gc.collect()
        gc.disable()  # its work grows with all that the process has
        began = time.thread_time()
        reader(text)
        taken.append(time.thread_time() - began)
        gc.enable()
    return min(taken)


def assert_linear(reader: Callable[[str], None], before: str, piece: str, after: str) -> None:
    """Doubles the size until a run takes long enough to be measured, and judges the last two."""
    repeats, text = REPEATS, HEAD + before + piece * REPEATS + after
    while repeats <= REPEATS_MAX and seconds(reader, text) < ENOUGH_SECONDS:
        repeats *= 2
        text = HEAD + before + piece * repeats + after
    if repeats > REPEATS_MAX:
        return
    shorter = HEAD + before + piece * (repeats // 2) + after
    for runs in (1, 3):  # once more, if something else was in the way
        allowed = 2.8 * seconds(reader, shorter, runs) + ENOUGH_SECONDS / 8
        if seconds(reader, text, runs) < allowed:
            return
    raise AssertionError(f"{piece!r} repeated between {before!r} and {after!r}")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", TEXTS)
def test_texts_made_to_be_slow_take_the_time_of_their_size(
    name: str, reader: Callable[[str], None]
) -> None:
    assert_linear(reader, *TEXTS[name])


TOKENS = st.sampled_from(
    [
        *(" ", "\n", "\t", ";", "{", "}", "(", ")", "[", "]", ",", ":", "::", "@", "%", "$", "_"),
        *("/*", "*/", "//", '"', "\\", ".", "a", "r1", "1", "+", "-", "=", "<", ">", "!", "|"),
        *(
            ".visible",
            ".global",
            ".const",
            ".param",
            ".reg",
            ".u64",
            ".b8",
            ".ptr",
            ".align",
            ".sys",
        ),
        *(".func", ".entry", ".target", "debug", "call", "red", "mov.v4.u32", "%ctaid", "mask("),
        *("cooperative_groups", "grid_group", "tally_", ".section", ".file 1", "generic("),
        *(".sys", "\t.local", "%r"),
    ]
)
PIECES = st.lists(TOKENS, max_size=4).map("".join)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(READERS), PIECES, st.lists(TOKENS, min_size=1, max_size=3), PIECES)
def test_anything_repeated_takes_the_time_of_its_size(
    reader: Callable[[str], None], before: str, piece: list[str], after: str
) -> None:
    assert_linear(reader, before, "".join(piece), after)
