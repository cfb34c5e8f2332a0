"""Bits of floating-point literals."""

from __future__ import annotations

import struct

import numpy as np

_FLOATS = {16: np.float16, 32: np.float32, 64: np.float64}
_WORDS = {16: np.uint16, 32: np.uint32, 64: np.uint64}


def convert_float_bits(bits: int, have: int, want: int) -> int:
    """A float's bits in another width; to widths that no float has, the low bits."""
    if want not in _FLOATS:
        return bits & ((1 << want) - 1)
    value = np.array([bits], dtype=_WORDS[have]).view(_FLOATS[have])
    with np.errstate(all="ignore"):
        return int(value.astype(_FLOATS[want]).view(_WORDS[want])[0])


def bits_of_integer(value: int, bits: int) -> int:
    """A small integer as a float's bits."""
    if bits == 64:
        return int.from_bytes(struct.pack("<d", float(value)), "little")
    return int.from_bytes(struct.pack("<f", float(value)), "little")
