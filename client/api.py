"""Talking to tallyd: one request at a time over the control socket."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from tally.errors import NotReachableError, RefusedError, VersionMismatchError

from . import paths, protocol
from .environment import run_environment
from .records import JobRecord

TIMEOUT_SECONDS = 5.0


def _probe(path: Path) -> None:
    """NotReachableError with the reason if nobody listens on the socket, or we may not use it.

    ZeroMQ itself would go on trying in silence.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(TIMEOUT_SECONDS)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NotReachableError(
                f"tallyd is not running (nothing listens on {path}); start it with `tallyd`"
            ) from None
        except PermissionError:
            raise NotReachableError(
                f"no permission to use {path}; ask who runs tallyd to set its `group`"
            ) from None
        except OSError as error:
            raise NotReachableError(f"{path} cannot be used: {error}") from None


class Client:
    """A connection to tallyd. Not for use by several threads at once; close it, or use `with`.

    Every method raises NotReachableError if tallyd does not answer, RefusedError if it says no, and
    VersionMismatchError if it speaks another protocol version.
    """

    def __init__(self, runtime_dir: Path | str | None = None, timeout_s: float = TIMEOUT_SECONDS):
        self.runtime_dir = Path(runtime_dir) if runtime_dir else paths.client_runtime_dir()
        self.timeout_s = timeout_s
        self._sequence = 0
        path = paths.control_socket(self.runtime_dir)
        _probe(path)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(f"ipc://{path}")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back. Harmless when called twice."""
        self._context.destroy(linger=0)

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """One JSON request of the control protocol, and its answer."""
        self._sequence += 1
        header = protocol.Header(protocol.VERSION, protocol.Type.REQUEST, self._sequence, 0)
        payload = json.dumps({"op": op, **fields}).encode()
        if len(payload) > protocol.CONTROL_BYTES_MAX:
            raise RefusedError(f"the {op} request is too long ({len(payload)} bytes)")
        self._socket.send_multipart([header.pack(), payload])
        reply, body = self._receive()
        if reply.status == protocol.Status.BAD_VERSION:
            raise VersionMismatchError(body.decode("utf-8", "replace"))
        if reply.status != protocol.Status.OK:
            raise RefusedError(body.decode("utf-8", "replace"))
        answer = json.loads(body)
        assert isinstance(answer, dict)
        return answer

    def _receive(self) -> tuple[protocol.Header, bytes]:
        """The reply to the last request; late ones to requests that were given up are skipped."""
        while self._socket.poll(int(self.timeout_s * 1000)):
            header_frame, body = self._socket.recv_multipart()
            header = protocol.unpack_header(header_frame)
            if header.sequence == self._sequence:
                return header, body
        raise NotReachableError(
            f"tallyd does not answer (waited {self.timeout_s:g} s); see its log"
        )

    def ping(self) -> dict[str, Any]:
        """tallyd's version, protocol version and pid."""
        return self.request("ping")

    def start_job(
        self,
        argv: Sequence[str],
        name: str | None = None,
        job_class: str = "best-effort",
        priority: int = 0,
        weight: int = 1,
        memory_max: int = 0,
    ) -> str:
        """Make this process the root of a new job, and return the job's id.

        What the process starts, or becomes by exec, belongs to the job if it has its environment.
        """
        job = self.register_job(argv, name, job_class, priority, weight, memory_max)
        return str(job["id"])

    def register_job(
        self,
        argv: Sequence[str],
        name: str | None,
        job_class: str,
        priority: int,
        weight: int,
        memory_max: int = 0,
        own_nice: bool = False,
    ) -> dict[str, Any]:
        """As start_job; tallyd's whole answer: the job's `id`, and `in_cpu_group`, whether tallyd
        has put this process into a control group that gives way on the CPU as its class does.

        memory_max: bytes that it may have of each device's memory; 0: as tallyd is configured.
        own_nice: not as its class does, but by its own niceness, beside high jobs."""
        return self.request(
            "job_start",
            name=name or os.path.basename(argv[0]),
            **{"class": job_class},
            priority=priority,
            weight=weight,
            memory_max=memory_max,
            own_nice=own_nice,
            argv=[arg[:1024] for arg in argv[:32]],
            cwd=os.getcwd(),
        )

    def environment(self, job: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """environ, extended so that a program started with it runs as part of the job."""
        return run_environment(environ, job, self.runtime_dir)

    def jobs(self, ended: bool = True) -> list[JobRecord]:
        """Running jobs, and the remembered ended ones, oldest first."""
        answer = self.request("jobs", ended=ended)
        return [JobRecord.from_json(entry) for entry in answer["jobs"]]

    def stats(self) -> dict[str, Any]:
        """One snapshot of everything: what `tally stats --json` prints (docs/cli.md)."""
        return self.request("stats")

    def doctor(self) -> dict[str, Any]:
        """What tallyd knows about its devices, executors and the calls that are unsupported."""
        return self.request("doctor")

    def policy(self, name: str | None = None) -> str:
        """The scheduling policy in force, after switching to the one named, on every device.

        RefusedError if there is none of that name, or for a user who may not.
        """
        answer = self.request("policy", **({} if name is None else {"policy": name}))
        return str(answer["policy"])

    def trace_start(self, device: int = 0) -> dict[str, Any]:
        """Begin to record a device's launches; the answer's `recording` is for the next two.

        RefusedError if somebody records there already, or for a user who may not.
        """
        return self.request("trace_start", device=device)

    def trace_read(self, device: int, recording: int) -> dict[str, Any]:
        """The oldest records that nobody has read. To be called every few seconds at least."""
        return self.request("trace_read", device=device, recording=recording)

    def trace_stop(self, device: int, recording: int) -> None:
        """End a recording."""
        self.request("trace_stop", device=device, recording=recording)

    def shutdown(self, drain: bool = False) -> None:
        """Ask tallyd to end: at once, or when the last session ends (no new ones are let in)."""
        self.request("drain" if drain else "shutdown")


def connect(runtime_dir: Path | str | None = None, timeout_s: float = TIMEOUT_SECONDS) -> Client:
    """A connection to the tallyd of runtime_dir (default: where `tally` looks for it)."""
    return Client(runtime_dir, timeout_s)
