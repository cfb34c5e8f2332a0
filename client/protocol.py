"""The control plane's codec: native/include/tally/protocol.h as Python sees it.

A message is two frames, header and payload. A test compiles the header and compares every size and
offset, so that the numbers below cannot drift from C's.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

VERSION = 2
MAGIC = 0x43594C54  # "TLYC"
CONTROL_BYTES_MAX = 64 * 1024  # a request; replies may be longer
DEVICES_MAX = 16


class Type(IntEnum):
    """enum tally_control_type."""

    HELLO = 1
    OPEN = 2
    UNSUPPORTED = 3
    REQUEST = 16


class Status(IntEnum):
    """enum tally_status. Anything but OK comes with one line of text as its payload."""

    OK = 0
    BAD_MESSAGE = 1
    BAD_VERSION = 2
    REFUSED = 3
    UNAVAILABLE = 4
    INTERNAL = 5


HEADER = struct.Struct("<IHHIi")
HELLO = struct.Struct("<II64s128s")
HELLO_REPLY = struct.Struct("<QIi")
DEVICE_TOTAL_OFFSET = 256 + 16  # behind the name and the UUID
DEVICE_INFO_BYTES = 256 + 16 + 8 + 4 + 4 + 16 * 8 + 32 + 192 * 4
OPEN = struct.Struct("<QII")
OPEN_REPLY = struct.Struct("<256s256s256sQIIQQ")
UNSUPPORTED = struct.Struct("<96sQ")


class Header(NamedTuple):
    """struct tally_control_header without its magic."""

    version: int
    type: int
    sequence: int
    status: int

    def pack(self) -> bytes:
        """The 16 bytes of the first frame."""
        return HEADER.pack(MAGIC, *self)


class Hello(NamedTuple):
    """struct tally_hello."""

    pid: int
    api_version: int
    job: str
    program: str


class Open(NamedTuple):
    """struct tally_open."""

    session: int
    device: int


class Unsupported(NamedTuple):
    """struct tally_unsupported."""

    symbol: str
    calls: int  # so far in the process


def device_memory_bytes(info: bytes) -> int:
    """total_bytes of a struct tally_device_info."""
    return int.from_bytes(info[DEVICE_TOTAL_OFFSET : DEVICE_TOTAL_OFFSET + 8], "little")


def with_device_memory(info: bytes, bytes_max: int) -> bytes:
    """A struct tally_device_info whose total_bytes is at most bytes_max; 0: as it is."""
    total = device_memory_bytes(info)
    if not 0 < bytes_max < total:
        return info
    end = DEVICE_TOTAL_OFFSET + 8
    return info[:DEVICE_TOTAL_OFFSET] + bytes_max.to_bytes(8, "little") + info[end:]


def unpack_header(frame: bytes) -> Header:
    """The header of a first frame. ValueError if it is none."""
    if len(frame) != HEADER.size:
        raise ValueError(f"a control header has {HEADER.size} bytes, not {len(frame)}")
    magic, version, kind, sequence, status = HEADER.unpack(frame)
    if magic != MAGIC:
        raise ValueError("not a Tally control message")
    return Header(version, kind, sequence, status)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")


def _exactly(layout: struct.Struct, payload: bytes, name: str) -> tuple[object, ...]:
    if len(payload) != layout.size:
        raise ValueError(f"a {name} has {layout.size} bytes, not {len(payload)}")
    return layout.unpack(payload)


def unpack_hello(payload: bytes) -> Hello:
    """ValueError if the size is wrong. Text is decoded leniently: programs have any name."""
    pid, api_version, job, program = _exactly(HELLO, payload, "hello")
    assert isinstance(pid, int) and isinstance(api_version, int)
    assert isinstance(job, bytes) and isinstance(program, bytes)
    return Hello(pid, api_version, _text(job), _text(program))


def unpack_open(payload: bytes) -> Open:
    """ValueError if the size is wrong."""
    session, device, _reserved = _exactly(OPEN, payload, "open")
    assert isinstance(session, int) and isinstance(device, int)
    return Open(session, device)


def unpack_unsupported(payload: bytes) -> Unsupported:
    """ValueError if the size is wrong."""
    symbol, count = _exactly(UNSUPPORTED, payload, "unsupported")
    assert isinstance(symbol, bytes) and isinstance(count, int)
    return Unsupported(_text(symbol), count)


def pack_hello(hello: Hello) -> bytes:
    """The payload of HELLO; text that is too long is cut, as the shim does."""
    job = hello.job.encode()[:63]
    program = hello.program.encode()[:127]
    return HELLO.pack(hello.pid, hello.api_version, job, program)


def pack_hello_reply(session: int, devices: list[bytes], driver_version: int) -> bytes:
    """The payload of HELLO's reply; devices are struct tally_device_info, from the executors."""
    return HELLO_REPLY.pack(session, len(devices), driver_version) + b"".join(devices)


def pack_open_reply(
    ops: str,
    replies: str,
    segment: str,
    segment_bytes: int,
    slot_count: int,
    slot_bytes: int,
    device_region_base: int,
    device_region_bytes: int,
) -> bytes:
    """The payload of OPEN's reply. ValueError if a text or number does not fit."""
    texts = [text.encode() for text in (ops, replies, segment)]
    if any(len(text) > 255 for text in texts):
        raise ValueError("an endpoint is longer than 255 bytes")
    try:
        return OPEN_REPLY.pack(
            *texts, segment_bytes, slot_count, slot_bytes, device_region_base, device_region_bytes
        )
    except struct.error as error:
        raise ValueError(str(error)) from error
