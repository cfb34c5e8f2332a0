"""docs/protocol.md, protocol.h and the binding say the same of every message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tally._native import ffi, lib
from tally.interpose import ops
from tally.interpose.table import TableError

ROOT = Path(__file__).parents[2]
INCLUDE = ROOT / "native/include/tally"
HEADER = "".join((INCLUDE / n).read_text() for n in ("protocol.h", "generated/messages.h"))
PAGE = (ROOT / "docs/protocol.md").read_text()
STRUCTS = re.findall(r"^struct (tally_\w+) \{", HEADER, re.MULTILINE)
TABLE = re.compile(
    r"^#### (?P<name>tally_\w+) \((?P<bytes>\d+) bytes\)\n\n"
    r"\|[^\n]*\n\|[-:|]*\n(?P<rows>(?:\|[^\n]*\n)+)",
    re.MULTILINE,
)


def documented() -> dict[str, tuple[int, list[tuple[int, int, str]]]]:
    """Size, and (offset, size, name) of each field, by struct, as the page has them."""
    result = {}
    for table in TABLE.finditer(PAGE):
        rows = [row.strip("|").split("|") for row in table["rows"].splitlines()]
        fields = [(int(row[0]), int(row[1]), row[2].strip()) for row in rows]
        result[table["name"]] = (int(table["bytes"]), fields)
    return result


def in_c(name: str) -> tuple[int, list[tuple[int, int, str]]]:
    """The same, as the C compiler laid the struct out."""
    kind = ffi.typeof(f"struct {name}")
    fields = [(field.offset, ffi.sizeof(field.type), label) for label, field in kind.fields or []]
    return ffi.sizeof(kind), fields


def test_every_struct_is_documented() -> None:
    assert sorted(documented()) == sorted(STRUCTS)


@pytest.mark.parametrize("name", STRUCTS)
def test_layout(name: str) -> None:
    assert documented()[name] == in_c(name)


@pytest.mark.parametrize("name", STRUCTS)
def test_no_implicit_padding(name: str) -> None:
    """Uninitialised bytes of one process must not reach another."""
    size, fields = in_c(name)
    end = 0
    for offset, length, label in fields:
        assert offset == end, f"a hole before {label}"
        end = offset + length
    assert end == size


def test_op_codes() -> None:
    """Each hand-written op has one row, with its code."""
    in_header = dict(re.findall(r"TALLY_OP_([A-Z_]+) = (\d+),", HEADER))
    del in_header["GENERATED"]
    data_plane = PAGE.split("\n## Data plane\n")[1]
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| tally_op", data_plane, re.MULTILINE)
    on_page = {op: code for code, op in rows}
    assert on_page == in_header


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("a message on the data plane", lib.TALLY_MESSAGE_BYTES_MAX),
        ("bytes that ride in a COPY", lib.TALLY_INLINE_BYTES_MAX),
        ("parameters of a launch", lib.TALLY_PARAM_BYTES_MAX),
        ("number of parameters", lib.TALLY_PARAMS_MAX),
        ("attributes of a launch", lib.TALLY_ATTRIBUTES_MAX),
        ("a kernel's or global's name", lib.TALLY_NAME_BYTES_MAX),
        ("a path", lib.TALLY_PATH_BYTES_MAX),
        ("a module's error log", lib.TALLY_LOG_BYTES_MAX),
        ("devices", lib.TALLY_DEVICES_MAX),
        ("slots of a segment", lib.TALLY_SLOTS_MAX),
        ("handles per kind and session", lib.TALLY_INDEX_MAX),
    ],
)
def test_limits(limit: str, value: int) -> None:
    assert re.search(rf"^\| {re.escape(limit)} \| {value} \|", PAGE, re.MULTILINE)


def test_version() -> None:
    assert PAGE.startswith(f"# Tally's protocol, version {lib.TALLY_PROTOCOL_VERSION}\n")


def test_a_wrong_offset_is_seen() -> None:
    """The canary: a page that is off by one byte must not pass."""
    size, fields = in_c("tally_op_launch")
    shifted = [(offset + 1, length, name) for offset, length, name in fields]
    assert documented()["tally_op_launch"] != (size, shifted)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("code = 3\n", "code = 2\n", "MEM_FREE cannot have code 2"),
        ('reply = "tally_reply_mem_alloc"', 'reply = "one-way"', "MEM_ALLOC: a call"),
        ('body = "tally_op_mem_free"', 'body = "tally_op_mem_fre"', "MEM_FREE has a body"),
        ('flags = ["uint32_t", "`CU_MEMHOST', 'flags = ["uint16_t", "`CU_MEMHOST', "a hole before"),
        (
            'flags = ["uint32_t", "`CU_MEMHOST',
            'flags = ["int", "`CU_MEMHOST',
            "an unknown type int",
        ),
        ("[op.HOST_FREE]", "[op.HOST_FREE]\nworks = true", "unexpected keyword"),
    ],
)
def test_ops_that_make_no_sense(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    text = ops.OPS_PATH.read_text()
    assert old in text
    (tmp_path / "ops.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(TableError, match=wanted):
        ops.Ops(tmp_path / "ops.toml")


def test_a_new_op_gets_its_entry_on_the_page(tmp_path: Path) -> None:
    text = ops.OPS_PATH.read_text() + (
        '\n[op.STREAM_NAME]\ncode = 99\ngroup = "Launches"\nbody = "tally_op_name"\n'
        'reply = "one-way"\n\n[message.tally_op_name]\nstream = ["uint64_t", "whose"]\n'
    )
    (tmp_path / "ops.toml").write_text(text)
    page = ops.page(ops.Ops(tmp_path / "ops.toml"), PAGE)
    section = page.split("\n### Launches\n")[1].split("\n### ")[0]
    assert "| 99 | STREAM_NAME | tally_op_name | one-way |\n" in section
    assert "#### tally_op_name (24 bytes)\n" in section and "| 16 | 8 | stream | whose |" in section
    assert ops.page(ops.Ops(), PAGE) == PAGE
