"""Messages between an executor and its workers: a JSON object and bytes, over a stream socket.

Whoever waits looks up now and then, so that a wait can be given up: `look` is called every
LOOK_SECONDS, and what it raises ends the wait.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

LOOK_SECONDS = 0.05
MESSAGE_BYTES_MAX = 1 << 30
_HEADER = struct.Struct("<IQ")  # bytes of the JSON, bytes behind it

Look = Callable[[], None]


def _nothing() -> None:
    return


def send(
    sock: socket.socket, head: Mapping[str, Any], data: bytes = b"", look: Look = _nothing
) -> None:
    """Send one message. OSError if the other side is gone."""
    text = json.dumps(head).encode()
    for part in (_HEADER.pack(len(text), len(data)) + text, data):
        left = memoryview(part)
        while left:
            try:
                left = left[sock.send(left) :]
            except TimeoutError:
                look()


def receive(sock: socket.socket, look: Look = _nothing) -> tuple[dict[str, Any], bytes]:
    """Wait for one message. EOFError if the other side is gone, ValueError if it is not ours."""
    text_bytes, data_bytes = _HEADER.unpack(_exactly(sock, _HEADER.size, look))
    if text_bytes > MESSAGE_BYTES_MAX or data_bytes > MESSAGE_BYTES_MAX:
        raise ValueError("a message is too long")
    head = json.loads(bytes(_exactly(sock, text_bytes, look)))
    return head, bytes(_exactly(sock, data_bytes, look))


def _exactly(sock: socket.socket, count: int, look: Look) -> bytearray:
    data = bytearray(count)
    at = 0
    while at < count:
        try:
            got = sock.recv_into(memoryview(data)[at:])
        except TimeoutError:
            look()
            continue
        if not got:
            raise EOFError
        at += got
    return data
