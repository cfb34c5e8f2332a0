"""`tally stats`: one snapshot of everything, as a table or JSON, once or again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType

from tally import render
from tally.client.api import Client, connect
from tally.errors import RefusedError

NUMBERS = (
    *("LAUNCHES", "DEVICE TIME", "DELAY p50", "p95", "p99"),
    *("REQUESTS", "LATENCY p50", "p95 ", "p99 ", "MEMORY", "PEAK"),
)


@click.command(
    epilog="""\b
Columns: DELAY is how long launches waited until their first block ran; LATENCY is how long requests
took: from the first op after the job was idle until its blocking wait returned."""
)
@click.option(
    "--json", "as_json", is_flag=True, help="The whole snapshot as JSON, one line a time."
)
@click.option("--watch", is_flag=True, help="Again every --interval, until interrupted.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch.",
)
@click.argument("job", required=False)
@click.pass_obj
def command(
    runtime_dir: Path, as_json: bool, watch: bool, interval: float, job: str | None
) -> None:
    """Show what jobs did: launches, device time, queue delay, request latency, memory.

    JOB is the id or the name of one.
    """
    with connect(runtime_dir) as client:
        if as_json:
            _print_json(client, job, watch, interval)
        elif watch:
            _watch(client, job, interval)
        else:
            render.show(_tables(_snapshot(client, job)))


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


def _watch(client: Client, job: str | None, interval: float) -> None:
    from rich.live import Live

    with Live(console=render.console(), auto_refresh=False, screen=False) as live:
        while True:
            live.update(_tables(_snapshot(client, job)), refresh=True)
            time.sleep(interval)


def _tables(snapshot: Mapping[str, Any]) -> RenderableType:
    lines: list[RenderableType] = [_executor_line(entry) for entry in snapshot["devices"]]
    return Group(*lines, "", _job_table(snapshot) if snapshot["jobs"] else "no jobs yet")


def _executor_line(executor: Mapping[str, Any]) -> str:
    text = (
        f"device {executor['index']}: {render.plain(executor['name'] or '-')}, {executor['state']}"
    )
    if executor["restarts"]:
        text += (
            f", {executor['restarts']} restarts (last: {render.plain(executor['last_failure'])})"
        )
    return text


def _job_table(snapshot: Mapping[str, Any]) -> RenderableType:
    table = render.table(("JOB", "NAME", "CLASS", "STATE", *NUMBERS), NUMBERS)
    for job in snapshot["jobs"]:
        name = render.plain(job["name"])
        table.add_row(job["id"], name, job["class"], job["state"], *_numbers(job["stats"]))
    return table


def _numbers(stats: Mapping[str, Any]) -> list[str]:
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
