"""A client of one executor's session, without the shim: what the shim says, in Python."""

from __future__ import annotations

import itertools
import mmap
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import zmq

from . import wire

LEGACY = wire.constant("STREAM_LEGACY")
DEVICE, PINNED, SLOT, INLINE = (
    wire.constant(f"PLACE_{name}") for name in ("DEVICE", "PINNED", "SLOT", "INLINE")
)
TIMEOUT_S = 20.0
# One for all, never ended: the end of a context waits for its sockets, and those of a test that
# fails are not closed. The failure would never be told.
CONTEXT: zmq.Context[zmq.Socket[bytes]] = zmq.Context()


class CudaError(Exception):
    """A call's result."""

    def __init__(self, result: int, log: bytes = b"") -> None:
        super().__init__(f"{result} {log.decode(errors='replace')}")
        self.result = result
        self.log = log


class Loading(NamedTuple):
    """A module's handle, and the number of the call that loads it."""

    module: int
    number: int


class Client:
    """One session. Calls may be outstanding in any number; replies are matched by number."""

    def __init__(self, opened: dict[str, Any], queued_max: int = 1000) -> None:
        """queued_max: ops that wait on this side."""
        self.ops = CONTEXT.socket(zmq.PUSH)
        self.ops.sndhwm = queued_max
        self.replies = CONTEXT.socket(zmq.PULL)
        for one, endpoint in ((self.ops, opened["ops"]), (self.replies, opened["replies"])):
            one.linger = 0
            one.connect(endpoint)
        self.memory = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.memory.settimeout(TIMEOUT_S)
        self.memory.connect(opened["segment"])
        self.map = self.map_handed(0, opened["segment_bytes"])
        self.slot_count: int = opened["slot_count"]
        self.slot_bytes: int = opened["slot_bytes"]
        self.session: int = opened["session"]
        self.region = (opened["device_region_base"], opened["device_region_bytes"])
        self.stdout = b""
        self.stderr = b""
        self.async_errors: list[int] = []
        self._numbers = itertools.count(1)
        self._indices = itertools.count(1)
        self._answers: dict[int, bytes] = {}

    def close(self, bye: bool = True) -> None:
        """Say goodbye (or not) and close the sockets."""
        if bye:
            self.send("BYE", "tally_op", linger=True)
        for one in (self.ops, self.replies):
            one.close()
        self.memory.close()
        self.map.close()

    def receive_handed(self, number: int) -> int:
        """The file of the next piece of shared memory, which must have that number."""
        message, files, _, _ = socket.recv_fds(self.memory, 64, 4)
        handed = wire.unpack("tally_handover", message)
        assert (handed.magic, handed.number) == (wire.constant("HANDOVER_MAGIC"), number)
        (file,) = files
        return file

    def map_handed(self, number: int, size: int) -> mmap.mmap:
        """That piece, mapped."""
        file = self.receive_handed(number)
        mapped = mmap.mmap(file, size)
        os.close(file)
        return mapped

    # ---- the page -------------------------------------------------------------------------------

    @property
    def page(self) -> Any:
        """struct tally_session_page as it is now."""
        return wire.unpack("tally_session_page", self.map[:4096])

    def slot(self, index: int) -> int:
        """The byte offset of a slot in the segment file."""
        return 4096 + index * self.slot_bytes

    def wait_slot(self, index: int, sequence: int) -> None:
        """Until done[index] is sequence."""
        wait_until(lambda: self.page.done[index] == sequence, f"slot {index}")

    def wait_closed(self) -> None:
        """Until the executor has ended the session."""
        wait_until(lambda: self.page.closed == 1, "the session's end")

    # ---- messages -------------------------------------------------------------------------------

    def raw(self, message: bytes) -> None:
        """Send any bytes."""
        self.ops.send(message)

    def message(
        self, code: str, struct: str, tail: bytes = b"", call_id: int = 0, **fields: Any
    ) -> bytes:
        """An op, ready to be sent."""
        number = wire.constant(f"OP_{code}")
        size = wire.FFI.sizeof(f"struct {struct}") + len(tail)
        header = {"code": number, "bytes": size, "call_id": call_id}
        packed = wire.pack(struct, header if struct == "tally_op" else {"op": header, **fields})
        return packed + tail

    def send(
        self, code: str, struct: str, tail: bytes = b"", linger: bool = False, **fields: Any
    ) -> None:
        """A one-way op."""
        if linger:
            self.ops.linger = 1000
        self.raw(self.message(code, struct, tail, **fields))

    def driver_call(self, symbol: str, body: bytes, one_way: bool = False) -> None:
        """A driver call that generated code carries: its parameters as they lie in the message."""
        number = 0 if one_way else next(self._numbers)
        size = wire.FFI.sizeof("struct tally_op") + len(body)
        header = {"code": wire.constant(f"OP_{symbol}"), "bytes": size, "call_id": number}
        self.raw(wire.pack("tally_op", header) + body)
        if number:
            self.finish(number)

    def begin(self, code: str, struct: str, tail: bytes = b"", **fields: Any) -> int:
        """A call; its number is for finish()."""
        number = next(self._numbers)
        self.raw(self.message(code, struct, tail, call_id=number, **fields))
        return number

    def finish(self, number: int, timeout_s: float = TIMEOUT_S) -> bytes:
        """The whole reply. CudaError if the result is not 0, TimeoutError if none comes."""
        deadline_s = time.monotonic() + timeout_s
        while number not in self._answers:
            left_ms = int((deadline_s - time.monotonic()) * 1000)
            if left_ms <= 0 or not self.replies.poll(left_ms):
                raise TimeoutError(f"no reply to call {number}")
            self._take(self.replies.recv())
        answer = self._answers.pop(number)
        result = wire.unpack("tally_reply", answer).result
        if result:
            raise CudaError(result, answer[wire.FFI.sizeof("struct tally_reply") :])
        return answer

    def poll(self, number: int) -> bool:
        """Whether the call was answered."""
        while self.replies.poll(0):
            self._take(self.replies.recv())
        return number in self._answers

    def _take(self, message: bytes) -> None:
        head = wire.unpack("tally_reply", message)
        assert head.bytes == len(message)
        body = message[wire.FFI.sizeof("struct tally_reply") :]
        if head.kind == wire.constant("REPLY_STDOUT"):
            self.stdout += body
        elif head.kind == wire.constant("REPLY_STDERR"):
            self.stderr += body
        else:
            if head.async_error:
                self.async_errors.append(head.async_error)
            assert head.call_id not in self._answers
            self._answers[head.call_id] = message

    def call(self, code: str, struct: str, reply: str, tail: bytes = b"", **fields: Any) -> Any:
        """A call from start to end: its reply struct."""
        return wire.unpack(reply, self.finish(self.begin(code, struct, tail, **fields)))

    def new(self, kind: str) -> int:
        """A fresh handle."""
        return wire.handle(kind, next(self._indices))

    # ---- memory ---------------------------------------------------------------------------------

    def alloc(self, size: int) -> int:
        """Device memory."""
        reply = self.call("MEM_ALLOC", "tally_op_mem_alloc", "tally_reply_mem_alloc", bytes=size)
        return int(reply.address)

    def free(self, address: int) -> None:
        """Give device memory back."""
        self.send("MEM_FREE", "tally_op_mem_free", address=address)

    def copy(self, **fields: Any) -> bytes:
        """The fields of a copy, with those of a plain line filled in."""
        tail = fields.pop("tail", b"")
        fields = {"stream": LEGACY, "height": 1, "depth": 1, **fields}
        return self.message("COPY", "tally_op_copy", tail, **fields)

    def write(self, address: int, data: bytes, stream: int = LEGACY) -> None:
        """Bytes into device memory, inside messages."""
        limit = wire.constant("INLINE_BYTES_MAX")
        for at in range(0, len(data), limit):
            piece = data[at : at + limit]
            self.raw(
                self.copy(
                    dst=address + at,
                    src_place=INLINE,
                    width=len(piece),
                    tail=piece,
                    stream=stream,
                )
            )

    def read(self, address: int, size: int, stream: int = LEGACY, slot: int = 0) -> bytes:
        """Bytes of device memory, through a slot (one at a time)."""
        data = b""
        while len(data) < size:
            piece = min(self.slot_bytes, size - len(data))
            number = next(self._numbers)
            self.raw(
                self.copy(
                    call_id=number,
                    src=address + len(data),
                    dst=self.slot(slot) - 4096,
                    dst_place=SLOT,
                    width=piece,
                    stream=stream,
                )
            )
            self.finish(number)
            data += self.map[self.slot(slot) : self.slot(slot) + piece]
        return data

    # ---- streams, events, modules ---------------------------------------------------------------

    def stream(self, flags: int = 0) -> int:
        """A stream: 0 blocking, 1 non-blocking."""
        stream = self.new("STREAM")
        self.send("STREAM_CREATE", "tally_op_stream_create", stream=stream, flags=flags)
        return stream

    def sync(self, stream: int = LEGACY) -> None:
        """Wait for a stream."""
        self.finish(self.begin("STREAM_SYNC", "tally_op_stream", stream=stream))

    def sync_all(self) -> None:
        """Wait for the context."""
        self.finish(self.begin("CTX_SYNC", "tally_op"))

    def event(self, flags: int = 0) -> int:
        """An event."""
        event = self.new("EVENT")
        self.send("EVENT_CREATE", "tally_op_event_create", event=event, flags=flags)
        return event

    def record(self, event: int, stream: int = LEGACY) -> None:
        """Record an event."""
        self.send("EVENT_RECORD", "tally_op_event_record", event=event, stream=stream)

    def value(self, stream: int, address: int, value: int, wait: bool = False) -> None:
        """cuStreamWriteValue32, or cuStreamWaitValue32 until memory is at least value."""
        self.send(
            "STREAM_VALUE",
            "tally_op_stream_value",
            stream=stream,
            address=address,
            value=value,
            wait=int(wait),
        )

    def host_alloc(self, size: int) -> tuple[int, mmap.mmap]:
        """Pinned memory: its address, and a map of it (not at that address)."""
        reply = self.call("HOST_ALLOC", "tally_op_host_alloc", "tally_reply_host_alloc", bytes=size)
        return int(reply.address), self.map_handed(reply.number, reply.bytes)

    def load(self, image: bytes, **fields: Any) -> int:
        """A module, its image inside the message (or as the fields say)."""
        module, number = self.begin_load(image, **fields)
        self.finish(number)
        return module

    def begin_load(self, image: bytes, **fields: Any) -> Loading:
        """As load, without waiting for the reply."""
        module = self.new("MODULE")
        fields = {"source": wire.constant("IMAGE_INLINE"), "log_bytes": 4096, **fields}
        number = self.begin(
            "MODULE_LOAD",
            "tally_op_module_load",
            image,
            module=module,
            tail_bytes=len(image),
            **fields,
        )
        return Loading(module, number)

    def function(self, module: int, name: str) -> tuple[int, Any]:
        """A kernel's handle and its reply struct."""
        function = self.new("FUNCTION")
        reply = self.call(
            "GET_FUNCTION",
            "tally_op_get_function",
            "tally_reply_get_function",
            name.encode(),
            module=module,
            function=function,
            name_bytes=len(name.encode()),
        )
        return function, reply

    def launch(
        self,
        function: int,
        params: bytes = b"",
        grid: Sequence[int] = (1, 1, 1),
        block: Sequence[int] = (1, 1, 1),
        stream: int = LEGACY,
        attributes: bytes = b"",
        **fields: Any,
    ) -> None:
        """A kernel launch."""
        self.send(
            "LAUNCH",
            "tally_op_launch",
            attributes + params,
            function=function,
            stream=stream,
            grid=list(grid),
            block=list(block),
            attribute_count=len(attributes) // 72,
            param_bytes=len(params),
            **fields,
        )


def wait_until(condition: Any, what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Until condition() holds. AssertionError if it takes too long."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(0.002)
