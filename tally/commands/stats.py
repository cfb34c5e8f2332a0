"""`tally stats`: one snapshot of everything, as a table or JSON, once or again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType

from tally import render
from tally.client.api import Client, connect
from tally.errors import RefusedError
from tally.options import Number

LINE = 78  # columns of a line about a device, behind its indent
NUMBERS = (
    *("LAUNCHES", "DEVICE TIME", "DELAY p50", "p95", "p99"),
    *("REQUESTS", "LATENCY p50", "p95 ", "p99 ", "MEMORY", "PEAK"),
)
GLUED = {"p95", "p99", "p95 ", "p99 ", "max"}
WAITING_NS_MIN = 500_000_000  # between two kernels of a high job everybody waits a little
SCHEDULE = (
    *("LAUNCHES", "STARTS", "PER LAUNCH", "PREEMPTED"),
    *("WAITED", "WAIT MEAN", "DEVICE TIME", "HARVESTED"),
    *("TURNAROUND p50", "p99", "max"),
)


@click.command(
    epilog="""\
STATE is `waiting`, with a time, while the scheduler holds a job back and nothing of it runs.

Columns: DELAY is how long launches waited until their first block ran; LATENCY is how long requests
took: from the first op after the job was idle until its blocking wait returned.

With --schedule: STARTS is how often launches went to the device, whole, in slices or to go on;
PREEMPTED how often they were stopped before their end; WAITED the time from launches' arrival to
their first start; HARVESTED the device time that best-effort jobs got; TURNAROUND how long
best-effort work was in the way of high launches that met some: of a high job, of its launches; of
a best-effort job, its own work."""
)
@click.option("--schedule", is_flag=True, help="What the scheduler did, in place of the latencies.")
@click.option(
    "--json", "as_json", is_flag=True, help="The whole snapshot as JSON, one line a time."
)
@click.option("--watch", is_flag=True, help="Again every --interval, until interrupted.")
@click.option(
    "--interval",
    type=Number(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch.",
)
@click.argument("job", required=False)
@click.pass_obj
def command(
    runtime_dir: Path, schedule: bool, as_json: bool, watch: bool, interval: float, job: str | None
) -> None:
    """Show what jobs did: launches, device time, queue delay, request latency, memory.

    Each device has the scheduling policy and turnaround: how long best-effort work kept those high
    launches waiting that met some; what was estimated when that work was started, and how far off
    that was on average; and how much best-effort work was started although it could neither end nor
    be stopped within the bound (tallyd's turnaround_us_max).

    JOB is the id or the name of one.
    """
    with connect(runtime_dir) as client:
        if as_json:
            _print_json(client, job, watch, interval)
        elif watch:
            _watch(client, job, interval, schedule)
        else:
            render.show(_tables(_snapshot(client, job), schedule))


def _snapshot(client: Client, job: str | None) -> dict[str, Any]:
    """The snapshot, with only the job asked for. RefusedError if there is none."""
    snapshot = client.stats()
    if job is not None:
        chosen = [entry for entry in snapshot["jobs"] if job in (entry["id"], entry["name"])]
        if not chosen:
            raise RefusedError(f'no job has the id or name "{job}"; see `tally ps --all`')
        snapshot["jobs"] = chosen
    return snapshot


def _print_json(client: Client, job: str | None, watch: bool, interval: float) -> None:
    while True:
        click.echo(json.dumps(_snapshot(client, job)))
        if not watch:
            return
        time.sleep(interval)


def _watch(client: Client, job: str | None, interval: float, schedule: bool) -> None:
    from rich.live import Live

    with Live(console=render.console(), auto_refresh=False, screen=False) as live:
        while True:
            live.update(_tables(_snapshot(client, job), schedule), refresh=True)
            time.sleep(interval)


def _tables(snapshot: Mapping[str, Any], schedule: bool) -> RenderableType:
    lines: list[RenderableType] = []
    for entry in snapshot["devices"]:
        lines.append(_executor_line(entry))
        if entry["schedule"]:
            lines += [f"  {line}" for line in schedule_lines(entry["schedule"])]
    columns, numbers = (SCHEDULE, _schedule_numbers) if schedule else (NUMBERS, _numbers)
    if not snapshot["jobs"]:
        return Group(*lines, "", "no jobs yet")
    return Group(*lines, "", job_table(snapshot, columns, numbers))


def _executor_line(executor: Mapping[str, Any]) -> str:
    text = (
        f"device {executor['index']}: {render.plain(executor['name'] or '-')}, {executor['state']}"
    )
    if executor["memory_bytes"]:
        used, size = executor["memory_used_bytes"], executor["memory_bytes"]
        text += f", {render.size(used)} of {render.size(size)} used"
    if executor["restarts"]:
        text += (
            f", {executor['restarts']} restarts (last: {render.plain(executor['last_failure'])})"
        )
    return text


def schedule_lines(schedule: Mapping[str, Any]) -> list[str]:
    turnaround = schedule["turnaround"]
    policy = f"policy {schedule['policy']}"
    count = turnaround["count"]
    if not count:
        return [f"{policy}; no high launch has met best-effort work", *rescue_lines(schedule)]
    times = ", ".join(
        f"{name} {render.time_ns(turnaround[f'{name}_ns'])}" for name in ("p50", "p99", "max")
    )
    mean, estimated, error = (
        render.time_ns(turnaround[f"{name}_ns"] / count)
        for name in ("sum", "estimated_sum", "error_sum")
    )
    return [
        f"{policy}; high launches that met best-effort work: {count}",
        f"turnaround {times}, mean {mean}",
        f"estimated {estimated} (off by {error}); starts over the bound: {schedule['oversized']}",
        *rescue_lines(schedule),
    ]


def rescue_lines(schedule: Mapping[str, Any]) -> list[str]:
    """What the watchdog did; an older executor does not say."""
    count, named = schedule.get("rescues", 0), schedule.get("rescued", [])
    lines = [f"launches that did not stop when told to, and were rescued: {count}"] if count else []
    for entry in named:
        job, kernel = render.plain(entry["job"])[:20], render.plain(entry["kernel"])
        lines.append(f"never stopped again (session {entry['session']}, {job}): {kernel}"[:LINE])
    return lines


def job_table(
    snapshot: Mapping[str, Any],
    columns: tuple[str, ...],
    numbers: Callable[[Mapping[str, Any]], list[str]],
) -> render.Table:
    table = render.table(
        ("JOB", "NAME", "CLASS", "STATE", *columns),
        columns,
        keys=("JOB", "NAME"),
        cut=("NAME",),
        glued=GLUED.intersection(columns),
    )
    for job in snapshot["jobs"]:
        name = render.plain(job["name"])
        table.add_row(job["id"], name, job["class"], _state(job), *numbers(job))
    return table


def _state(job: Mapping[str, Any]) -> str:
    waiting_ns = job["stats"]["gauges"].get("waiting_ns", 0)
    if waiting_ns < WAITING_NS_MIN:
        return str(job["state"])
    return f"waiting {render.time_ns(waiting_ns)}"


def _schedule_numbers(job: Mapping[str, Any]) -> list[str]:
    counters = job["stats"]["counters"]
    launches, starts = counters.get("launches", 0), counters.get("starts", 0)
    waited, scheduled = counters.get("waited_ns", 0), counters.get("scheduled_ns", 0)
    best_effort = job["class"] == "best-effort"
    turnaround = job["stats"]["histograms"].get("turnaround", {})
    return [
        str(launches),
        str(starts),
        f"{starts / launches:.2f}" if launches else "-",
        str(counters.get("preemptions", 0)),
        render.time_ns(waited),
        render.time_ns(waited / launches if launches else None),
        render.time_ns(scheduled),
        render.time_ns(scheduled if best_effort else None),
        *(_quantile(turnaround, quantile) for quantile in (50, 99)),
        render.time_ns(turnaround["max_ns"] if turnaround.get("count") else None),
    ]


def _numbers(job: Mapping[str, Any]) -> list[str]:
    stats = job["stats"]
    counters, gauges = stats["counters"], stats["gauges"]
    delay = stats["histograms"].get("queue_delay", {})
    latency = stats["histograms"].get("request_latency", {})
    return [
        str(counters.get("launches", 0)),
        render.time_ns(counters.get("device_ns", 0)),
        *(_quantile(delay, quantile) for quantile in (50, 95, 99)),
        str(latency.get("count", 0)),
        *(_quantile(latency, quantile) for quantile in (50, 95, 99)),
        render.size(gauges.get("memory_bytes", 0)),
        render.size(gauges.get("memory_peak_bytes", 0)),
    ]


def _quantile(histogram: Mapping[str, Any], quantile: int) -> str:
    return render.time_ns(histogram.get(f"p{quantile}_ns") if histogram.get("count") else None)
