"""Ops that no sane client sends, from a seed: wrong sizes and words, well-framed lies."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random

from . import wire
from .hostile_images import PTX, image

OP_HEADER = struct.Struct("<HHIQ")
REPLY_HEADER = struct.Struct("<HHIQii")
MESSAGE_BYTES_MAX = 256 * 1024
HANDLE_TAG = 0x7A11

# Bodies of the ops by code: `struct` letters with the names of what they are.
BODIES = wire.bodies()
ONE_WAY = wire.one_way()
TAILED = {6, 9, 11, 12, 13}
DESTROYERS = {3, 5, 10, 15, 21}

Values = list[int | bytes]

WIDE = [0, 1, 2, 3, 7, 64, 4096, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 47, 1 << 63]
WIDE += [(1 << 64) - 1, (1 << 64) - 4096, 0x10000, 0x7FFFFFFFFFFFFFFF]
NAMES = [
    *(b"store", b"store", b"store", b"ncclKernel_meet", b"calls", b"waits_for_another_block"),
    *(b"", b"\0", b"x" * 5000, b"\xff\xfe", b"../../etc/passwd", b"%s%n"),
]
PATHS = [b"/etc/passwd", b"/dev/zero", b"/proc/self/mem", b"/nowhere"]


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
    if letter.endswith("s"):
        return random.randbytes(int(letter[:-1]))
    value = narrow(random, {"I": 32, "i": 32, "H": 16, "B": 8}[letter])
    return value - (1 << 32) if letter == "i" and value >= 1 << 31 else value


def tail(random: Random) -> bytes:
    choice = random.random()
    if choice < 0.4:
        return random.choice(NAMES)
    if choice < 0.7:
        return image(random) if random.random() < 0.8 else random.choice(PATHS)
    return random.randbytes(random.choice((1, 8, 64, 300, 5000)))


def framed_op(random: Random, region: int) -> bytes:
    """An op whose header is right and whose body is a lie; most end the session."""
    code = random.choice(list(BODIES))
    values = [field(letter, random, region) for letter, _ in BODIES[code]]
    end = tail(random) if code in TAILED and random.random() < 0.8 else b""
    return pack(code, random.choice((0, 1, 2, random.getrandbits(64))), values, end)


def pack(code: int, call: int, values: Sequence[int | bytes], end: bytes = b"") -> bytes:
    layout = "<" + "".join(letter for letter, _ in BODIES[code])
    body = struct.pack(layout, *values) + end
    return OP_HEADER.pack(code, 0, OP_HEADER.size + len(body), call) + body


# Kinds of the handles that 64-bit words name.
KINDS = {
    "stream": 2, "hStream": 2, "srcStream": 2, "dstStream": 2, "event": 3, "start": 3, "end": 3,
    "module": 4, "function": 5, "func": 5, "hfunc": 5,
}  # fmt: skip


def preamble() -> list[bytes]:
    """Ops that make the first few handles real: a module, its kernels, streams, an event."""
    module, function, stream, event = (kind << 48 | HANDLE_TAG << 32 for kind in (4, 5, 2, 3))
    name, meets = b"store", b"ncclKernel_meet"
    return [
        pack(9, 1, [module, 0, len(PTX), 0, bytes(32), 3, 100, len(PTX), 0], PTX),
        pack(11, 2, [module, function, len(name), 0], name),
        pack(11, 3, [module, function + 1, len(meets), 0], meets),
        pack(14, 0, [stream, 1, 0]),
        pack(14, 0, [stream + 1, 0, 0]),
        pack(20, 0, [event, 0, 0]),
        pack(2, 4, [1 << 16]),
        pack(2, 5, [8 << 20]),
        pack(4, 6, [1 << 20, 0, 0]),
    ]


class Liar:
    """Makes the ops of one session that every decoder accepts: the lie is in what they ask for."""

    def __init__(self, random: Random, region: int, slots: int) -> None:
        self.random, self.region, self.slots = random, region, slots
        self.fresh = 3  # handles up to here are used by chance; new ones come from here
        self.addresses: list[int] = []  # that the session was given
        self.waits: list[tuple[int, int, int]] = []  # what streams wait for: address, value, wide
        self.shape = {
            2: self._memory, 4: self._pinned, 6: self._copy, 7: self._memset,
            8: self._upload, 9: self._load, 11: self._function, 12: self._name,
            13: self._launch, 14: self._stream, 19: self._value, 20: self._event,
        }  # fmt: skip

    def op(self) -> bytes:
        random = self.random
        code = random.choice(list(BODIES))
        if code in DESTROYERS and random.random() < 0.9:
            code = 13  # or soon nothing would be left to lie about
        values = [self._field(letter) for letter, _ in BODIES[code]]
        for position, (letter, name) in enumerate(BODIES[code]):
            kind = KINDS.get(name, 0) if letter == "Q" else 0
            if kind and random.random() < 0.9:
                index = random.choice((0, 0, 0, 0, 1, 2, random.randint(0, self.fresh)))
                values[position] = kind << 48 | HANDLE_TAG << 32 | index
            if kind == 2 and random.random() < 0.3:
                values[position] = 1  # the legacy default stream
            if name == "attribute_count":
                values[position] = random.choice((0, 0, 1, 8, 9))
        end = self.shape[code](values) if code in self.shape else b""
        call = 0 if code in ONE_WAY else random.randint(1, 1 << 62)
        return pack(code, call, values, end)

    def learn(self, reply: bytes) -> None:
        """Take the address out of a reply that gives one."""
        code, kind, size, _, result, _ = REPLY_HEADER.unpack_from(reply)
        if (kind, result) == (0, 0) and code in (2, 4, 12) and size >= REPLY_HEADER.size + 8:
            self.addresses.append(int.from_bytes(reply[REPLY_HEADER.size :][:8], "little"))

    def _field(self, letter: str) -> int | bytes:
        if letter == "Q" and self.addresses and self.random.random() < 0.4:
            return self.random.choice(self.addresses) + self.random.choice(
                (0, 0, 0, 4, 4096, 60000)
            )
        return field(letter, self.random, self.region)

    def _new(self, kind: int) -> int:
        self.fresh += 1
        return kind << 48 | HANDLE_TAG << 32 | self.fresh

    def _stream(self, values: Values) -> bytes:
        values[0:2] = [self._new(2), self.random.choice((0, 0, 1, 2, 0xFFFF))]
        return b""

    def _event(self, values: Values) -> bytes:
        values[0:2] = [self._new(3), self.random.choice((0, 0, 1, 2, 0xFFFF))]
        return b""

    def _memory(self, values: Values) -> bytes:
        if self.random.random() < 0.7:
            values[0] = self.random.choice((1, 4096, 1 << 20, 8 << 20))
        return b""

    def _pinned(self, values: Values) -> bytes:
        if self.random.random() < 0.9:  # or all time goes into the clearing of gigabytes
            values[0] = self.random.choice((0, 1, 4096, 1 << 20))
        return b""

    def _copy(self, values: Values) -> bytes:
        values[10], values[11] = self.random.randrange(3), self.random.randrange(4)
        values[12] = self.random.randrange(self.slots)
        end = tail(self.random) if values[11] == 3 else b""
        choice = self.random.random()
        if choice < 0.6:  # a size that may be there, or that goes to the device in pieces
            sizes = (1, 4, len(end), 4096, 65536, 1 << 20, 8 << 20)
            values[3:6] = [self.random.choice(sizes), 1, 1]
        elif choice < 0.9:  # boxes of rows that may be there
            rows = self.random.choice((2, 100, 3000))
            values[3:6] = [self.random.choice((1, 100, 256)), rows, self.random.choice((1, 1, 2))]
            values[6:10] = [256, 256 * rows, 256, 256 * rows]
        return end

    def _memset(self, values: Values) -> bytes:
        values[6] = self.random.choice((1, 2, 4))
        if self.random.random() < 0.6:
            values[2:5] = [256, self.random.choice((1, 60, 64)), self.random.choice((1, 100, 9000))]
        return b""

    def _upload(self, values: Values) -> bytes:
        upload = self.random.randint(1, 5)
        total = 300 << 2 * upload  # of an upload, told anew with each of its pieces
        offset = self.random.choice((0, self.random.randrange(total)))
        size = min(self.random.choice((0, 1, 300, 1 << 16)), total - offset)
        values[:] = [upload, total, offset, size]
        values += [self.random.randrange(self.slots), self.random.randrange(4)]
        return b""

    def _load(self, values: Values) -> bytes:
        source = self.random.choice((1, 2, 3, 3, 3, 4))
        end = tail(self.random) if source in (1, 3) else b""
        if source == 3 and self.random.random() < 0.7:
            end = image(self.random)
        if source == 1:
            end = end.replace(b"\0", b"/")[:4096] or b"/"
            values[1:3] = [
                self.random.choice((0, 1, 1 << 40)),
                self.random.choice((1, 64, 1 << 20)),
            ]
        elif source == 3:
            end = end or b"x"
            values[2] = len(end)
        else:
            values[3] = self.random.randint(1, 5)
        values[0] = self._new(4)
        values[5:9] = [source, self.random.choice((0, 100, 65536)), len(end), 0]
        return end

    def _name(self, values: Values) -> bytes:
        end = tail(self.random).replace(b"\0", b"_")[:4096] or b"store"
        values[-2:] = [len(end), 0]
        return end

    def _function(self, values: Values) -> bytes:
        values[1] = self._new(5)
        return self._name(values)

    def _value(self, values: Values) -> bytes:
        """Waits for small values in the session's memory, and writes that end some of them."""
        random = self.random
        wait, wide = int(random.random() < 0.2), random.randrange(2)
        values[3] = random.choice((0, 1, 1, 2, 3, 1 << 30, 0xFFFFFFFF))
        if self.waits and not wait and random.random() < 0.7:
            values[1], values[2], wide = self.waits.pop(random.randrange(len(self.waits)))
            values[3] = 0
        elif self.addresses and random.random() < 0.9:
            values[1] = random.choice(self.addresses) + random.choice((0, 0, 8, 4096))
            values[2] = random.choice((0, 1, 7, 1 << 31))
        if wait:
            self.waits.append((int(values[1]), int(values[2]), wide))
        values[4:6] = [wait, wide]
        return b""

    def _launch(self, values: Values) -> bytes:
        end = tail(self.random)
        if self.addresses and self.random.random() < 0.5:
            end = self.random.choice(self.addresses).to_bytes(8, "little")
        values[2:8] = [self.random.choice((0, 1, 1, 1, 1, 2, 7, 1 << 31)) for _ in range(6)]
        count = self.random.choice((0, 0, 0, 1, 2, 32))
        cooperative = int(self.random.random() < 0.2)
        values[8:] = [self.random.choice((0, 0, 64, 1 << 20)), cooperative, count, len(end)]
        return b"".join(self._attribute() for _ in range(count)) + end

    def _attribute(self) -> bytes:
        """A CUlaunchAttribute: its id, padding, its value."""
        head = struct.pack("<II", self.random.choice((0, 1, 2, 4, 6, 8, 15, 1 << 31)), 0)
        words = [field("I", self.random, self.region) for _ in range(16)]
        return head + struct.pack("<16I", *words)


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
