"""An executor's process, and what tallyd is to it: assignment, requests, events, its end."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from tally import config
from tally.daemon.assignment import Assignment

from .client import CONTEXT, TIMEOUT_S, Client


def shared_memory_of(pid: int) -> set[str]:
    """Names of the shared memory that a process maps; empty if it is gone."""
    with contextlib.suppress(OSError):
        return set(re.findall(r"/memfd:(tally-s[0-9-]+)", Path(f"/proc/{pid}/maps").read_text()))
    return set()


def assignment(options: Sequence[str], device: str, runtime_dir: Path) -> Assignment:
    """Of an executor: tallyd's flags, as `--name=value`, and those of Assignment's own fields.

    It keeps nothing unless `--state-dir` is given."""
    flags = {"runtime_dir": str(runtime_dir), "log_level": "debug"}
    own: dict[str, Any] = {"kind": device, "index": 0, "keeps": False}
    for option in options:
        flag, given, text = option.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if name in config.FIELDS:
            flags[name] = text if given else "true"
            own["keeps"] |= name == "state_dir"
        else:
            own[name] = int(text) if name == "index" else text or True
    values: dict[str, Any] = dict(config.read_flags(flags))
    return Assignment(config=config.Config(**values), **own)


class ExecutorProcess:
    """An executor, and tallyd's side of its socket. options: as of `assignment`."""

    def __init__(
        self, *options: str, device: str = "soft", env: Mapping[str, str] | None = None
    ) -> None:
        self.runtime = Path(tempfile.mkdtemp(prefix="tally-test-"))
        self.instance = self.runtime.name  # what is made for it and shows outside might be named so
        self.socket = CONTEXT.socket(zmq.PAIR)
        self.socket.linger = 0
        self.socket.bind(f"ipc://{self.runtime}/executor-0.sock")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tally.daemon.executor"),
                assignment(options, device, self.runtime).to_json(),
            ],
            env={**os.environ, **(env or {})},
        )
        self.events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._sessions = itertools.count(1)

    def __enter__(self) -> ExecutorProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.socket.close()
        for path in self.runtime.iterdir():
            path.unlink()
        self.runtime.rmdir()

    def _receive(self, timeout_s: float) -> bool:
        if not self.socket.poll(int(timeout_s * 1000)):
            return False
        message = self.socket.recv_json()
        assert isinstance(message, dict)
        if message.get("event") == "stats":
            return True
        if "event" in message:
            self.events.append(message)
        else:
            self._answers[message["id"]] = message
        return True

    def wait_event(self, kind: str, session: int | None = None) -> dict[str, Any]:
        """The next event of a kind (of a session); it is taken off the list."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            for event in self.events:
                if event["event"] == kind and session in (None, event.get("session")):
                    self.events.remove(event)
                    return event
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"no event {kind}: {self.events}"
            self._receive(left_s)

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """The answer, whatever it is."""
        number = next(self._numbers)
        self.socket.send_json({"id": number, "op": op, **fields})
        deadline_s = time.monotonic() + TIMEOUT_S
        while number not in self._answers:
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"no answer to {op}"
            self._receive(left_s)
        return self._answers.pop(number)

    def open(
        self,
        pid: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        kind: str = "best-effort",
        **job: Any,
    ) -> dict[str, Any]:
        """A new session for a process (this one): the executor's answer, with the number."""
        number = next(self._sessions)
        answer = self.request(
            "open",
            session=number,
            pid=pid or os.getpid(),
            uid=os.getuid() if uid is None else uid,
            gid=os.getgid() if gid is None else gid,
            job={"id": f"j{number}", "name": "test", "class": kind, "priority": 0, **job},
        )
        assert answer["ok"], answer
        return {**answer, "session": number}

    @contextlib.contextmanager
    def client(self, **job: Any) -> Iterator[Client]:
        """A session of this process; it must end well."""
        opened = self.open(**job)
        client = Client(opened)
        try:
            yield client
        finally:
            client.close()
        closed = self.wait_event("closed", opened["session"])
        assert closed["reason"] == "the client is done", closed["reason"]

    def stats(self) -> dict[str, Any]:
        """Of the open sessions, by number as text."""
        sessions: dict[str, Any] = self.request("stats")["sessions"]
        return sessions

    def sockets(self) -> list[str]:
        """Names of the sessions' sockets in the runtime folder."""
        names = (path.name for path in self.runtime.iterdir())
        return [name for name in names if name.endswith((".ops", ".replies", ".memory"))]

    def shared_memory(self) -> list[str]:
        """Names of what the executor shares with clients: tally-sN a session's segment, tally-sN-K
        its pinned memory."""
        return sorted(shared_memory_of(self.process.pid))


@contextlib.contextmanager
def victim(executor: ExecutorProcess) -> Iterator[tuple[Client, int]]:
    """A session that is expected to be ended by the executor."""
    opened = executor.open()
    client = Client(opened)
    yield client, opened["session"]
    client.close(bye=False)
