"""Sessions of an executor, as several tests of the engine want them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np

from tally._native import lib
from tally.scheduler.sim.recording import RECORD

from . import kernels
from .client import LEGACY, Client, wait_until
from .executor import ExecutorProcess


def counters(executor: ExecutorProcess, session: Client | int) -> dict[str, int]:
    """What the executor has counted of this session."""
    number = session if isinstance(session, int) else session.session
    result: dict[str, int] = executor.stats()[str(number)]["counters"]
    return result


def counting(client: Client) -> tuple[int, int]:
    """Kernel and zeroed memory."""
    count, _ = client.function(client.load(kernels.image("count")), "count")
    data = client.alloc(8192)
    client.write(data, bytes(8192))
    client.sync()
    return count, data


class Busy:
    """A high session that keeps the device until it is let go."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.module = client.load(kernels.image("spin"))
        self.spin, _ = client.function(self.module, "spin")
        self.flag = client.alloc(4)
        self.streams = (client.stream(1), client.stream(1))

    def hold(self) -> None:
        self.client.write(self.flag, bytes(4), stream=self.streams[1])
        self.client.sync(self.streams[1])
        self.client.launch(self.spin, struct.pack("Q", self.flag), stream=self.streams[0])
        self.client.function(self.module, "spin")  # answered once the launch is with the device

    def release(self) -> None:
        self.client.write(self.flag, b"\1\0\0\0", stream=self.streams[1])
        self.client.sync_all()


class Words:
    """A session with two kernels, words of memory for them, and a stream to look at these."""

    def __init__(self, client: Client) -> None:
        self.client = client
        module = client.load(kernels.image("hold", "add"))
        self.hold, _ = client.function(module, "hold")
        self.add, _ = client.function(module, "add")
        self.words = client.alloc(4096)
        self.side = client.stream(1)
        client.write(self.words, bytes(4096), self.side)
        client.sync(self.side)

    def launch(self, function: int, word: int, stream: int = LEGACY) -> None:
        self.client.launch(function, struct.pack("Q", self.words + 4 * word), stream=stream)

    def word(self, word: int) -> int:
        data = self.client.read(self.words + 4 * word, 4, self.side)
        return int(struct.unpack("I", data)[0])

    def release(self, word: int) -> None:
        self.client.write(self.words + 4 * word, struct.pack("I", 1), self.side)


class Recording:
    """One that goes on, and what was read so far."""

    def __init__(self, executor: ExecutorProcess) -> None:
        self.executor = executor
        began = executor.request("trace_start")
        assert began["ok"], began
        self.number: int = began["recording"]
        self.times: str = began["device"]["times"]
        self.records: Any = np.zeros(0, RECORD)
        self.kernels: dict[int, Any] = {}
        self.sessions: dict[int, Any] = {}

    def read(self) -> None:
        answer = self.executor.request("trace_read", recording=self.number)
        assert answer["ok"] and answer["lost"] == 0, answer
        batch = np.frombuffer(base64.b64decode(answer["records"]), RECORD)
        assert len(batch) == answer["count"]
        self.records = np.concatenate([self.records, batch])
        self.kernels |= {int(kernel["signature"], 16): kernel for kernel in answer["kernels"]}
        self.sessions |= {session["session"]: session for session in answer["sessions"]}

    def read_all(self) -> None:
        before = -1
        while len(self.records) > before:
            before = len(self.records)
            self.read()

    def of(self, kind: int) -> Any:
        return self.records[self.records["kind"] == kind]

    @property
    def launches(self) -> Any:
        return self.of(lib.TALLY_TRACE_LAUNCH)

    def wait_launches(self, count: int) -> None:
        def come() -> bool:
            self.read()
            return len(self.launches) >= count

        wait_until(come, f"{count} launches in the recording")

    def stop(self) -> None:
        assert self.executor.request("trace_stop", recording=self.number)["ok"]
