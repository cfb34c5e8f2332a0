"""The Prometheus endpoint: GET /metrics, from the snapshot that `tally stats --json` prints.

It is served by tallyd's own event loop, because the state belongs to it; prometheus_client's server
would read that from another thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from tally.config import parse_address
from tally.errors import ConfigError

log = logging.getLogger("tallyd.metrics")

REQUEST_BYTES_MAX = 8192
REQUEST_SECONDS_MAX = 5.0
JOB_LABELS = ("job", "name", "class")

Snapshot = Mapping[str, Any]


class _SnapshotCollector(Collector):
    """Families made from one snapshot."""

    def __init__(self, snapshot: Snapshot):
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        yield from _device_families(self._snapshot)
        yield from _job_families(self._snapshot)


def _device_families(snapshot: Snapshot) -> Iterable[Metric]:
    up = GaugeMetricFamily(
        "tally_executor_up", "1 while the device's executor is ready", labels=["device"]
    )
    restarts = CounterMetricFamily(
        "tally_executor_restarts", "Executors that died and were replaced", labels=["device"]
    )
    for device in snapshot["devices"]:
        label = [str(device["index"])]
        up.add_metric(label, float(device["state"] == "ready"))
        restarts.add_metric(label, device["restarts"])
    yield up
    yield restarts
    yield from _schedule_families(snapshot)
    yield GaugeMetricFamily("tally_uptime_seconds", "Since tallyd started", snapshot["uptime_s"])


def _schedule_families(snapshot: Snapshot) -> Iterable[Metric]:
    """What the devices' schedulers saw: the `schedule` of the snapshot's devices."""
    policy = GaugeMetricFamily(
        "tally_device_policy", "1 for the policy in force", labels=["device", "policy"]
    )
    oversized = CounterMetricFamily(
        "tally_device_oversized_starts",
        "Best-effort starts that could not stop within the turnaround bound",
        labels=["device"],
    )
    turnaround = SummaryMetricFamily(
        "tally_device_turnaround_ns",
        "From a high launch's arrival until best-effort work has given way",
        labels=["device"],
    )
    singles = {
        "max_ns": ("tally_device_turnaround_max_ns", "Longest turnaround", GaugeMetricFamily),
        "unmet": (
            "tally_device_turnaround_unmet",
            "High arrivals that met no best-effort work",
            CounterMetricFamily,
        ),
        "missed": (
            "tally_device_turnaround_missed",
            "High arrivals whose turnaround could not be measured",
            CounterMetricFamily,
        ),
        "estimated_sum_ns": (
            "tally_device_turnaround_estimated_ns",
            "Sum of the estimates of turnaround",
            CounterMetricFamily,
        ),
        "error_sum_ns": (
            "tally_device_turnaround_error_ns",
            "Sum of the differences between estimated and measured turnaround",
            CounterMetricFamily,
        ),
    }
    families = {
        key: make(name, text, labels=["device"]) for key, (name, text, make) in singles.items()
    }
    for device in snapshot["devices"]:
        if not (schedule := device["schedule"]):
            continue
        index, times = str(device["index"]), schedule["turnaround"]
        policy.add_metric([index, schedule["policy"]], 1.0)
        oversized.add_metric([index], schedule["oversized"])
        turnaround.add_metric([index], count_value=times["count"], sum_value=times["sum_ns"])
        for quantile in (50, 99):
            labels = {"device": index, "quantile": f"0.{quantile}"}
            turnaround.add_sample(turnaround.name, labels, times[f"p{quantile}_ns"])
        for key, family in families.items():
            family.add_metric([index], times[key])
    yield from (policy, oversized, turnaround, *families.values())


def _job_families(snapshot: Snapshot) -> Iterable[Metric]:
    """One family per statistic that any job has: a new statistic needs no line here."""
    families: dict[str, Any] = {}
    sessions = GaugeMetricFamily(
        "tally_job_sessions", "Connected client processes", labels=JOB_LABELS
    )
    unsupported = CounterMetricFamily(
        "tally_job_unsupported_calls",
        "Driver calls that Tally does not support",
        labels=[*JOB_LABELS, "symbol"],
    )
    for job in snapshot["jobs"]:
        label = [job["id"], job["name"], job["class"]]
        sessions.add_metric(label, job["sessions"])
        for symbol, count in job["unsupported"].items():
            unsupported.add_metric([*label, symbol], count)
        for name, value in job["stats"]["counters"].items():
            family = f"tally_job_{name}"
            families.setdefault(family, CounterMetricFamily(family, name, labels=JOB_LABELS))
            families[family].add_metric(label, value)
        for name, value in job["stats"]["gauges"].items():
            family = f"tally_job_{name}"
            families.setdefault(family, GaugeMetricFamily(family, name, labels=JOB_LABELS))
            families[family].add_metric(label, value)
        for name, summary in job["stats"]["histograms"].items():
            family = f"tally_job_{name}"
            families.setdefault(family, SummaryMetricFamily(family, name, labels=JOB_LABELS))
            _add_summary(families[family], label, summary)
    yield sessions
    yield unsupported
    yield from families.values()


def _add_summary(family: SummaryMetricFamily, label: list[str], summary: Mapping[str, Any]) -> None:
    family.add_metric(label, count_value=summary["count"], sum_value=summary["sum_ns"])
    values = dict(zip(JOB_LABELS, label, strict=True))
    for quantile in (50, 95, 99):
        family.add_sample(
            family.name, {**values, "quantile": f"0.{quantile}"}, summary[f"p{quantile}_ns"]
        )


def render(snapshot: Snapshot) -> bytes:
    """The snapshot in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot))
    return bytes(generate_latest(registry))


class MetricsServer:
    """As much of HTTP as a scraper needs: one GET per connection, bounded in size and time."""

    def __init__(self, server: asyncio.Server):
        self._server = server

    @classmethod
    async def start(
        cls, address: str, snapshot: Callable[[], Awaitable[dict[str, Any]]]
    ) -> MetricsServer:
        """Listen. ConfigError if the address cannot be had."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(REQUEST_SECONDS_MAX):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(await _respond(head, snapshot))
                    await writer.drain()
            except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                pass  # the scraper's loss
            finally:
                writer.close()

        host, port = parse_address(address)
        try:
            server = await asyncio.start_server(serve, host, port, limit=REQUEST_BYTES_MAX)
        except OSError as error:
            raise ConfigError(
                f"metrics_address: {address} cannot be used: {error.strerror}"
            ) from None
        log.info("metrics at http://%s:%d/metrics", *server.sockets[0].getsockname()[:2])
        return cls(server)

    @property
    def port(self) -> int:
        """The port that was had, which matters if 0 was asked for."""
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening."""
        self._server.close()
        await self._server.wait_closed()


async def _respond(head: bytes, snapshot: Callable[[], Awaitable[dict[str, Any]]]) -> bytes:
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", "text/plain", b"use GET\n")
    if words[1].split(b"?")[0] != b"/metrics":
        return _response("404 Not Found", "text/plain", b"try /metrics\n")
    body = render(await snapshot())
    return _response("200 OK", CONTENT_TYPE_LATEST, body if words[0] == b"GET" else b"")


def _response(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
