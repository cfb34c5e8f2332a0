"""A module with rewritten forms beside its kernels, and the PTX that images hold."""

from __future__ import annotations

import struct
from pathlib import Path

import lz4.block
import pytest
import zstandard

from tally.scheduler.ptx import variants
from tally.scheduler.ptx.image import ImageError, extract
from tally.scheduler.ptx.module import Module, RewriteError

SOURCE = (Path(__file__).parent / "golden" / "passes.ptx").read_text()


def names(text: str) -> set[str]:
    return {entry.name for entry in Module.parse(text).entries}


def test_forms_follow_the_class() -> None:
    made = variants.run(SOURCE)
    assert {"plain", "plain__tallyguard", "plain__tallysub"} <= names(made.text)
    # Waits for another block: slices in ascending order only.
    assert "waits_for_another_block__tallysub" in names(made.text)
    assert "waits_for_another_block__tallyguard" not in names(made.text)
    # Never delayed: no form at all.
    assert "talks_to_the_host" in names(made.text)
    assert not any(n.startswith("talks_to_the_host__") for n in names(made.text))


def test_a_refused_form_is_left_out() -> None:
    made = variants.run(SOURCE)
    assert set(made.refused) == {"through_a_function"}
    assert "through_a_function__tallyguard" in names(made.text)
    assert "through_a_function__tallysub" not in names(made.text)


def test_the_original_kernels_stay_as_they_were() -> None:
    made = variants.run(SOURCE)
    assert made.text.startswith(SOURCE.rstrip())


def test_twice_is_refused() -> None:
    with pytest.raises(RewriteError):
        variants.run(variants.run(SOURCE).text)


def test_what_does_not_read_is_refused() -> None:
    with pytest.raises(RewriteError, match="line"):
        variants.run(".version 8.0\n.target sm_80\n.entry k() {")


def fatbin(*entries: tuple[int, int, int, bytes, int]) -> bytes:
    """(kind, sm, flags, payload, raw bytes) each."""
    body = b""
    for kind, sm, flags, payload, raw in entries:
        body += struct.pack("<HHIIIIIIIIIQQQ", kind, 0x101, 64, len(payload), 0, len(payload),
                            0, 0, sm, 64, 0, flags, 0, raw) + bytes(0) + payload  # fmt: skip
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def entry(sm: int, text: str, flags: int = 0) -> tuple[int, int, int, bytes, int]:
    data = text.encode()
    packed = {0: data, 0x2000: b"", 0x8000: b""}[flags]
    if flags == 0x2000:
        packed = lz4.block.compress(data, store_size=False)
    if flags == 0x8000:
        packed = zstandard.ZstdCompressor().compress(data)
    return 1, sm, flags, packed, len(data)


@pytest.mark.parametrize("flags", [0, 0x2000, 0x8000])
def test_the_best_entry_is_taken_out_of_a_fatbin(flags: int) -> None:
    image = fatbin(
        entry(75, ".version 7.0\n", flags), entry(80, SOURCE, flags), (2, 90, 0, b"elf", 3)
    )
    assert extract(image) == SOURCE


def test_text_ends_at_its_nul() -> None:
    assert extract(SOURCE.encode() + b"\0rest") == SOURCE


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"\x7fELF" + bytes(60),
        fatbin((2, 80, 0, b"elf", 3)),
        fatbin(entry(80, SOURCE))[:100],
        fatbin((1, 80, 0x8000, b"not zstd", 100)),
        fatbin((1, 80, 0x2000, b"not lz4", 100)),
        fatbin((1, 80, 0x8000, b"", 1 << 40)),
    ],
)
def test_images_without_ptx(image: bytes) -> None:
    with pytest.raises(ImageError):
        extract(image)
