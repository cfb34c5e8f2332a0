"""`tally trace`: recordings of real runs, made and shown."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import click

from tally import render
from tally.client.api import connect
from tally.errors import TallyError
from tally.options import Number
from tally.scheduler.sim import files, recording

POLL_SECONDS = 0.1  # what is launched meanwhile must fit into the engine's ring of 65536 records
PROGRESS_SECONDS = 0.5


class TraceCommandError(TallyError):
    """A file cannot be written, or read as a recording."""


@click.group()
def command() -> None:
    """Record the launches of real runs, and show recordings.

    `tally simulate --trace FILE` replays recordings under every scheduling policy.
    """


# ---- recording -----------------------------------------------------------------------------------


@command.command(
    short_help="Record every launch and request into FILE.",
    epilog="""\b
Examples:
  tally trace record --job web --seconds 30 web.jsonl
  tally trace record train.jsonl.gz""",
)
@click.option(
    "--device", default=0, show_default=True, metavar="N", help="Which of tallyd's devices."
)
@click.option(
    "--job", metavar="JOB", help="Only the job of that id or name, also if it starts later."
)
@click.option("--seconds", type=Number(min=0), metavar="N", help="How long [until Ctrl-C].")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def record(
    runtime_dir: Path, device: int, job: str | None, seconds: float | None, file: Path
) -> None:
    """Record every launch into FILE: whose, which kernel, when submitted, when it ran.

    FILE is JSON lines (docs/traces.md), compressed if its name ends in .gz. Programs go on as they
    are; what is launched faster than it can be read is lost, counted, and said. Only the user who
    runs tallyd, and root, may record.

    For `tally simulate`, record each job while it runs alone, and put the files together there.
    """
    with connect(runtime_dir) as client, _asked_to_end() as ended:
        began = client.trace_start(device)
        read = partial(client.trace_read, device, began["recording"])
        try:
            with files.open_text(file, "w") as stream:
                writer = recording.Writer(stream, began, job)
                _record(read, writer, stream, seconds, ended, job)
        except OSError as error:
            raise TraceCommandError(f"cannot write {file}: {error.strerror or error}") from error
        finally:
            with suppress(TallyError):  # it is over by itself
                client.trace_stop(device, began["recording"])
    if job is not None and not writer.sessions:
        raise TraceCommandError(f'no job of the id or name "{job}" ran on device {device}')


@contextmanager
def _asked_to_end() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed. An exception instead would lose what is being read just then."""
    asked = False

    def note(*_: object) -> None:
        nonlocal asked
        asked = True

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, note) for number in numbers]
    try:
        yield lambda: asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _record(
    read: Callable[[], dict[str, Any]],
    writer: recording.Writer,
    stream: IO[str],
    seconds: float | None,
    ended: Callable[[], bool],
    job: str | None,
) -> None:
    began_s = time.monotonic()
    ends_s = began_s + seconds if seconds is not None else float("inf")
    show = _ProgressLine()
    stream.flush()  # the file says from now on that a recording goes on
    try:
        while True:
            over = ended() or time.monotonic() >= ends_s
            while _take(read, writer):  # once more at the end: what is in the ring belongs to it
                pass
            stream.flush()
            if over:
                break
            text = _progress(writer, time.monotonic() - began_s)
            show(text if job is None or writer.sessions else f"{text}; no job {job!r} so far")
            time.sleep(min(POLL_SECONDS, max(0.0, ends_s - time.monotonic())))
        writer.end(time.monotonic() - began_s)
    finally:
        show.end(_progress(writer, time.monotonic() - began_s))


def _take(read: Callable[[], dict[str, Any]], writer: recording.Writer) -> bool:
    """Read once; whether there is more to be read at once."""
    batch = read()
    writer.take(batch)
    return bool(batch["more"])


def _progress(writer: recording.Writer, seconds: float) -> str:
    text = f"{seconds:.1f} s: {writer.launches} launches, {writer.requests} requests"
    return f"{text}, {writer.lost} records lost" if writer.lost else text


class _ProgressLine:
    """A line in place of the last one, now and then, on a terminal; elsewhere only the last one."""

    def __init__(self) -> None:
        self._shown_s = 0.0

    def __call__(self, text: str) -> None:
        if sys.stderr.isatty() and time.monotonic() - self._shown_s > PROGRESS_SECONDS:
            self._shown_s = time.monotonic()
            click.echo(f"\r\033[K{text}  (Ctrl-C ends)", err=True, nl=False)

    def end(self, text: str) -> None:
        click.echo(f"\r\033[K{text}" if self._shown_s else text, err=True)


# ---- showing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KernelRow:
    """Launches of one kernel in one shape by one job. Times in ns; None: not known."""

    job: str
    job_class: str
    kernel: str
    shape: str
    launches: int
    p50_ns: float | None
    p99_ns: float | None
    total_ns: int
    preemptions: int


@dataclass(frozen=True, slots=True)
class RequestRow:
    """Requests of one job."""

    job: str
    job_class: str
    requests: int
    p50_ns: float
    p99_ns: float


def _quantile(values: Sequence[int], q: float) -> float:
    import numpy as np

    return float(np.quantile(values, q))


def kernel_rows(recorded: recording.Recording) -> list[KernelRow]:
    """By job, and inside it by time, longest first."""
    groups: dict[tuple[str, str, int], list[recording.Launch]] = defaultdict(list)
    for launch in recorded.launches:
        session = recorded.sessions[launch.session]
        groups[session.name, session.job_class, launch.kernel].append(launch)
    rows = []
    for (job, job_class, number), launches in groups.items():
        kernel = recorded.kernels[number]
        times = [launch.device_ns for launch in launches if launch.timed]
        rows.append(
            KernelRow(
                job,
                job_class,
                kernel.name or kernel.signature,
                kernel.shape,
                len(launches),
                _quantile(times, 0.5) if times else None,
                _quantile(times, 0.99) if times else None,
                sum(times),
                sum(launch.preemptions for launch in launches),
            )
        )
    return sorted(rows, key=lambda row: (row.job_class != "high", row.job, -row.total_ns))


def request_rows(recorded: recording.Recording) -> list[RequestRow]:
    """By job. Requests without a launch, such as copies alone, do not count."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    submits: dict[int, list[int]] = defaultdict(list)
    for launch in recorded.launches:
        submits[launch.session].append(launch.submit_ns)
    for number, times in submits.items():
        session = recorded.sessions[number]
        times.sort()
        requests = [r for r in recorded.requests if r.session == number]
        groups[session.name, session.job_class] += _with_launches(requests, times)
    rows = [
        RequestRow(*job, len(times), _quantile(times, 0.5), _quantile(times, 0.99))
        for job, times in groups.items()
        if times
    ]
    return sorted(rows, key=lambda row: (row.job_class != "high", row.job))


def _with_launches(requests: Sequence[recording.Request], submits: Sequence[int]) -> list[int]:
    from bisect import bisect_left, bisect_right

    return [
        request.end_ns - request.submit_ns
        for request in requests
        if bisect_left(submits, request.submit_ns) < bisect_right(submits, request.end_ns)
    ]


@command.command(short_help="Sum up a recording.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def show(file: Path, as_json: bool) -> None:
    """Sum up a recording: requests and kernels by job.

    Kernels' times are those on the device, SHAPE is blocks of threads, PREEMPTED how often launches
    were stopped before their end.
    """
    try:
        recorded = recording.load(file)
    except files.TraceError as error:
        raise TraceCommandError(str(error)) from error
    kernels, requests = kernel_rows(recorded), request_rows(recorded)
    if as_json:
        _print_json(recorded, kernels, requests)
        return
    click.echo(_heading(recorded))
    if not kernels:
        click.echo("no launches in it")
    for job, job_class in dict.fromkeys((row.job, row.job_class) for row in kernels):
        click.echo(f"\n{_job_heading(job, job_class, requests)}")
        render.show(
            kernel_table([row for row in kernels if (row.job, row.job_class) == (job, job_class)])
        )


def _print_json(
    recorded: recording.Recording, kernels: Sequence[KernelRow], requests: Sequence[RequestRow]
) -> None:
    head = {
        "device": recorded.device,
        "policy": recorded.policy,
        "seconds": recorded.seconds,
        "complete": recorded.complete,
        "launches": len(recorded.launches),
        "lost": recorded.lost,
    }
    rows = {"kernels": [asdict(row) for row in kernels], "requests": [asdict(r) for r in requests]}
    click.echo(json.dumps(head | rows, indent=1))


def _heading(recorded: recording.Recording) -> str:
    device = recorded.device
    text = f"{device['name']}, policy {recorded.policy}: {len(recorded.launches)} launches"
    text += f" in {recorded.seconds:.1f} s" if recorded.complete else "; cut off before its end"
    if recorded.lost:
        text += f"; {recorded.lost} records lost"
    untimed = sum(not launch.timed for launch in recorded.launches)
    return f"{text}; {untimed} of them not timed" if untimed else text


def _job_heading(job: str, job_class: str, requests: Sequence[RequestRow]) -> str:
    for row in requests:
        if (row.job, row.job_class) == (job, job_class):
            times = f"p50 {render.time_ns(row.p50_ns)}, p99 {render.time_ns(row.p99_ns)}"
            return f"{job} ({job_class}): {row.requests} requests, {times}"
    return f"{job} ({job_class}): no request seen whole"


def kernel_table(rows: Sequence[KernelRow]) -> render.Table:
    """Of one job."""
    columns = ("KERNEL", "SHAPE", "LAUNCHES", "P50", "P99", "TOTAL", "PREEMPTED")
    table = render.table(columns, right=columns[2:], keys=columns[:2], cut=columns[:1])
    for row in rows:
        table.add_row(
            render.plain(row.kernel),
            row.shape,
            str(row.launches),
            render.time_ns(row.p50_ns),
            render.time_ns(row.p99_ns),
            render.time_ns(row.total_ns),
            str(row.preemptions),
        )
    return table
