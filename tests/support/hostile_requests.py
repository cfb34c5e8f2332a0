"""Messages for the control socket that no sane client sends, from a seed."""

from __future__ import annotations

import json
from random import Random

from tally.client import protocol
from tally.client.protocol import Type

SYMBOLS = [b"cuNoSuchCall", b"", b"\0", b"x" * 96, b"\xff\xfe", b"../../etc/passwd", b"%s%n"]
# None of the fuzzer's own; the second one looks like an earlier tallyd's.
JOBS = [b"", b"9-none", b"nobody", b"\xff" * 64, b"1-2-3"]
NOISE = [
    b"{}", b"[]", b"null", b'{"op": 5}', b'{"op": "\xff"}', b"[" * 5000, b'"' + b"x" * 9000,
    b'{"op": "no_such_thing"}', b'{"op": "ping", "op": "jobs"}',
]  # fmt: skip
# Not drain and shutdown: they do what they say for whoever runs the fuzzer.
OPS = (
    *("ping", "ping", "jobs", "stats", "doctor", "policy", "job_start", "job_start"),
    *("trace_start", "trace_read", "trace_read", "trace_stop"),
)
FIELDS = (
    *("name", "class", "priority", "weight", "argv", "cwd", "own_nice", "ended", "policy"),
    *("device", "recording", "id", "timeout_s"),
)
VALUES: list[object] = [
    None, True, False, 0, 1, 2, -1, 16, 1 << 31, 1 << 64, -(1 << 70), 0.5, 1e308, float("nan"), "",
    "tally", "fifo", "timeslice", "kernel", "high", "best-effort", "x" * 5000, "\0", "\ud800",
    "\x1b[2J", [], [[]], ["a"] * 40, ["\udfff"], [None], {}, {"a": {"b": []}},
]  # fmt: skip
# A job of a class that there is would be kept for as long as the fuzzer lives.
NO_CLASSES: list[object] = ["royal", "", None, 5, [], {}, "\ud800"]


def request(random: Random) -> bytes:
    """JSON: a request of tallyd's, its fields of any kind."""
    if random.random() < 0.2:
        return random.choice(NOISE)
    fields: dict[str, object] = {"op": random.choice(OPS)}
    for name in random.sample(FIELDS, random.randrange(4)):
        fields[name] = random.choice(VALUES)
    if fields["op"] == "job_start":
        fields["class"] = random.choice(NO_CLASSES)
    return json.dumps(fields).encode()


def payload(kind: int, random: Random) -> bytes:
    """What a message of that kind might carry."""
    if random.random() < 0.2:
        return random.randbytes(random.choice((0, 1, 16, 200, 5000)))
    if kind == Type.HELLO:
        # A session that is taken ends with the next hello of the process, as no device is open.
        return protocol.HELLO.pack(
            random.getrandbits(32), 13000, random.choice(JOBS), random.choice(SYMBOLS)
        )
    if kind == Type.OPEN:
        session = random.choice((0, 1, random.getrandbits(64)))
        return protocol.OPEN.pack(session, random.choice((0, 1, 255, random.getrandbits(32))), 0)
    if kind == Type.UNSUPPORTED:
        return protocol.UNSUPPORTED.pack(random.choice(SYMBOLS), random.getrandbits(64))
    return request(random)


def control_message(random: Random) -> list[bytes]:
    """Frames for the control socket, from nearly right to noise."""
    kind = random.choice((1, 2, 3, 16, 16, 0, 4, 17, 65535))
    version = protocol.VERSION if random.random() < 0.9 else random.getrandbits(16)
    magic = protocol.MAGIC if random.random() < 0.95 else random.getrandbits(32)
    header = protocol.HEADER.pack(magic, version, kind, random.getrandbits(32), 0)
    if random.random() < 0.05:
        header = header[: random.randrange(16)] + random.randbytes(random.randrange(3))
    frames = [header, payload(kind, random)]
    choice = random.random()
    if choice < 0.03:
        return frames[:1]
    if choice < 0.06:
        return [*frames, random.randbytes(3), b""]
    return frames if choice < 0.98 else [random.randbytes(random.randrange(100))]
