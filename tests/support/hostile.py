"""Messages that no sane client sends, from a seed: wrong sizes and words, well-framed lies."""

from __future__ import annotations

import struct
from random import Random

from tally.client import protocol

OP_HEADER = struct.Struct("<HHIQ")
MESSAGE_BYTES_MAX = 256 * 1024
HANDLE_TAG = 0x7A11

# Bodies of the ops by code, as struct tally_op_* in native/include/tally/protocol.h lays them out;
# "tail" marks those that text or data may follow.
BODIES: dict[int, str] = {
    2: "Q", 3: "Q", 4: "QII", 5: "Q", 6: "QQQQQQQQQQHHIII", 7: "QQQQQII", 8: "QQQQII",
    9: "QQQQ32sIIII", 10: "Q", 11: "QQII", 12: "QII", 13: "QQIIIIIIIIII", 14: "QIi", 15: "Q",
    16: "Q", 17: "Q", 18: "QQII", 19: "QQQIBBBB", 20: "QII", 21: "Q", 22: "QQII", 23: "Q", 24: "Q",
    25: "QQ", 26: "", 27: "", 28: "Q",
}  # fmt: skip
TAILED = {6, 9, 11, 12, 13}

WIDE = [0, 1, 2, 3, 7, 64, 4096, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 47, 1 << 63]
WIDE += [(1 << 64) - 1, (1 << 64) - 4096, 0x10000, 0x7FFFFFFFFFFFFFFF]
NAMES = [b"scale", b"calls", b"", b"\0", b"x" * 5000, b"\xff\xfe", b"../../etc/passwd", b"%s%n"]
PTX = b".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry k()\n{\n ret;\n}\n\0"
TAILS = [PTX, PTX[:50], b"\x7fELF" + bytes(60), b"\x50\xed\x55\xba\x01\0\x10\0" + b"\xff" * 24]
TAILS += [b"/etc/passwd", b"/dev/zero", b"/proc/self/mem", b"/nowhere"]


def handle(random: Random) -> int:
    """A handle that looks like a client's; most name nothing."""
    return random.randint(0, 9) << 48 | HANDLE_TAG << 32 | random.choice((0, 1, 2, 5, 1 << 20))


def wide(random: Random, region: int) -> int:
    """A 64-bit value: handle, address in or near the session's region, or a classic."""
    choice = random.random()
    if choice < 0.4:
        return handle(random)
    if choice < 0.6:
        return (region + random.choice((0, 256, 4096, -8, 1 << 20, 1 << 45))) % (1 << 64)
    return random.choice(WIDE) if choice < 0.9 else random.getrandbits(64)


def narrow(random: Random, bits: int) -> int:
    value = random.choice((0, 1, 2, 3, 4, 16, 255, 1024, (1 << bits) - 1, 1 << (bits - 1)))
    return value % (1 << bits) if random.random() < 0.8 else random.getrandbits(bits)


def field(letter: str, random: Random, region: int) -> int | bytes:
    if letter == "Q":
        return wide(random, region)
    if letter == "s":
        return random.randbytes(32)
    value = narrow(random, {"I": 32, "i": 32, "H": 16, "B": 8}[letter])
    return value - (1 << 32) if letter == "i" and value >= 1 << 31 else value


def tail(random: Random) -> bytes:
    choice = random.random()
    if choice < 0.4:
        return random.choice(NAMES)
    if choice < 0.7:
        return random.choice(TAILS)
    return random.randbytes(random.choice((1, 8, 64, 300, 5000)))


def framed_op(random: Random, region: int) -> bytes:
    """An op whose header is right and whose body is a lie."""
    code = random.choice(list(BODIES))
    layout = BODIES[code]
    values = [field(x, random, region) for x in layout.replace("32s", "s")]
    end = tail(random) if code in TAILED and random.random() < 0.8 else b""
    if code in TAILED and random.random() < 0.7:
        values = told_length(code, values, len(end))
    body = struct.pack("<" + layout, *values) + end
    call = random.choice((0, 1, 2, random.getrandbits(64)))
    return OP_HEADER.pack(code, 0, OP_HEADER.size + len(body), call) + body


def told_length(code: int, values: list[int | bytes], length: int) -> list[int | bytes]:
    """The body with its tail's true length, so that more than the length check is exercised."""
    position = {6: None, 9: 7, 11: 2, 12: 1, 13: 11}[code]
    if position is not None:
        values[position] = length
    if code == 13:
        values[10] = 0  # no attributes: the tail is parameters
    return values


def broken_op(random: Random, region: int) -> bytes:
    """An op that no decoder may accept: truncated, oversized, unknown, or plain noise."""
    good = framed_op(random, region)
    choice = random.randrange(6)
    if choice == 0:
        return good[: random.randrange(len(good))]
    if choice == 1:
        return good + random.randbytes(random.choice((1, 8, 1000)))
    if choice == 2:
        return random.randbytes(random.choice((0, 1, 15, 16, 17, 72, 4096)))
    if choice == 3:
        return OP_HEADER.pack(random.choice((0, 29, 255, 999, 65535)), 0, 16, 1)
    if choice == 4:
        return OP_HEADER.pack(26, 0, random.choice((0, 15, 17, 1 << 31)), 1)
    return OP_HEADER.pack(7, 0xFFFF, 16, 0) + bytes(random.choice((0, MESSAGE_BYTES_MAX + 1)))


def control_message(random: Random) -> list[bytes]:
    """Frames for the control socket, from nearly right to noise."""
    kind = random.choice((1, 2, 3, 16, 16, 0, 4, 17, 65535))
    version = protocol.VERSION if random.random() < 0.9 else random.getrandbits(16)
    magic = protocol.MAGIC if random.random() < 0.95 else random.getrandbits(32)
    header = protocol.HEADER.pack(magic, version, kind, random.getrandbits(32), 0)
    if random.random() < 0.05:
        header = header[: random.randrange(16)] + random.randbytes(random.randrange(3))
    frames = [header, control_payload(kind, random)]
    choice = random.random()
    if choice < 0.03:
        return frames[:1]
    if choice < 0.06:
        return [*frames, random.randbytes(3), b""]
    return frames if choice < 0.98 else [random.randbytes(random.randrange(100))]


REQUESTS = [
    b'{"op": "ping"}', b'{"op": "jobs", "ended": false}', b"{}", b"[]", b"null", b'{"op": 5}',
    b'{"op": "job_start", "name": 5}', b'{"op": "job_start", "class": "royal", "argv": []}',
    b'{"op": "job_start", "argv": {"a": 1}}', b'{"op": "\xff"}', b"[" * 5000, b'"' + b"x" * 9000,
    b'{"op": "no_such_thing"}', b'{"op": "job_start", "priority": 1e400}',
]  # fmt: skip


def control_payload(kind: int, random: Random) -> bytes:
    if random.random() < 0.2:
        return random.randbytes(random.choice((0, 1, 16, 200, 5000)))
    if kind == 1:
        # Of a job that tallyd does not know: a hello that it takes would make a session each time.
        return (
            struct.pack("<II", random.getrandbits(32), 13000)
            + b"9-none".ljust(64, b"\0")
            + bytes(128)
        )
    if kind == 2:
        return protocol.OPEN.pack(wide(random, 0), narrow(random, 32), 0)
    if kind == 3:
        return protocol.UNSUPPORTED.pack(random.choice(NAMES)[:96], random.getrandbits(64))
    return random.choice(REQUESTS)
