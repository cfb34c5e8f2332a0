"""The Python codec of the control plane against protocol.h, as a C compiler reads it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tally.client import protocol

INCLUDE = Path(__file__).parents[2] / "native" / "include"
FIELDS = {
    "tally_control_header": (protocol.HEADER, ["magic", "version", "type", "sequence", "status"]),
    "tally_hello": (protocol.HELLO, ["pid", "api_version", "job", "program"]),
    "tally_hello_reply": (protocol.HELLO_REPLY, ["session", "device_count", "driver_version"]),
    "tally_open": (protocol.OPEN, ["session", "device", "reserved"]),
    "tally_open_reply": (
        protocol.OPEN_REPLY,
        [
            *("ops", "replies", "segment", "segment_bytes", "slot_count", "slot_bytes"),
            *("device_region_base", "device_region_bytes"),
        ],
    ),
    "tally_unsupported": (protocol.UNSUPPORTED, ["symbol", "count"]),
}
CONSTANTS = {
    "TALLY_PROTOCOL_VERSION": protocol.VERSION,
    "TALLY_CONTROL_MAGIC": protocol.MAGIC,
    "TALLY_DEVICES_MAX": protocol.DEVICES_MAX,
    "sizeof(struct tally_device_info)": protocol.DEVICE_INFO_BYTES,
    "offsetof(struct tally_device_info, total_bytes)": protocol.DEVICE_TOTAL_OFFSET,
    **{f"TALLY_CONTROL_{kind.name}": kind.value for kind in protocol.Type},
    **{f"TALLY_STATUS_{status.name}": status.value for status in protocol.Status},
}


@pytest.fixture(scope="module")
def from_c(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Every number as C has it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    expressions = list(CONSTANTS)
    for name, (_, fields) in FIELDS.items():
        expressions.append(f"sizeof(struct {name})")
        expressions += [f"offsetof(struct {name}, {field})" for field in fields]
    folder = tmp_path_factory.mktemp("layout")
    prints = "".join(f'printf("%llu\\n", (unsigned long long)({e}));' for e in expressions)
    source = folder / "layout.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <tally/protocol.h>\n"
        f"int main(void) {{ {prints} return 0; }}\n"
    )
    program = folder / "layout"
    subprocess.run([compiler, f"-I{INCLUDE}", str(source), "-o", str(program)], check=True)
    output = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return dict(zip(expressions, map(int, output.split()), strict=True))


@pytest.mark.parametrize("name", FIELDS)
def test_struct(name: str, from_c: dict[str, int]) -> None:
    layout, fields = FIELDS[name]
    assert layout.size == from_c[f"sizeof(struct {name})"]
    codes = _codes(layout.format)
    assert len(codes) == len(fields)
    offset = 0
    for code, field in zip(codes, fields, strict=True):
        assert offset == from_c[f"offsetof(struct {name}, {field})"], field
        offset += struct.calcsize("<" + code)


def _codes(layout: str) -> list[str]:
    """The format's fields, "64s" being one."""
    codes, digits = [], ""
    for character in layout.lstrip("<"):
        if character.isdigit():
            digits += character
        else:
            codes.append(digits + character)
            digits = ""
    return codes


@pytest.mark.parametrize("name", CONSTANTS)
def test_constant(name: str, from_c: dict[str, int]) -> None:
    assert CONSTANTS[name] == from_c[name]
