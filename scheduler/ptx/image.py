"""The PTX inside a module image: PTX text as it is, the best entry of a fatbin, several linked."""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import dataclass

from tally.scheduler.ptx.link import MODULES_MAX, link

_BUNDLE_MAGIC = 0x4B4E4C54
_TARGET = re.compile(r"\.target\s++sm_(\d++)([af]?+)")
ARCHITECTURE_MAX = 1 << 30

_FATBIN_MAGIC = 0xBA55ED50
_HEADER = struct.Struct("<IHHQ")  # magic, version, header bytes, bytes of all entries
# kind, version, header bytes, payload bytes, -, compressed bytes, -, -, sm, bits, -, flags, -, raw
# bytes
_ENTRY = struct.Struct("<HHIIIIIIIIIQQQ")
_KIND_PTX = 1
_LZ4, _ZSTD = 0x2000, 0x8000
TEXT_BYTES_MAX = 64 << 20
TOO_LONG = f"its PTX has more than {TEXT_BYTES_MAX >> 20} MiB"


class ImageError(ValueError):
    """The image holds no PTX that can be read; the message says why."""


@dataclass(frozen=True, slots=True)
class _Entry:
    architecture: int
    flags: int
    payload: bytes
    compressed_bytes: int
    raw_bytes: int


def extract(image: bytes | memoryview, architecture: int = ARCHITECTURE_MAX) -> str:
    """PTX of an image as the driver gets it: PTX text, a fatbin, or fatbins to be linked.

    architecture: the device's compute capability, 90 for 9.0; PTX for later ones is passed over,
    as the driver does. Raises ImageError, and RewriteError where modules cannot be linked.
    """
    if image[:4] == struct.pack("<I", _FATBIN_MAGIC):
        return _best(image, architecture)
    if image[:4] == struct.pack("<I", _BUNDLE_MAGIC):
        return link(_unlinked(image, architecture))
    if image[:4] == b"\x7fELF":
        raise ImageError("machine code only")
    return _text(bytes(image))


def _best(fatbin: bytes | memoryview, architecture: int) -> str:
    """The PTX for the highest architecture that the device can run."""
    entries = _entries(fatbin)
    if not entries:
        raise ImageError("no PTX in the fatbin")
    usable = [entry for entry in entries if entry.architecture <= architecture]
    if not usable:
        least = min(entry.architecture for entry in entries)
        raise ImageError(f"its PTX is for sm_{least} and later, the device is sm_{architecture}")
    for entry in sorted(usable, key=lambda entry: -entry.architecture):
        text = _text(_unpack(entry))
        if _runs_on(text, architecture):
            return text
    raise ImageError(f"none of its PTX is for sm_{architecture}")


def _runs_on(text: str, architecture: int) -> bool:
    """`sm_90a` is for 9.0 alone, `sm_100f` for its family: 10.0 and later 10.x."""
    match = _TARGET.search(text)
    if match is None or architecture == ARCHITECTURE_MAX:
        return True
    target = int(match[1])
    if match[2] == "a":
        return target == architecture
    if match[2] == "f":
        return target // 10 == architecture // 10 and target <= architecture
    return target <= architecture


def _unlinked(bundle: bytes | memoryview, architecture: int) -> list[str]:
    """What is linked already, or else each fatbin's PTX: those that have none for the device (the
    device runtime's library) are left out. See native/wire/bundle.h."""
    linked, *others = _bundled(bundle)
    try:
        return [_best(linked, architecture)]
    except ImageError:
        pass
    texts = []
    for fatbin in others:
        with contextlib.suppress(ImageError):
            texts.append(_best(fatbin, architecture))
    if not texts:
        raise ImageError("no PTX in the fatbins")
    return texts


def _bundled(bundle: bytes | memoryview) -> list[memoryview]:
    view = memoryview(bundle)
    try:
        _, count = struct.unpack_from("<II", view)
        if not 0 < count <= MODULES_MAX + 1:
            raise ImageError("an unknown kind of bundle")
        sizes = struct.unpack_from(f"<{count}Q", view, 8)
    except struct.error as error:
        raise ImageError("the bundle is truncated") from error
    found, at = [], 8 + 8 * count
    for size in sizes:
        if at + size > len(view):
            raise ImageError("the bundle is truncated")
        found.append(view[at : at + size])
        at += (size + 7) // 8 * 8
    return found


def is_mixed(image: bytes | memoryview) -> bool:
    """Whether the image has more code than the PTX that `extract` gives. Raises ImageError."""
    if image[:4] == struct.pack("<I", _BUNDLE_MAGIC):
        return True
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
        raise ImageError(TOO_LONG)
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
    if len(data) > TEXT_BYTES_MAX:
        raise ImageError(TOO_LONG)
    if b".version" not in data:
        raise ImageError("no PTX")
    return data.decode("utf-8", "surrogateescape")
