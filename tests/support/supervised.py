"""A supervisor in this process, on the stub executor: tallyd without a device."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import zmq

import tally.client
from tally.client import paths, protocol
from tally.client.protocol import Header, Status, Type
from tally.config import Config
from tally.daemon.assignment import Assignment
from tally.daemon.runtime import RuntimeDir
from tally.daemon.supervisor import supervisor
from tally.daemon.supervisor.devices import Devices

TESTS = Path(__file__).parent.parent
Result = TypeVar("Result")


def stub_command(assignment: Assignment) -> Sequence[str]:
    """In place of the supervisor's executor_command."""
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "from support.stub_executor import main; main()"
    )
    return [sys.executable, "-c", code, assignment.to_json()]


class Supervised:
    """A supervisor on a thread and loop of its own; use `with`. `call` runs code on the loop."""

    def __init__(self, command: Callable[..., Any] = stub_command, count: int = 1, **settings: Any):
        self.folder = tempfile.TemporaryDirectory(prefix="tally-t-")
        self.runtime_dir = Path(self.folder.name) / "run"
        self.config = Config(
            runtime_dir=self.runtime_dir, state_dir=Path(self.folder.name) / "state", **settings
        )
        self._command, self._count = command, count
        self._started = threading.Event()
        self.failure: BaseException | None = None
        self.supervisor: supervisor.Supervisor
        self._thread = threading.Thread(target=self._main)

    def _main(self) -> None:
        runtime_dir = RuntimeDir(self.runtime_dir)
        try:
            asyncio.run(self._supervise())
        except BaseException as error:
            self.failure = error
        finally:
            self._started.set()
            runtime_dir.close()

    async def _supervise(self) -> None:
        names = vars(supervisor)
        original, names["executor_command"] = names["executor_command"], self._command
        try:
            self.loop = asyncio.get_running_loop()
            devices = Devices("soft", self._count, "a test", None)
            self.supervisor = supervisor.Supervisor(self.config, devices)
        finally:
            names["executor_command"] = original
        running = self.loop.create_task(self.supervisor.run())
        await asyncio.sleep(0)  # run() has bound its sockets after its first step
        self._started.set()
        await running

    def call(self, function: Callable[[], Result]) -> Result:
        """Run a function on the supervisor's loop."""

        async def run() -> Result:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def client(self) -> tally.client.Client:
        return tally.client.connect(self.runtime_dir)

    def raw(self) -> RawPeer:
        """A peer that sends what it likes."""
        return RawPeer(self.runtime_dir)

    def metrics_port(self) -> int:
        """Of the metrics endpoint; 0 while there is none."""
        metrics = self.supervisor.metrics
        return metrics.port if metrics else 0

    def validate(self) -> None:
        self.call(self.supervisor.sessions.table.validate)

    def __enter__(self) -> Supervised:
        self._thread.start()
        assert self._started.wait(10)
        if self.failure:
            raise self.failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self.validate()
            self.loop.call_soon_threadsafe(self.supervisor.stop)
            self._thread.join(20)
        assert not self._thread.is_alive()
        self.folder.cleanup()


class RawPeer:
    """A DEALER socket on the control plane. Use `with`."""

    def __init__(self, runtime_dir: Path):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 1000
        self.socket.connect(f"ipc://{paths.control_socket(runtime_dir)}")
        self.sequence = 0

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(list(frames))

    def receive(self, seconds: float = 10) -> tuple[Header, bytes]:
        assert self.socket.poll(int(seconds * 1000)), "no reply"
        header, payload = self.socket.recv_multipart()
        return protocol.unpack_header(header), payload

    def ask(
        self, kind: int, payload: bytes, version: int = protocol.VERSION
    ) -> tuple[Status, bytes]:
        self.sequence += 1
        self.send(Header(version, kind, self.sequence, 0).pack(), payload)
        header, body = self.receive()
        assert (header.sequence, header.type) == (self.sequence, kind)
        return Status(header.status), body

    def hello(self, job: str = "", program: str = "test") -> tuple[Status, bytes]:
        return self.ask(Type.HELLO, protocol.pack_hello(protocol.Hello(0, 13000, job, program)))

    def open(self, session: int, device: int = 0) -> tuple[Status, bytes]:
        return self.ask(Type.OPEN, protocol.OPEN.pack(session, device, 0))

    def unsupported(self, symbol: str, calls: int) -> tuple[Status, bytes]:
        payload = protocol.UNSUPPORTED.pack(symbol.encode(), calls)
        return self.ask(Type.UNSUPPORTED, payload)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.context.destroy(linger=0)


def session_of(body: bytes) -> int:
    return int(protocol.HELLO_REPLY.unpack_from(body)[0])


def elsewhere(supervised: Supervised, code: str, name: str = "") -> str:
    """What a program in another process prints; it has a raw `peer` and, if named, a `job`."""
    prelude = (
        f"import struct, sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "from pathlib import Path\nimport tally.client\nfrom support.supervised import RawPeer\n"
        f"folder = Path({str(supervised.runtime_dir)!r})\npeer = RawPeer(folder)\n"
    )
    if name:
        prelude += f"job = tally.client.connect(folder).start_job(['p'], name={name!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
