"""One executor process from start to death, and its replacement: JSON over a PAIR socket.

Everything here runs on tallyd's one event loop. The socket outlives the process: a restarted
executor connects to it again, and what the dead one had still sent is read and dropped before that.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from tally.client import protocol

from .. import runtime
from ..assignment import Assignment
from .watch import ProcessWatch

log = logging.getLogger("tallyd.executor")

BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 10.0
FAILURES_MAX = 3
HEALTHY_SECONDS = 30.0  # an executor that lived this long is restarted without a wait again
REQUEST_SECONDS_MAX = 10.0
SHUTDOWN_SECONDS_MAX = 3.0
LAST_WORDS_SECONDS_MAX = 0.5
EVENT_BYTES_MAX = 16 * 1024 * 1024
REASON_CHARACTERS_MAX = 1000


class ExecutorUnavailableError(Exception):
    """There is no executor for the device at present. The text says why."""


class Listener(Protocol):
    """Who is told what happens in an executor."""

    def executor_ready(self, index: int) -> None:
        """A process, the first or one in place of another, can be asked."""

    def executor_event(self, index: int, event: Mapping[str, Any]) -> None:
        """closed, fault or stats."""

    def executor_lost(self, index: int, reason: str) -> None:
        """The process is gone, and every session on it."""


@dataclass(slots=True)
class Life:
    """What belongs to one process; replaced as a whole when it is restarted."""

    number: int
    process: subprocess.Popen[bytes]
    started_s: float
    watch: ProcessWatch | None = None
    ready: Mapping[str, Any] | None = None
    schedule: Mapping[str, Any] | None = None  # what its scheduler saw, as it said last
    ended: bool = False  # the process is gone; its last words are being read
    failure: str = ""  # the executor's own last words
    pending: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)


class ExecutorProcess:
    """Keeps one device's executor running."""

    def __init__(
        self,
        index: int,
        runtime_dir: Path,
        command: Sequence[str],
        environment: Mapping[str, str],
        listener: Listener,
        context: zmq.asyncio.Context,
    ):
        """command is the argv of a process that connects in runtime_dir."""
        self.index = index
        self.restarts = 0
        self.last_failure = ""
        self._runtime_dir = runtime_dir
        self._command = command
        self._environment = environment
        self._listener = listener
        self._life: Life | None = None
        self._lives = 0
        self._request_count = 0
        self._backoff_s = BACKOFF_SECONDS_MIN
        self._failures = 0  # starts in a row that came to nothing
        self._stopping = False
        self._ready = asyncio.Event()  # set: there is a device, or no point in waiting for one
        self._gone = asyncio.Event()
        self._restart: asyncio.TimerHandle | None = None
        self._socket = context.socket(zmq.PAIR)
        self._socket.linger = 0
        self._socket.maxmsgsize = EVENT_BYTES_MAX
        self._disconnected = asyncio.Event()
        self._disconnected.set()
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._socket.bind(f"ipc://{runtime_dir}/executor-{index}.sock")
        self._tasks = {self._task(self._read()), self._task(self._watch_connection())}

    # ---- state ----------------------------------------------------------------------------------

    @property
    def device(self) -> Mapping[str, Any] | None:
        """The ready event of the running executor; None while there is none."""
        return self._life.ready if self._life and not self._life.ended else None

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._life.process.pid if self._life else None

    @property
    def schedule(self) -> Mapping[str, Any] | None:
        """What the running executor's scheduler saw, as it said last; None: nothing so far."""
        return self._life.schedule if self._life else None

    @property
    def state(self) -> str:
        """For people: ready, starting or restarting."""
        if self.device is not None:
            return "ready"
        return "starting" if self._life else "restarting"

    async def wait_ready(self) -> Mapping[str, Any]:
        """The ready event, once there is one. ExecutorUnavailableError if it fails repeatedly."""
        while not self._stopping and self._failures < FAILURES_MAX:
            await self._ready.wait()
            if self.device is not None:
                return self.device
        raise ExecutorUnavailableError(self.last_failure or "tallyd is shutting down")

    def blame(self, reason: str) -> None:
        """Note what the running executor is about to die of, for when it does."""
        if self._life:
            self._life.failure = reason[:REASON_CHARACTERS_MAX]

    # ---- life and death -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process. Its end is noticed by itself, and starts another one."""
        assert self._life is None and not self._stopping
        self._restart = None
        self._lives += 1
        try:
            process = subprocess.Popen(
                list(self._command),
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                # Ctrl-C is for tallyd, which then asks it to end. The session stays tallyd's: in
                # another one, niceness would not count between them (docs/cpu.md).
                process_group=0,
            )
        except OSError as error:  # no memory, too many processes: may pass
            self.last_failure = f"it cannot be started: {error.strerror}"
            log.error("device %d: executor: %s", self.index, self.last_failure)
            self._start_later()
            return
        self._gone.clear()
        life = Life(self._lives, process, time.monotonic())
        self._life = life
        life.watch = ProcessWatch(process.pid, lambda: self._keep(self._bury(life)))
        log.debug("device %d: executor %d started", self.index, process.pid)

    async def _bury(self, life: Life) -> None:
        """The process is gone: read its last words, then put another one in its place."""
        status = life.process.wait()  # a zombie already, so this does not block
        life.ended = True
        if self._failures < FAILURES_MAX:
            self._ready.clear()
        # What it had sent is complete once libzmq has seen the end of the connection. That takes no
        # time; the limit is for a process that leaves its sockets to a child.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._disconnected.wait(), LAST_WORDS_SECONDS_MAX)
        while await self._socket.poll(0):
            await asyncio.sleep(0)  # the reader takes them
        self._replace(life, status)

    def _replace(self, life: Life, status: int) -> None:
        self._life = None
        reason = life.failure or describe_exit(status)
        for future in life.pending.values():
            if not future.done():
                future.set_exception(ExecutorUnavailableError(f"the executor died: {reason}"))
        runtime.remove_session_sockets(self._runtime_dir, self.index)
        self._gone.set()
        if self._stopping:
            return
        self.last_failure = reason
        self.restarts += 1
        log.error("device %d: executor %d is gone: %s", self.index, life.process.pid, reason)
        self._listener.executor_lost(self.index, reason)
        if time.monotonic() - life.started_s > HEALTHY_SECONDS:
            self._backoff_s = BACKOFF_SECONDS_MIN
        self._start_later(came_to_nothing=life.ready is None)

    def _start_later(self, came_to_nothing: bool = True) -> None:
        """Start another process, the later the more often that was needed."""
        if came_to_nothing:
            self._failures += 1
        if self._failures >= FAILURES_MAX:
            self._ready.set()  # who waits is told
        self._restart = asyncio.get_running_loop().call_later(self._backoff_s, self.start)
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_SECONDS_MAX)

    async def stop(self) -> None:
        """End the process, by request and then by force, and close the socket."""
        self._stopping = True
        if self._restart:
            self._restart.cancel()
        if self._life:
            with contextlib.suppress(ExecutorUnavailableError, TimeoutError):
                await self.request("shutdown", timeout_s=SHUTDOWN_SECONDS_MAX)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._life is None:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), SHUTDOWN_SECONDS_MAX)
            if self._life:
                log.warning("device %d: executor does not end, sending %s", self.index, number.name)
                self._life.process.send_signal(number)
        if self._life:
            await self._gone.wait()
        self._ready.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    # ---- messages -------------------------------------------------------------------------------

    async def request(
        self, op: str, timeout_s: float = REQUEST_SECONDS_MAX, **fields: Any
    ) -> dict[str, Any]:
        """Ask the executor. ExecutorUnavailableError if it dies or refuses; TimeoutError."""
        life = self._life
        if life is None or life.ended or (life.ready is None and op != "shutdown"):
            raise ExecutorUnavailableError(self.last_failure or "the executor is starting")
        self._request_count += 1
        number = self._request_count
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        life.pending[number] = future
        try:
            message = json.dumps({"id": number, "op": op, **fields}).encode()
            async with asyncio.timeout(timeout_s):
                await self._socket.send(message)
                answer = await future
        finally:
            del life.pending[number]
        if not answer.get("ok"):
            raise ExecutorUnavailableError(str(answer.get("error", "refused without a reason")))
        return answer

    def tell(self, op: str, **fields: Any) -> None:
        """Send a request whose answer is not needed. Lost without one, as is its subject."""
        if self.device is None:
            return

        async def send() -> None:
            with contextlib.suppress(ExecutorUnavailableError, TimeoutError):
                await self.request(op, **fields)

        self._keep(send())

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work in the background. The loop itself keeps only weak references to tasks."""
        task = self._task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch_connection(self) -> None:
        while True:
            event = parse_monitor_message(await self._monitor.recv_multipart())["event"]
            if event == zmq.EVENT_ACCEPTED:
                self._disconnected.clear()
            else:
                self._disconnected.set()

    async def _read(self) -> None:
        while True:
            frames = await self._socket.recv_multipart()
            try:
                message = json.loads(b"".join(frames))
                if not isinstance(message, dict):
                    raise ValueError("not an object")
                self._handle(message)
            except Exception:
                # An executor's mistake must not end tallyd.
                log.exception("device %d: message from the executor dropped", self.index)

    def _handle(self, message: dict[str, Any]) -> None:
        life = self._life
        if life is None:
            return  # last words of an executor whose end has been dealt with
        kind = message.get("event")
        if isinstance(schedule := message.get("schedule"), dict):
            life.schedule = schedule
        if kind is None:
            future = life.pending.get(message["id"])
            if future and not future.done():
                future.set_result(message)
        elif kind == "ready":
            if message.get("pid", life.process.pid) != life.process.pid:
                return
            life.ready = message | {"device_info": _device_info(message)}
            self._failures = 0
            self._ready.set()
            seconds = time.monotonic() - life.started_s
            name = message.get("device_name", "unnamed device")
            log.info("device %d: %s, ready after %.1f s", self.index, name, seconds)
            self._listener.executor_ready(self.index)
        elif kind == "failed":
            life.failure = str(message.get("reason", ""))[:REASON_CHARACTERS_MAX]
            log.error("device %d: executor failed: %s", self.index, life.failure)
        elif life.ready is not None:
            self._listener.executor_event(self.index, message)


def _device_info(ready: Mapping[str, Any]) -> bytes:
    """The struct tally_device_info in a ready event. ValueError if it has another size."""
    info = base64.b64decode(ready["device"], validate=True)
    if len(info) != protocol.DEVICE_INFO_BYTES:
        raise ValueError(f"a device info has {protocol.DEVICE_INFO_BYTES} bytes, not {len(info)}")
    return info


def executor_command(assignment: Assignment) -> list[str]:
    """The argv of `tally.daemon.executor`."""
    # -P: a `tally` in the current folder, such as a checkout's, is not this package.
    return [sys.executable, "-P", "-m", "tally.daemon.executor", assignment.to_json()]


def describe_exit(status: int) -> str:
    """A Popen return code in words."""
    if status >= 0:
        return f"it exited with status {status}"
    try:
        return f"it was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was ended by signal {-status}"
