"""An executor's workers: processes in which programs' code is rewritten and compiled.

Whoever has work waits for a free worker and then for the result, on the calling thread, without
the Python lock. A worker that takes too much time or memory is killed, and so is one whose caller
leaves; another one is forked in its place (worker_process.py). Work for high sessions has workers
of its own: it waits for nobody else's. The others run nicer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tally.config import default_of

from . import worker_wire

log = logging.getLogger("tallyd.workers")

START_SECONDS_MAX = 60.0  # until a new process answers, on a machine that is busy
WORKS_MAX = 64  # of one worker: what it keeps goes with it
IDLE_BYTES_MAX = 512 << 20  # a worker that has grown beyond it is not kept
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class WorkerError(Exception):
    """The work was not done. The text says why, and goes behind a subject: "took more than ..." """


class LeftError(Exception):
    """The caller's session ends, or the executor: nobody needs the result."""


@dataclass(frozen=True, slots=True)
class Limits:
    """See the settings of the same names."""

    code_workers_max: int = default_of("code_workers_max")
    code_seconds_max: float = default_of("code_seconds_max")
    code_memory_bytes_max: int = default_of("code_memory_bytes_max")

    @property
    def count(self) -> int:
        """Workers for each class."""
        return self.code_workers_max or len(os.sched_getaffinity(0))


class _Worker:
    def __init__(self, sock: socket.socket, urgent: bool):
        self.sock = sock
        self.urgent = urgent
        self.works = 0
        self.pid = 0

    def hello(self, look: Callable[[], None]) -> None:
        until_s = time.monotonic() + START_SECONDS_MAX

        def look_and_wait() -> None:
            look()
            if time.monotonic() > until_s:
                raise WorkerError("found no worker process: none could be started")

        head, _ = worker_wire.receive(self.sock, look_and_wait)
        self.pid = int(head["pid"])

    def cpu_seconds(self) -> float:
        with open(f"/proc/{self.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_bytes(self) -> int:
        with open(f"/proc/{self.pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE

    def end(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.sock.close()


class Pool:
    """Workers for one executor. All methods may be called from any thread."""

    def __init__(self, modules: Sequence[str], limits: Limits | None = None):
        """modules: what workers can do, see worker_process.py."""
        self.limits = limits or Limits()
        self._modules = modules
        self._changed = threading.Condition()
        self._busy: set[_Worker] = set()
        self._running = {True: 0, False: 0}  # by urgency
        self._idle: list[_Worker] = []
        self._parent: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._leaving: list[Callable[[], int]] = []
        self._closed = False

    def watch(self, leaving: Callable[[], int]) -> None:
        """How a thread learns that the session for which it works is to end."""
        self._leaving.append(leaving)

    def start(self) -> None:
        """Start the first process, so that it has loaded what it needs when there is work."""
        with self._changed, contextlib.suppress(WorkerError):
            self._control()

    def close(self) -> None:
        """End all workers. Whoever waits for one gets LeftError."""
        with self._changed:
            self._closed = True
            for worker in [*self._busy, *self._idle]:
                if worker.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGKILL)
            for worker in self._idle:
                worker.sock.close()
            self._idle.clear()
            self._changed.notify_all()
            parent, self._parent = self._parent, None
        if parent:
            process, control = parent
            control.close()
            process.kill()
            process.wait()

    def run(
        self, work: str, head: Mapping[str, Any], data: bytes, *, urgent: bool = False
    ) -> tuple[dict[str, Any], bytes]:
        """The work's answer. WorkerError, LeftError."""
        with self._slot(urgent):
            worker = self._take(urgent)
            try:
                answer = self._ask(worker, {"work": work, **head}, data)
            except BaseException:
                self._drop(worker)
                raise
            self._give_back(worker)
        if failed := answer[0].get("failed"):
            raise WorkerError(str(failed))
        return answer

    # ---- waiting --------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._closed or any(leaving() for leaving in self._leaving):
            raise LeftError

    @contextlib.contextmanager
    def _slot(self, urgent: bool) -> Iterator[None]:
        """One of the class's places."""
        with self._changed:
            while self._running[urgent] >= self.limits.count:
                self._look()
                self._changed.wait(worker_wire.LOOK_SECONDS)
            self._look()
            self._running[urgent] += 1
        try:
            yield
        finally:
            with self._changed:
                self._running[urgent] -= 1
                self._changed.notify()

    def _ask(
        self, worker: _Worker, head: Mapping[str, Any], data: bytes
    ) -> tuple[dict[str, Any], bytes]:
        limits = self.limits
        try:
            if not worker.pid:
                worker.hello(self._look)
            until_s = worker.cpu_seconds() + limits.code_seconds_max

            def look() -> None:
                self._look()
                if worker.cpu_seconds() > until_s:
                    raise WorkerError(
                        f"took more than {limits.code_seconds_max:g} s (code_seconds_max)"
                    )
                if worker.memory_bytes() > limits.code_memory_bytes_max:
                    raise WorkerError(
                        f"needed more than {limits.code_memory_bytes_max >> 20} MiB "
                        "(code_memory_bytes_max)"
                    )

            worker_wire.send(worker.sock, head, data, look)
            return worker_wire.receive(worker.sock, look)
        except (OSError, EOFError, ValueError, KeyError):
            if self._closed:
                raise LeftError from None
            raise WorkerError("ended the process that did it") from None

    # ---- processes ------------------------------------------------------------------------------

    def _take(self, urgent: bool) -> _Worker:
        with self._changed:
            for worker in self._idle:
                if worker.urgent == urgent:
                    self._idle.remove(worker)
                    break
            else:
                worker = self._fork(urgent)
            self._busy.add(worker)
            return worker

    def _give_back(self, worker: _Worker) -> None:
        worker.works += 1
        try:
            keep = worker.works < WORKS_MAX and worker.memory_bytes() < IDLE_BYTES_MAX
        except OSError:
            keep = False
        with self._changed:
            self._busy.discard(worker)
            if keep and not self._closed:
                self._idle.append(worker)
                return
        worker.end()

    def _drop(self, worker: _Worker) -> None:
        with self._changed:
            self._busy.discard(worker)
        worker.end()

    def _fork(self, urgent: bool) -> _Worker:
        """Under the lock. WorkerError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.settimeout(worker_wire.LOOK_SECONDS)
        with theirs:
            for _ in range(2):  # the first process may have been killed, by the kernel or by people
                try:
                    urgency = b"urgent" if urgent else b"best-effort"
                    socket.send_fds(self._control(), [urgency], [theirs.fileno()])
                    return _Worker(ours, urgent)
                except OSError:
                    self._forget_parent()
        ours.close()
        raise WorkerError("found no worker process: none could be started")

    def _control(self) -> socket.socket:
        """Under the lock: the first process's socket; starts it where there is none."""
        if self._parent is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-P", "-m", "tally.daemon.worker_process"]
            with theirs:
                try:
                    process = subprocess.Popen(
                        [*command, str(theirs.fileno()), *self._modules],
                        stdin=subprocess.DEVNULL,
                        pass_fds=(theirs.fileno(),),
                    )
                except OSError as error:
                    ours.close()
                    raise WorkerError(f"found no worker process: {error.strerror}") from None
            self._parent = process, ours
        return self._parent[1]

    def _forget_parent(self) -> None:
        if self._parent:
            process, control = self._parent
            self._parent = None
            control.close()
            process.kill()
            process.wait()
