"""native/include/tally/protocol.h for Python, read by cffi from the header: no copy to drift."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import cffi

HEADER = Path(__file__).parents[2] / "native" / "include" / "tally" / "protocol.h"


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
    for name, number in numbers.items():
        text = re.sub(rf"\b{name}\b", str(number), text)
    text = re.sub(r"\[([\d\s*+-]+)\]", lambda match: f"[{eval(match[1])}]", text)
    return text, numbers


@functools.cache
def load() -> tuple[Any, dict[str, int]]:
    """cffi's view of the structs and enums, and the macros' values."""
    text, numbers = _without_preprocessor(HEADER.read_text(encoding="utf-8"))
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
