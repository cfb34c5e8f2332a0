"""The Prometheus endpoint: what it says, for how long, and the dashboard that is built on it."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families as parse
from support.daemon import wait_until
from support.supervised import Supervised, session_of

from tally.client.protocol import Status
from tally.client.records import CLASSES
from tally.daemon import job_stats, statistics
from tally.daemon.supervisor.jobs import JobTable
from tally.daemon.supervisor.metric_families import JOB_LABELS
from tally.daemon.supervisor.metrics import render

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"


def stats(launches: int = 1) -> dict[str, Any]:
    """With every statistic that an executor sends."""
    histogram = {"count": 2, "sum_ns": 300, "max_ns": 200, "buckets": [1, 1]}
    counters = dict.fromkeys(statistics.COUNTER_NAMES, 1)
    gauges = {name: counters.pop(name) for name in statistics.GAUGES}
    return {
        "counters": counters | {"launches": launches},
        "gauges": gauges,
        "histograms": dict.fromkeys(statistics.TIMING_NAMES, histogram),
    }


def table(kept: int = 5) -> JobTable:
    return JobTable(kept, "t")


def start(jobs: JobTable, job_class: str, launches: int, now_s: float) -> int:
    """A running job with one session that has launched; the session."""
    job = jobs.start(
        name="n",
        job_class=job_class,
        priority=0,
        weight=1,
        uid=0,
        pid=9,
        argv=("n",),
        cwd="/",
        now_s=now_s,
    )
    session = jobs.open_session(job, 11, 0, 0, "p")
    session.devices[0] = stats(launches)
    session.unsupported["cuFoo"] = 2
    return session.id


def end(jobs: JobTable, number: int, now_s: float) -> None:
    session = jobs.sessions[number]
    jobs.close_device(session, 0, None)
    jobs.close_session(session, now_s)
    jobs.root_ended(session.job, now_s)


def snapshot(jobs: JobTable, now_s: float) -> dict[str, Any]:
    turnaround = {"count": 1, "unmet": 0, "missed": 0, "estimated_sum_ns": 1, "error_sum_ns": 1}
    turnaround |= {"sum_ns": 5, "max_ns": 5, "p50_ns": 5, "p99_ns": 5}
    device = {
        "index": 0,
        "name": "d",
        "kind": "soft",
        "state": "ready",
        "restarts": 1,
        "sessions": 1,
        "memory_bytes": 1 << 30,
        "memory_used_bytes": 1 << 20,
        "schedule": {"policy": "tally", "oversized": 0, "turnaround": turnaround},
    }
    return {
        "version": "1",
        "uptime_s": 1.0,
        "devices": [device],
        "classes": jobs.totals(),
        "jobs": [job.to_json([], now_s) for job in jobs.jobs.values()],
    }


def scrape(jobs: JobTable, now_s: float) -> dict[str, Metric]:
    """By name. A counter's is without `_total`, its samples' names are with it."""
    text = render(snapshot(jobs, now_s), ended_seconds_max=60).decode()
    return {family.name: family for family in parse(text)}


def values(family: Metric, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in family.samples}


def full() -> dict[str, Metric]:
    """Everything there can be: each statistic of each class and job."""
    jobs = table()
    for job_class in CLASSES:
        start(jobs, job_class, 3, 0.0)
    return scrape(jobs, 0.0)


def test_every_statistic_is_explained() -> None:
    assert set(statistics.TEXTS) == {*statistics.COUNTER_NAMES, *statistics.TIMING_NAMES}
    for family in full().values():
        words = family.documentation.split()
        assert len(words) > 3 or family.documentation.startswith("1"), family
        assert family.name not in family.documentation


def test_ended_jobs_leave_and_their_counts_stay() -> None:
    jobs = table()
    first, second = start(jobs, "high", 5, 0.0), start(jobs, "high", 7, 0.0)
    end(jobs, first, 10.0)
    for now_s, shown in ((10.0, 2), (70.0, 2), (70.1, 1), (1e9, 1)):
        families = scrape(jobs, now_s)
        assert len(families["tally_job_launches"].samples) == shown
        assert values(families["tally_class_launches"], "class")["high"] == 12
    assert values(families["tally_class_jobs"], "class") == {"high": 2, "best-effort": 0}
    assert values(families["tally_class_jobs_running"], "class")["high"] == 1
    end(jobs, second, 2e9)
    assert scrape(jobs, 3e9)["tally_job_sessions"].samples == []


def test_forgotten_jobs_are_counted_for_ever() -> None:
    """More jobs than are remembered: no sum ever falls."""
    jobs, seen = table(kept=2), 0.0
    for number in range(8):
        end(jobs, start(jobs, "best-effort", 10, number), number + 0.5)
        families = scrape(jobs, number + 0.5)
        now = values(families["tally_class_launches"], "class")["best-effort"]
        assert now == seen + 10
        seen = now
        assert values(families["tally_class_unsupported_calls"], "class")["best-effort"] == 2 * (
            number + 1
        )
    assert len(jobs.jobs) == 2
    totals = jobs.totals()["best-effort"]["stats"]
    assert totals["histograms"]["queue_delay"]["count"] == 16
    assert not any(job_stats.PEAK in name for name in totals["gauges"])


def test_memory() -> None:
    families = full()
    assert values(families["tally_device_memory_bytes"], "device") == {"0": 1 << 30}
    assert values(families["tally_device_memory_used_bytes"], "device") == {"0": 1 << 20}
    assert [sample.value for sample in families["tally_job_memory_bytes"].samples] == [1, 1]
    assert set(families["tally_job_memory_bytes"].samples[0].labels) == set(JOB_LABELS)


def test_the_dashboard_uses_what_there_is() -> None:
    """Every name in its queries, every label in its legends and selectors."""
    there: dict[str, set[str]] = {}
    for family in full().values():
        for sample in family.samples:
            there.setdefault(sample.name, set()).update(sample.labels)
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [(t["expr"], t["legendFormat"]) for panel in panels for t in panel["targets"]]
    assert len(queries) > 15
    for query, legend in queries:
        names = re.findall(r"\btally_\w+", query)
        assert names, query
        assert not set(names) - set(there), query
        labels = {*re.findall(r"{{(\w+)}}", legend), *re.findall(r"[{,](\w+)=", query)}
        assert labels <= set.intersection(*(there[name] for name in names)), (query, legend)


def test_the_dashboards_panels_do_not_overlap() -> None:
    seen: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & seen, panel["title"]
        seen |= cells


def test_times_do_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set back by hours, and forth: how long things take is by another clock."""
    with Supervised() as running, running.client() as client:
        client.start_job(["a"], name="a")
        for jump_s in (86400, -86400, -2_000_000_000):
            there = time.time() + jump_s
            monkeypatch.setattr(time, "time", lambda there=there: there)
            (job,) = client.jobs()
            found = client.stats()
            monkeypatch.undo()
            assert 0 <= job.seconds < 60
            assert 0 <= found["uptime_s"] < 60
            assert abs(found["time_s"] - there) < 1


def test_metrics_endpoint() -> None:
    with Supervised(metrics_address="127.0.0.1:0") as running, running.raw() as peer:
        assert peer.open(session_of(peer.hello(program='odd"name')[1]))[0] is Status.OK
        wait_until(lambda: running.metrics_port() > 0, 5, "the endpoint listens")
        address = f"http://127.0.0.1:{running.metrics_port()}"
        text = urllib.request.urlopen(f"{address}/metrics", timeout=5).read().decode()
        assert 'tally_executor_up{device="0"} 1.0' in text
        assert "tally_job_launches_total{" in text and 'name="odd\\"name"' in text
        assert 'tally_device_policy{device="0",policy="tally"} 1.0' in text
        assert 'tally_device_turnaround_ns{device="0",quantile="0.99"} 29000.0' in text
        assert 'tally_device_turnaround_ns_count{device="0"} 10.0' in text
        assert 'tally_device_turnaround_unmet_total{device="0"} 1.0' in text
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}/", timeout=5)


def test_metrics_of_nothing() -> None:
    found = snapshot(table(), 0.0) | {"devices": []}
    assert "tally_uptime_seconds 1.0" in render(found, 60).decode()
