"""softgpu's zstd by Python: what a hostile image may claim of itself."""

from __future__ import annotations

import ctypes
from random import Random

import pytest
import zstandard

from tally.daemon.softgpu.unpack import make_decompressor, unpack

TEXT = b".version 8.0\n" * 1000


def packed(write_content_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=write_content_size).compress(TEXT)


@pytest.mark.parametrize("write_content_size", [True, False])
def test_the_very_bytes(write_content_size: bool) -> None:
    assert unpack(packed(write_content_size), len(TEXT)) == TEXT


@pytest.mark.parametrize("write_content_size", [True, False])
@pytest.mark.parametrize("off", [-1, 1, -len(TEXT)])
def test_another_size_than_the_images(write_content_size: bool, off: int) -> None:
    assert unpack(packed(write_content_size), len(TEXT) + off) is None


def test_a_frame_that_claims_more_than_there_is_takes_no_memory() -> None:
    frame = bytearray(packed())
    assert frame[4] & 0xE0 == 0x60  # a single segment, its size in two bytes: make them eight
    bomb = bytes(frame[:4]) + b"\xe0" + (1 << 60).to_bytes(8, "little") + bytes(frame[7:])
    assert zstandard.frame_content_size(bomb) == 1 << 60
    assert unpack(bomb, len(TEXT)) is None
    assert unpack(bomb, 1 << 60) is None


def test_damage_is_no_exception() -> None:
    random = Random(7)
    frame = packed()
    for _ in range(500):
        damaged = bytearray(frame)
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        result = unpack(bytes(damaged[: random.randint(0, len(damaged))]), len(TEXT))
        assert result is None or len(result) == len(TEXT)


def test_the_callback_writes_no_further_than_it_may() -> None:
    decompress = make_decompressor()
    frame = packed()
    room = ctypes.create_string_buffer(b"\xee" * (len(TEXT) + 8))
    assert decompress(None, frame, len(frame), room, len(TEXT)) == 0
    assert room.raw[: len(TEXT)] == TEXT and room.raw[len(TEXT) : -1] == b"\xee" * 8
    assert decompress(None, frame, len(frame), room, len(TEXT) - 1) == 1
    assert decompress(None, None, 0, room, 0) == 1
