"""The control socket: decoding, and who may ask. What is asked for is the handler's business.

Nothing that a peer sends is trusted. Who it is comes from the kernel (peers.py); a message that is
malformed, too long or not allowed gets an error reply, and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import zmq
import zmq.asyncio

from tally.client import protocol
from tally.client.protocol import Header, Status, Type
from tally.config import default_of

from . import peers
from .peers import Peer

log = logging.getLogger("tallyd.control")

UNNAMED = (
    "tallyd does not see the process: it is in another PID namespace, and this kernel (before 6.9) "
    "cannot name it; start tallyd in the host's PID namespace (docker run --pid=host, Kubernetes "
    "hostPID: true)"
)
QUEUED_MAX = 16  # messages per connection that libzmq holds in either direction


class ControlError(Exception):
    """A request that is answered with an error: a status and one line for a person."""

    def __init__(self, status: Status, text: str):
        super().__init__(text)
        self.status = status

    @property
    def line(self) -> bytes:
        """As it is sent; what a peer has said may have no UTF-8."""
        return str(self).encode("utf-8", "replace")


class Handler(Protocol):
    """What the control socket serves. Every method may raise ControlError."""

    def allows(self, peer: Peer) -> bool:
        """Whether the peer may ask at all."""

    async def hello(self, peer: Peer, hello: protocol.Hello) -> bytes:
        """A new session; the payload of the reply."""

    async def open(self, peer: Peer, request: protocol.Open) -> bytes:
        """A session's first use of a device; the payload of the reply."""

    async def unsupported(self, peer: Peer, report: protocol.Unsupported) -> bytes:
        """A program called something that Tally does not support."""

    async def request(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        """A request of the command line."""


class ControlServer:
    """Owns the ROUTER socket. One task reads; each request is answered by a task of its own, so
    that one which must wait for an executor holds up nobody else's."""

    def __init__(
        self,
        endpoint: str,
        handler: Handler,
        context: zmq.asyncio.Context,
        waiting_max: int = default_of("requests_waiting_max"),
    ):
        """waiting_max: requests that are being answered at a time."""
        self._handler = handler
        self._waiting_max = waiting_max
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.maxmsgsize = protocol.CONTROL_BYTES_MAX
        self._socket.rcvhwm = QUEUED_MAX
        self._socket.sndhwm = (
            QUEUED_MAX  # beyond it replies to a peer that does not read are dropped
        )
        self._socket.bind(endpoint)
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def close(self) -> None:
        """Stop listening. Requests that are being answered are given up."""
        tasks = [self._reader, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close(linger=0)

    async def _read(self) -> None:
        while True:
            frames = await self._socket.recv_multipart(copy=False)
            try:
                await self._receive(frames)
            except Exception:
                log.exception("control message dropped")

    async def _receive(self, frames: list[zmq.Frame]) -> None:
        identity = frames[0].bytes
        try:
            header = protocol.unpack_header(frames[1].bytes if len(frames) > 1 else b"")
        except ValueError as error:
            await self._reply(identity, Header(0, 0, 0, 0), Status.BAD_MESSAGE, str(error).encode())
            return
        peer = None
        with contextlib.suppress(zmq.ZMQError):
            peer = peers.of_message(frames[1].get("Peer-Address"), _descriptor(frames[1]))
        try:
            answer = self._dispatch(header, peer, frames[2:])
        except ControlError as error:
            await self._reply(identity, header, error.status, error.line)
            return
        task = asyncio.get_running_loop().create_task(self._answer(identity, header, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _dispatch(
        self, header: Header, peer: Peer | None, frames: list[zmq.Frame]
    ) -> Callable[[], Awaitable[bytes]]:
        """What makes the reply's payload."""
        if header.version != protocol.VERSION:
            raise ControlError(Status.BAD_VERSION, _version_text(header.version))
        if peer is None or not peer.named:
            raise ControlError(Status.REFUSED, UNNAMED)
        if not self._handler.allows(peer):
            text = f"user {peer.uid} may not use this tallyd; see `group` in its config"
            raise ControlError(Status.REFUSED, text)
        if len(frames) != 1:
            raise ControlError(Status.BAD_MESSAGE, "a control message has two frames")
        if len(self._tasks) >= self._waiting_max:
            text = f"`requests_waiting_max` in tallyd's config lets it answer {self._waiting_max}"
            raise ControlError(Status.REFUSED, f"{text} requests at a time; try again")
        payload = frames[0].bytes
        handler = self._handler
        try:
            if header.type == Type.HELLO:
                hello = protocol.unpack_hello(payload)
                return lambda: handler.hello(peer, hello)
            if header.type == Type.OPEN:
                request = protocol.unpack_open(payload)
                return lambda: handler.open(peer, request)
            if header.type == Type.UNSUPPORTED:
                report = protocol.unpack_unsupported(payload)
                return lambda: handler.unsupported(peer, report)
            if header.type == Type.REQUEST:
                fields = _parse_request(payload)
                return lambda: self._answer_json(peer, fields)
        except ValueError as error:
            raise ControlError(Status.BAD_MESSAGE, str(error)) from None
        raise ControlError(Status.BAD_MESSAGE, f"unknown message type {header.type}")

    async def _answer_json(self, peer: Peer, fields: dict[str, Any]) -> bytes:
        return json.dumps(await self._handler.request(peer, fields)).encode()

    async def _answer(
        self, identity: bytes, header: Header, answer: Callable[[], Awaitable[bytes]]
    ) -> None:
        try:
            status, payload = Status.OK, await answer()
        except ControlError as error:
            status, payload = error.status, error.line
        except Exception:
            log.exception("request of type %d failed", header.type)
            status, payload = Status.INTERNAL, b"internal error; tallyd's log has the details"
        await self._reply(identity, header, status, payload)

    async def _reply(self, identity: bytes, header: Header, status: Status, payload: bytes) -> None:
        reply = Header(protocol.VERSION, header.type, header.sequence, status)
        # A peer that has gone away, or reads nothing, does not get its reply.
        with contextlib.suppress(zmq.ZMQError):
            await self._socket.send_multipart([identity, reply.pack(), payload])


def _descriptor(frame: zmq.Frame) -> int:
    """Of the connection that it came by; -1: not known."""
    with contextlib.suppress(zmq.ZMQError, ValueError):
        return int(frame.get(zmq.SRCFD))
    return -1


def _parse_request(payload: bytes) -> dict[str, Any]:
    """A JSON object with an "op". ValueError with a text for the peer otherwise."""
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        raise ValueError("the request is not JSON") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("op"), str):
        raise ValueError('a request is a JSON object with an "op"')
    return fields


def _version_text(theirs: int) -> str:
    ours = protocol.VERSION
    older = "the program" if theirs < ours else "tallyd"
    return (
        f"protocol version {theirs} meets a tallyd that speaks {ours}: upgrade {older}, "
        "then restart tallyd and the program with the same release of Tally"
    )
