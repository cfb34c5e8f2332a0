"""The PTX inside a module image: PTX text as it is, or the best PTX entry of a fatbin."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_FATBIN_MAGIC = 0xBA55ED50
_HEADER = struct.Struct("<IHHQ")  # magic, version, header bytes, bytes of all entries
# kind, version, header bytes, payload bytes, -, compressed bytes, -, -, sm, bits, -, flags, -, raw
# bytes
_ENTRY = struct.Struct("<HHIIIIIIIIIQQQ")
_KIND_PTX = 1
_LZ4, _ZSTD = 0x2000, 0x8000
TEXT_BYTES_MAX = 64 << 20


class ImageError(ValueError):
    """The image holds no PTX that can be read; the message says why."""


@dataclass(frozen=True, slots=True)
class _Entry:
    architecture: int
    flags: int
    payload: bytes
    compressed_bytes: int
    raw_bytes: int


def extract(image: bytes | memoryview) -> str:
    """PTX of an image as the driver gets it (PTX text, fatbin). Raises ImageError."""
    if image[:4] == struct.pack("<I", _FATBIN_MAGIC):
        entries = _entries(image)
        if not entries:
            raise ImageError("no PTX in the fatbin")
        return _text(_unpack(max(entries, key=lambda entry: entry.architecture)))
    if image[:4] == b"\x7fELF":
        raise ImageError("machine code only")
    return _text(bytes(image))


def is_mixed(image: bytes | memoryview) -> bool:
    """Whether the image has more code than the PTX that `extract` gives. Raises ImageError."""
    return image[:4] == struct.pack("<I", _FATBIN_MAGIC) and len(_all_entries(image)) > 1


def _entries(image: bytes | memoryview) -> list[_Entry]:
    """Those of PTX."""
    return [
        _Entry(sm, flags, bytes(image[at : at + size]), packed, raw)
        for kind, sm, flags, at, size, packed, raw in _all_entries(image)
        if kind == _KIND_PTX
    ]


def _all_entries(image: bytes | memoryview) -> list[tuple[int, int, int, int, int, int, int]]:
    """kind, architecture, flags, offset, bytes, compressed bytes, raw bytes of each."""
    found = []
    try:
        _, version, at, left = _HEADER.unpack_from(image)
        if version != 1 or at < _HEADER.size:
            raise ImageError("an unknown kind of fatbin")
        end = min(at + left, len(image))
        while at + _ENTRY.size <= end:
            kind, _, head, size, _, packed, _, _, sm, _, _, flags, _, raw = _ENTRY.unpack_from(
                image, at
            )
            if head < _ENTRY.size or at + head + size > end:
                raise ImageError("the fatbin is truncated")
            found.append((kind, sm, flags, at + head, size, packed, raw))
            at += head + size
    except struct.error as error:
        raise ImageError("the fatbin is truncated") from error
    return found


def _unpack(entry: _Entry) -> bytes:
    if not entry.flags & (_LZ4 | _ZSTD):
        return entry.payload
    if entry.raw_bytes > TEXT_BYTES_MAX:
        raise ImageError("the PTX is too large")
    packed = entry.payload[: entry.compressed_bytes or None]
    try:
        if entry.flags & _ZSTD:
            import zstandard

            return zstandard.ZstdDecompressor().decompress(packed, max_output_size=entry.raw_bytes)
        import lz4.block

        return bytes(lz4.block.decompress(packed, uncompressed_size=entry.raw_bytes))
    except Exception as error:  # the libraries have errors of their own
        raise ImageError(f"the PTX cannot be unpacked: {error}") from error


def _text(data: bytes) -> str:
    data = data.split(b"\0", 1)[0]
    if len(data) > TEXT_BYTES_MAX or b".version" not in data:
        raise ImageError("no PTX")
    return data.decode("utf-8", "surrogateescape")
