"""What /metrics has to say, made from the snapshot that `tally stats --json` prints.

docs/metrics.md is written from the texts here; `python -m tally.reference` does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from ..statistics import TEXTS

Snapshot = Mapping[str, Any]
Kind = type[CounterMetricFamily] | type[GaugeMetricFamily] | type[SummaryMetricFamily]

JOB_LABELS = ("job", "name", "class")
CLASS_LABELS = ("class",)
QUANTILES = (50, 95, 99)


class Text(NamedTuple):
    """A family of one kind: its name without what the kind adds, its help, its labels."""

    name: str
    help: str
    labels: tuple[str, ...]
    kind: Kind


_DEVICE = ("device",)
DEVICE_TEXTS = (
    Text(
        "tally_device_info",
        "1; the labels tell what the device is",
        ("device", "name", "kind"),
        GaugeMetricFamily,
    ),
    Text("tally_executor_up", "1 while the device's executor is ready", _DEVICE, GaugeMetricFamily),
    Text(
        "tally_executor_restarts",
        "Executors of the device that died and were replaced",
        _DEVICE,
        CounterMetricFamily,
    ),
    Text(
        "tally_device_sessions",
        "Client processes that have the device open",
        _DEVICE,
        GaugeMetricFamily,
    ),
    Text(
        "tally_device_memory_bytes",
        "Bytes of memory that the device has",
        _DEVICE,
        GaugeMetricFamily,
    ),
    Text(
        "tally_device_memory_used_bytes",
        "Bytes of the device's memory that jobs have allocated",
        _DEVICE,
        GaugeMetricFamily,
    ),
)
_POLICY = Text(
    "tally_device_policy",
    "1 for the scheduling policy in force",
    ("device", "policy"),
    GaugeMetricFamily,
)
_OVERSIZED = Text(
    "tally_device_oversized_starts",
    "Best-effort starts that could not stop within the turnaround bound",
    _DEVICE,
    CounterMetricFamily,
)
_TURNAROUND = Text(
    "tally_device_turnaround_ns",
    "Nanoseconds from a high launch's arrival until best-effort work has given way",
    _DEVICE,
    SummaryMetricFamily,
)
# By their name in the snapshot's `schedule.turnaround`.
_TURNAROUND_PARTS = {
    "max_ns": Text(
        "tally_device_turnaround_max_ns",
        "Longest turnaround in nanoseconds",
        _DEVICE,
        GaugeMetricFamily,
    ),
    "unmet": Text(
        "tally_device_turnaround_unmet",
        "High arrivals that met no best-effort work; they have no turnaround",
        _DEVICE,
        CounterMetricFamily,
    ),
    "missed": Text(
        "tally_device_turnaround_missed",
        "High arrivals whose turnaround could not be measured",
        _DEVICE,
        CounterMetricFamily,
    ),
    "estimated_sum_ns": Text(
        "tally_device_turnaround_estimated_ns",
        "Nanoseconds of turnaround as estimated when best-effort work was started, summed",
        _DEVICE,
        CounterMetricFamily,
    ),
    "error_sum_ns": Text(
        "tally_device_turnaround_error_ns",
        "Nanoseconds of difference between estimated and measured turnaround, summed",
        _DEVICE,
        CounterMetricFamily,
    ),
}
SCHEDULE_TEXTS = (_POLICY, _OVERSIZED, _TURNAROUND, *_TURNAROUND_PARTS.values())
TALLYD_TEXTS = (
    Text("tally_info", "1; the label tells tallyd's version", ("version",), GaugeMetricFamily),
    Text("tally_uptime_seconds", "Seconds since tallyd started", (), GaugeMetricFamily),
)
_CLASS_JOBS = Text(
    "tally_class_jobs", "Jobs of the class that were started", CLASS_LABELS, CounterMetricFamily
)
_CLASS_RUNNING = Text(
    "tally_class_jobs_running", "Jobs of the class that run now", CLASS_LABELS, GaugeMetricFamily
)
_CLASS_LOST = Text(
    "tally_class_lost_sessions",
    "Client processes of the class that lost their executor",
    CLASS_LABELS,
    CounterMetricFamily,
)
_CLASS_UNSUPPORTED = Text(
    "tally_class_unsupported_calls",
    "Driver calls of the class's programs that Tally does not support",
    CLASS_LABELS,
    CounterMetricFamily,
)
CLASS_TEXTS = (_CLASS_JOBS, _CLASS_RUNNING, _CLASS_LOST, _CLASS_UNSUPPORTED)
_JOB_SESSIONS = Text(
    "tally_job_sessions",
    "Client processes of the job that are connected",
    JOB_LABELS,
    GaugeMetricFamily,
)
_JOB_UNSUPPORTED = Text(
    "tally_job_unsupported_calls",
    "Driver calls of the job's programs that Tally does not support, by symbol",
    (*JOB_LABELS, "symbol"),
    CounterMetricFamily,
)
JOB_TEXTS = (_JOB_SESSIONS, _JOB_UNSUPPORTED)


def _make(text: Text) -> Any:
    return text.kind(text.name, text.help, labels=text.labels)


def families(snapshot: Snapshot, ended_seconds_max: float) -> Iterable[Metric]:
    """All of a snapshot's; jobs that ended longer ago than that are in their class's sums only."""
    yield from _tallyd_families(snapshot)
    yield from _device_families(snapshot)
    yield from _schedule_families(snapshot)
    yield from _class_families(snapshot)
    yield from _job_families(snapshot, ended_seconds_max)


def _tallyd_families(snapshot: Snapshot) -> Iterable[Metric]:
    info, uptime = map(_make, TALLYD_TEXTS)
    info.add_metric([snapshot["version"]], 1.0)
    uptime.add_metric([], snapshot["uptime_s"])
    yield from (info, uptime)


def _device_families(snapshot: Snapshot) -> Iterable[Metric]:
    info, up, restarts, sessions, size, used = made = [_make(text) for text in DEVICE_TEXTS]
    for device in snapshot["devices"]:
        label = [str(device["index"])]
        info.add_metric([*label, device["name"], device["kind"]], 1.0)
        up.add_metric(label, float(device["state"] == "ready"))
        restarts.add_metric(label, device["restarts"])
        sessions.add_metric(label, device["sessions"])
        size.add_metric(label, device["memory_bytes"])
        used.add_metric(label, device["memory_used_bytes"])
    yield from made


def _schedule_families(snapshot: Snapshot) -> Iterable[Metric]:
    """What the devices' schedulers saw: the `schedule` of the snapshot's devices."""
    policy, oversized, turnaround = map(_make, (_POLICY, _OVERSIZED, _TURNAROUND))
    parts = {key: _make(text) for key, text in _TURNAROUND_PARTS.items()}
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
        for key, family in parts.items():
            family.add_metric([index], times[key])
    yield from (policy, oversized, turnaround, *parts.values())


class _Statistics:
    """One family per statistic that any job has: a new statistic needs its text, and no code."""

    def __init__(self, prefix: str, labels: tuple[str, ...], whose: str):
        self._prefix, self._labels, self._whose = prefix, labels, whose
        self._families: dict[str, Any] = {}

    def _family(self, name: str, kind: Kind) -> Any:
        if name not in self._families:
            text = f"Of {self._whose}: {TEXTS.get(name, name)}"
            self._families[name] = _make(Text(self._prefix + name, text, self._labels, kind))
        return self._families[name]

    def add(self, label: list[str], stats: Mapping[str, Any]) -> None:
        """A job's, or a class's, `stats` of the snapshot."""
        for name, value in stats["counters"].items():
            self._family(name, CounterMetricFamily).add_metric(label, value)
        for name, value in stats["gauges"].items():
            self._family(name, GaugeMetricFamily).add_metric(label, value)
        for name, summary in stats["histograms"].items():
            family = self._family(name, SummaryMetricFamily)
            family.add_metric(label, count_value=summary["count"], sum_value=summary["sum_ns"])
            values = dict(zip(self._labels, label, strict=True))
            for quantile in QUANTILES:
                labels = {**values, "quantile": f"0.{quantile}"}
                family.add_sample(family.name, labels, summary[f"p{quantile}_ns"])

    def made(self) -> Iterable[Metric]:
        """All of them."""
        return self._families.values()


def _class_families(snapshot: Snapshot) -> Iterable[Metric]:
    """Over all jobs there ever were, so that rates can be told however short jobs are."""
    jobs, running, lost, unsupported = made = [_make(text) for text in CLASS_TEXTS]
    statistics = _Statistics("tally_class_", CLASS_LABELS, "all jobs of the class, ended ones too")
    for name, totals in snapshot["classes"].items():
        jobs.add_metric([name], totals["jobs"])
        running.add_metric([name], totals["running"])
        lost.add_metric([name], totals["lost_sessions"])
        unsupported.add_metric([name], totals["unsupported_calls"])
        statistics.add([name], totals["stats"])
    yield from made
    yield from statistics.made()


def _job_families(snapshot: Snapshot, ended_seconds_max: float) -> Iterable[Metric]:
    sessions, unsupported = map(_make, JOB_TEXTS)
    statistics = _Statistics("tally_job_", JOB_LABELS, "the job")
    for job in snapshot["jobs"]:
        if job["ended_ago_s"] is not None and job["ended_ago_s"] > ended_seconds_max:
            continue
        label = [job["id"], job["name"], job["class"]]
        sessions.add_metric(label, job["sessions"])
        for symbol, count in job["unsupported"].items():
            unsupported.add_metric([*label, symbol], count)
        statistics.add(label, job["stats"])
    yield sessions
    yield unsupported
    yield from statistics.made()
