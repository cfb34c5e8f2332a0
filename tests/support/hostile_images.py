"""Module images that no compiler makes: PTX with words changed, fatbins and bundles that lie."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from random import Random

PTX = (
    b"""
.version 7.0
.target sm_70
.address_size 64
.visible .global .align 4 .u32 calls = 5;
.visible .entry store(.param .u64 out)
{
    .reg .b64 %d<2>;
    ld.param.u64 %d1, [out];
    st.global.u32 [%d1], 7;
    ret;
}
.visible .entry ncclKernel_meet(.param .u64 out)
{
    .reg .b64 %d<2>; .reg .b32 %r<3>; .reg .pred %p<2>;
    ld.param.u64 %d1, [out];
    mov.u32 %r2, 0;
again:
    ld.volatile.global.u32 %r1, [%d1];
    add.u32 %r2, %r2, 1;
    setp.lt.u32 %p1, %r2, 20000;
    @!%p1 bra done;
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra again;
done:
    ret;
}
""".lstrip()
    + b"\0"
)
# Every construct that the rewriting passes know.
GOLDEN = Path(__file__).parents[1] / "nodev" / "passes" / "golden" / "passes.ptx"
SEEDS = (PTX[:-1].decode(), GOLDEN.read_text(encoding="utf-8"))
WORD = re.compile(r"\s+|[\w.%$]+|.", re.S)
STRANGE_WORDS = [
    ".u64", ".b128", ".pred", "%tid.x", "%p1", "%rd1", "0", "-1", "0xffffffffffffffff", "1e400",
    "{", "}", "(", ";", ",", "@", "@!", "[", "]", "bra", "call", "ret", "bar.sync", "trap",
    ".entry", ".func", ".param", "store", "\u00e9", "\"", "/*", "//", ".align 3",
    ".b8 x[1000000000]", "ld.global.u32",
]  # fmt: skip

FATBIN = struct.Struct("<IHHQ")  # magic, version, bytes of the header, bytes of the entries
ENTRY = struct.Struct("<HHIIIIIIIIIQQQ")
FATBIN_MAGIC, BUNDLE_MAGIC = 0xBA55ED50, 0x4B4E4C54
COMPRESSIONS = (0, 0x2000, 0x8000)  # none, LZ4, Zstandard


def mutated(random: Random) -> bytes:
    """PTX with a few words dropped, doubled, swapped or replaced."""
    words = WORD.findall(random.choice(SEEDS))
    for _ in range(random.choice((1, 1, 1, 2, 5, 40))):
        at = random.randrange(len(words))
        choice = random.randrange(5)
        if choice == 0:
            words[at] = ""
        elif choice == 1:
            words.insert(at, words[random.randrange(len(words))])
        elif choice == 2:
            other = random.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        elif choice == 3:
            words[at] = random.choice(STRANGE_WORDS)
        else:
            words[at] = words[at][: len(words[at]) // 2]
    return "".join(words).encode() + b"\0"


def _size(random: Random, size: int) -> int:
    """A size of something that has `size` bytes; some lie."""
    if random.random() < 0.9:
        return size
    return random.choice((0, 1, size + 1, size // 2, 1 << 30, (1 << 32) - 1))


def fatbin(random: Random) -> bytes:
    """A fatbin of PTX or of machine code, with some sizes that are not what they say."""
    entries = b""
    for _ in range(random.choice((0, 1, 1, 1, 2))):
        data = random.choice((PTX, PTX, mutated(random), b"\x7fELF" + bytes(60)))
        flags = random.choice(COMPRESSIONS) if random.random() < 0.3 else 0
        packed = _size(random, len(data)) if flags else 0
        kind, architecture = random.choice((1, 1, 1, 2, 9)), random.choice((50, 70, 75, 90, 999))
        raw = _size(random, 2 * len(data)) if flags else 0
        entries += ENTRY.pack(
            *(
                kind,
                0x101,
                _size(random, ENTRY.size) % (1 << 16),
                _size(random, len(data)),
                0,
                packed,
                0,
                0,
            ),
            *(architecture, 64, 0, flags, 0, raw),
        )
        entries += data
    header_bytes = _size(random, FATBIN.size) % (1 << 16)
    return FATBIN.pack(FATBIN_MAGIC, 1, header_bytes, _size(random, len(entries))) + entries


def bundle(random: Random) -> bytes:
    """Fatbins to be linked, as cuLink* sends them, with some sizes that are not what they say."""
    fatbins = [fatbin(random) for _ in range(random.choice((0, 1, 2, 2, 3, 20)))]
    count = len(fatbins) if random.random() < 0.9 else random.choice((0, 4096, 4097, (1 << 32) - 1))
    sizes = [_size(random, len(one)) for one in fatbins]
    if sizes and random.random() < 0.1:
        sizes[0] = random.choice(((1 << 64) - 1, (1 << 64) - 8, 1 << 63))
    head = struct.pack(f"<II{len(sizes)}Q", BUNDLE_MAGIC, count, *sizes)
    return head + b"".join(one + bytes(-len(one) % 8) for one in fatbins)


KEPT = [
    PTX,
    PTX,
    PTX[:50],
    bytes(8),
    b"\x7fELF" + bytes(60),
    b"\x50\xed\x55\xba\x01\0\x10\0" + b"\xff" * 24,
]
NEW_SHARE = 0.15  # of images that the executor has not seen: it reads, rewrites and compiles each


def image(random: Random) -> bytes:
    """What a module may be loaded from."""
    if random.random() < NEW_SHARE:
        return random.choice((mutated, fatbin, bundle))(random)
    return random.choice(KEPT)
