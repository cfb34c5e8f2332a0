"""What `tally run` must know of a program's file: which C library it is for."""

from __future__ import annotations

import struct

HEAD_BYTES = 1 << 16
PT_INTERP = 3
IDENT = b"\x7fELF\x02\x01"  # 64 bits, little-endian


def interpreter(path: str) -> str:
    """The dynamic loader that an ELF program asks for; empty for a static one, or another file."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return ""
    if not head.startswith(IDENT) or len(head) < 64:
        return ""
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    for at in range(table, table + size * count, size or 1):
        if at + 40 > len(head):
            break
        (kind,) = struct.unpack_from("<I", head, at)
        if kind == PT_INTERP:
            offset, bytes_ = struct.unpack_from("<Q", head, at + 8)[0], head[at + 32 : at + 40]
            end = offset + int.from_bytes(bytes_, "little")
            return head[offset:end].rstrip(b"\0").decode("utf-8", "replace")
    return ""


def is_for_musl(path: str) -> bool:
    """Whether the program is for musl, into which a library made for glibc cannot be loaded."""
    return "/ld-musl-" in interpreter(path)
