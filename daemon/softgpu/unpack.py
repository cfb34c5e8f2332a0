"""zstd for module images, where the machine has no libzstd.so.1 (native/softgpu/driver/zstd.c)."""

from __future__ import annotations

import ctypes
from typing import Any

import zstandard

DECOMPRESS = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
    ctypes.c_void_p, ctypes.c_size_t,
)  # fmt: skip


def unpack(packed: bytes, size: int) -> bytes | None:
    """Exactly `size` bytes, or None: the image says something else than its zstd frame."""
    try:
        # The frame's own word decides how much is allocated, and programs can write anything there.
        if zstandard.frame_content_size(packed) not in (size, -1):
            return None
        data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
    except (zstandard.ZstdError, MemoryError):
        return None
    return data if len(data) == size else None


def make_decompressor() -> Any:
    """A softgpu_decompress_fn; the Python lock is held only inside it."""

    def decompress(
        user: int | None, src: int | None, src_bytes: int, dst: int | None, dst_bytes: int
    ) -> int:
        del user
        if not src or not dst:
            return 1
        data = unpack(ctypes.string_at(src, src_bytes), dst_bytes)
        if data is None:
            return 1
        ctypes.memmove(dst, data, dst_bytes)
        return 0

    return DECOMPRESS(decompress)
