"""The protocol's C headers for Python, read by cffi: no copy to drift."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import cffi

INCLUDE = Path(__file__).parents[2] / "native" / "include" / "tally"
HEADERS = tuple(
    INCLUDE / name for name in ("protocol.h", "generated/messages.h", "generated/ops.h")
)
# What the generated ops hold of the driver API: C's static assertions hold the sizes.
CUDA = "typedef struct { uint32_t id, pad; uint64_t value[8]; } CUlaunchAttribute;\n"
CUDA_BYTES = {"CUstreamAttrValue": 64, "CUtensorMap": 128}


def _without_preprocessor(text: str) -> tuple[str, dict[str, int]]:
    """The C that cffi can read, and the numeric macros."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"^_Static_assert.*$", "", text, flags=re.M)
    numbers: dict[str, int] = {}
    for name, value in re.findall(r"^#define (TALLY_\w+) (.+)$", text, flags=re.M):
        if re.fullmatch(r"[\w\s()*+-]+", value):
            numbers[name] = int(eval(re.sub(r"\b(0x[0-9a-fA-F]+|\d+)(?:u|ull)\b", r"\1", value)))
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    for name, size in CUDA_BYTES.items():
        text = text.replace(f"sizeof({name})", str(size))
    for name, number in numbers.items():
        text = re.sub(rf"\b{name}\b", str(number), text)
    text = re.sub(r"\[([\d\s*+-]+)\]", lambda match: f"[{eval(match[1])}]", text)
    return text, numbers


@functools.cache
def load() -> tuple[Any, dict[str, int]]:
    """cffi's view of the structs and enums, and the macros' values."""
    text, numbers = _without_preprocessor(
        CUDA + "".join(header.read_text(encoding="utf-8") for header in HEADERS)
    )
    ffi = cffi.FFI()
    ffi.cdef(text)
    return ffi, numbers


FFI, NUMBERS = load()


def constant(name: str) -> int:
    """A macro or an enumerator, TALLY_ left out."""
    name = f"TALLY_{name}"
    if name in NUMBERS:
        return NUMBERS[name]
    return int(FFI.dlopen(None).__getattr__(name))


LETTERS = {"uint64_t": "Q", "uint32_t": "I", "int32_t": "i", "uint16_t": "H", "uint8_t": "B"}


def _words(kind: Any, name: str) -> list[tuple[str, str]]:
    if kind.kind == "array" and kind.item.cname == "uint8_t":
        return [(f"{kind.length}s", name)]
    if kind.kind == "array":
        return _words(kind.item, name) * int(kind.length)
    if kind.kind == "struct":
        return [word for inner, part in kind.fields for word in _words(part.type, inner)]
    return [(LETTERS[kind.cname], name)]


def bodies() -> dict[int, list[tuple[str, str]]]:
    """Of every op by its code: the words behind its header, as `struct` letters with names."""
    known = set(FFI.list_types()[1])
    found = {}
    for enum in ("tally_op_code", "tally_generated_op"):
        for name, code in FFI.typeof(f"enum {enum}").relements.items():
            name = name.removeprefix("TALLY_OP_")
            if name in ("BYE", "GENERATED", "GENERATED_END"):
                continue
            name = name if name.startswith("cu") else name.lower()
            # Several ops on a stream, or on an event, have one struct; some have nothing to say.
            structs = [f"tally_op_{name}", f"tally_op_{name.split('_')[0]}"]
            struct = next((one for one in structs if one in known), "")
            fields = FFI.typeof(f"struct {struct}").fields[1:] if struct else []
            found[code] = [word for field, part in fields for word in _words(part.type, field)]
    return found


def one_way() -> set[int]:
    """Generated ops that have no reply: they must not ask for one."""
    known = set(FFI.list_types()[1])
    return {
        code
        for name, code in FFI.typeof("enum tally_generated_op").relements.items()
        if f"tally_reply_{name.removeprefix('TALLY_OP_')}" not in known
    }


def handle(kind: str, index: int) -> int:
    """TALLY_HANDLE of TALLY_KIND_<kind>."""
    return constant(f"KIND_{kind}") << 48 | constant("HANDLE_TAG") << 32 | index


def pack(struct: str, fields: dict[str, Any]) -> bytes:
    """The bytes of a struct; what is not named is zero."""
    return bytes(FFI.buffer(FFI.new(f"struct {struct} *", fields)))


def unpack(struct: str, data: bytes) -> Any:
    """A struct read from the front of data."""
    native = FFI.new(f"struct {struct} *")
    size = FFI.sizeof(f"struct {struct}")
    if len(data) < size:
        raise ValueError(f"{struct} has {size} bytes, not {len(data)}")
    FFI.memmove(native, data, size)
    return native
