"""Recordings of real runs: what `tally trace record` writes. docs/traces.md describes the file.

JSON lines, gzip-compressed if the name ends in `.gz`, each an object that says in its first key
what it is. All times are in ns since the recording began.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from tally._native import ffi, lib
from tally.scheduler.limits import Limits
from tally.scheduler.plans import shape_text
from tally.scheduler.sim.files import TraceError, read_lines

FORMAT, VERSION = "tally-recording", 1
GUARDED, UNTIMED = int(lib.TALLY_TRACE_GUARDED), int(lib.TALLY_TRACE_UNTIMED)
NO_STREAM = int(lib.TALLY_TRACE_NO_STREAM)
NONE = -1  # stream of a launch that went past the scheduler


def _record_type() -> np.dtype[Any]:
    """struct tally_trace_record, laid out as C says."""
    kinds = {8: "<u8", 4: "<u4", 2: "<u2"}
    fields = ffi.typeof("struct tally_trace_record").fields
    return np.dtype(
        {
            "names": [name for name, _ in fields],
            "formats": [kinds[ffi.sizeof(word.type)] for _, word in fields],
            "offsets": [word.offset for _, word in fields],
            "itemsize": ffi.sizeof("struct tally_trace_record"),
        }
    )


RECORD = _record_type()


class Launch(NamedTuple):
    """One launch, in the order of the file's columns. start, end and device are 0 if not known."""

    session: int
    stream: int
    kernel: int
    submit_ns: int
    issue_ns: int
    start_ns: int
    end_ns: int
    device_ns: int
    starts: int
    preemptions: int
    flags: int

    @property
    def timed(self) -> bool:
        return not self.flags & UNTIMED

    @property
    def released_ns(self) -> int:
        """When its session went on: behind a launch that can be stopped, at its end."""
        return self.end_ns if self.flags & GUARDED else self.issue_ns


class Request(NamedTuple):
    """From the first work after idle until the blocking wait that returned the session to idle."""

    session: int
    submit_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Session:
    """One process of a job."""

    session: int
    job: str
    name: str
    job_class: str
    priority: int
    weight: int
    pid: int


@dataclass(frozen=True, slots=True)
class KernelShape:
    """A kernel in one shape. blocks_per_sm: that fit on a multiprocessor at once; 0: not known."""

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic_shared_bytes: int
    blocks_per_sm: int
    abilities: int
    signature: str

    @property
    def blocks(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def shape(self) -> str:
        """For people."""
        return shape_text(self.grid, self.block, self.dynamic_shared_bytes)


@dataclass
class Recording:
    """A recording as a whole. lost: records that were dropped; not complete: it was cut off."""

    device: Mapping[str, Any]
    policy: str
    limits: Limits
    sessions: dict[int, Session] = field(default_factory=dict)
    kernels: list[KernelShape] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lost: int = 0
    seconds: float = 0.0
    complete: bool = False


class _Record(NamedTuple):
    """struct tally_trace_record."""

    session: int
    signature: int
    submit_ns: int
    issue_ns: int
    start_ns: int
    end_ns: int
    device_ns: int
    stream: int
    starts: int
    preemptions: int
    kind: int
    flags: int


_UNKNOWN = {
    "name": "",
    "grid": [1, 1, 1],
    "block": [1, 1, 1],
    "dynamic_shared_bytes": 0,
    "blocks_per_sm": 0,
    "abilities": 0,
}


class Writer:
    """Writes a recording as it comes in: began is what `Client.trace_start` returns.

    Only sessions of the job (its id or name) are kept, if one is given.
    """

    def __init__(self, file: IO[str], began: Mapping[str, Any], job: str | None = None):
        self.launches = self.requests = self.lost = 0
        self._file = file
        self._job = job
        self._began_ns = int(began["began_ns"])
        self.sessions: set[int] = set()  # those that are wanted
        self._described: dict[int, Mapping[str, Any]] = {}  # kernels by signature
        self._kernels: dict[int, int] = {}  # numbers in the file by signature
        head = {key: began[key] for key in ("device", "policy", "limits")}
        self._line({"format": FORMAT, "version": VERSION, **head})

    def _line(self, words: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(words, separators=(",", ":")) + "\n")

    def take(self, batch: Mapping[str, Any]) -> None:
        """One answer of trace_read."""
        self.lost = int(batch["lost"])
        for session in batch["sessions"]:
            self._session(session)
        for kernel in batch["kernels"]:
            self._described[int(kernel["signature"], 16)] = kernel
        records = np.frombuffer(base64.b64decode(batch["records"]), RECORD).copy()
        for name in ("submit_ns", "issue_ns", "start_ns", "end_ns"):
            known = records[name] > 0
            records[name][known] = np.maximum(records[name][known], self._began_ns) - self._began_ns
        for record in map(_Record._make, records[list(_Record._fields)].tolist()):
            if record.session not in self.sessions:
                continue
            if record.kind == lib.TALLY_TRACE_REQUEST:
                self._line({"request": [record.session, record.submit_ns, record.end_ns]})
                self.requests += 1
            else:
                self._launch(record)

    def _session(self, words: Mapping[str, Any]) -> None:
        if self._job not in (None, words["id"], words["name"]):
            return
        self.sessions.add(int(words["session"]))
        rest = {key: words[key] for key in ("name", "class", "priority", "weight", "pid")}
        self._line({"session": words["session"], "job": words["id"], **rest})

    def _number(self, signature: int) -> int:
        """Of the kernel in the file; it is described there before its first launch."""
        if signature not in self._kernels:
            # Without a description if the engine's table of them is full.
            words = self._described.get(signature, {"signature": f"{signature:016x}", **_UNKNOWN})
            self._line({"kernel": len(self._kernels), **words})
            self._kernels[signature] = len(self._kernels)
        return self._kernels[signature]

    def _launch(self, record: _Record) -> None:
        launch = Launch(
            record.session,
            NONE if record.stream == NO_STREAM else record.stream,
            self._number(record.signature),
            record.submit_ns,
            max(record.issue_ns, record.submit_ns),
            *(record.start_ns, record.end_ns, record.device_ns),
            *(record.starts, record.preemptions, record.flags),
        )
        self._line({"launch": launch})
        self.launches += 1

    def end(self, seconds: float) -> None:
        """The last line: a recording without it was cut off."""
        self._line({"end": round(seconds, 6), "launches": self.launches, "lost": self.lost})


# ---- reading -------------------------------------------------------------------------------------


class _Reader:
    """Collects a recording's lines."""

    def __init__(self) -> None:
        self.recording: Recording | None = None

    def take(self, line: Mapping[str, Any]) -> None:
        if self.recording is None:
            if line.get("format") != FORMAT or line.get("version") != VERSION:
                raise ValueError(f"does not begin as a {FORMAT} of version {VERSION}")
            limits = replace(Limits.default(), **line["limits"])  # old ones lack what is new
            self.recording = Recording(dict(line["device"]), str(line["policy"]), limits)
            if int(self.recording.device["sms"]) < 1:
                raise ValueError("a device without multiprocessors")
            return
        kind = next(iter(line), "")
        take = {
            "launch": self._launch,
            "request": self._request,
            "session": self._session,
            "kernel": self._kernel,
            "end": self._end,
        }.get(kind)
        if take is None:
            raise ValueError(f"there is no line that begins with {kind!r}")
        take(self.recording, line)

    def _launch(self, recording: Recording, line: Mapping[str, Any]) -> None:
        launch = Launch(*map(int, line["launch"]))
        if launch.session not in recording.sessions:
            raise ValueError(f"session {launch.session} was not described")
        if not 0 <= launch.kernel < len(recording.kernels):
            raise ValueError(f"kernel {launch.kernel} was not described")
        if min(launch[3:]) < 0:
            raise ValueError("a launch's numbers are out of range")
        recording.launches.append(launch)

    def _request(self, recording: Recording, line: Mapping[str, Any]) -> None:
        request = Request(*map(int, line["request"]))
        if request.session not in recording.sessions or request.end_ns < request.submit_ns:
            raise ValueError("a request of no session, or one that ends before it begins")
        recording.requests.append(request)

    def _session(self, recording: Recording, line: Mapping[str, Any]) -> None:
        if line["class"] not in ("high", "best-effort"):
            raise ValueError(f"there is no class {line['class']!r}")
        recording.sessions[int(line["session"])] = Session(
            int(line["session"]),
            str(line["job"]),
            str(line["name"]),
            str(line["class"]),
            int(line["priority"]),
            int(line.get("weight", 1)),
            int(line["pid"]),
        )

    def _kernel(self, recording: Recording, line: Mapping[str, Any]) -> None:
        if line["kernel"] != len(recording.kernels):
            raise ValueError(f"kernel {len(recording.kernels)} comes next")
        x, y, z = map(int, line["grid"])
        threads = tuple(map(int, line["block"]))
        if min(x, y, z, *threads) < 1 or len(threads) != 3:
            raise ValueError("a kernel's grid or block makes no sense")
        recording.kernels.append(
            KernelShape(
                str(line["name"]),
                (x, y, z),
                (threads[0], threads[1], threads[2]),
                int(line["dynamic_shared_bytes"]),
                int(line["blocks_per_sm"]),
                int(line["abilities"]),
                str(line["signature"]),
            )
        )

    def _end(self, recording: Recording, line: Mapping[str, Any]) -> None:
        recording.seconds, recording.lost = float(line["end"]), int(line["lost"])
        recording.complete = True


def load(path: Path) -> Recording:
    """Reads a recording. Raises TraceError."""
    reader = _Reader()
    read_lines(path, reader.take)
    if reader.recording is None:
        raise TraceError(f"{path}: is empty")
    return reader.recording
