"""Results of simulations as tables for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tally import render
from tally.scheduler.sim.compare import Row
from tally.scheduler.sim.study import Summary

JOB_COLUMNS = ("POLICY", "JOB", "p50", "p99", "VS ALONE", "QUEUED", "THROUGHPUT")
POLICY_COLUMNS = ("POLICY", "SYSTEM", "TURNAROUND p50", "p99", "max")
SUMMARY_COLUMNS = (
    *("POLICY", "p99 VS ALONE", "WORST", "QUEUED VS ALONE"),
    *("SYSTEM", "TURNAROUND p99"),
)


def _time(ns: float) -> str:
    """Nothing measured is NaN, or 0 of a turnaround."""
    return render.time_ns(None if math.isnan(ns) or ns == 0 else ns)


def _percent(overhead: float) -> str:
    return "-" if math.isnan(overhead) else f"{overhead * 100:+.1f}%"


def job_table(rows: Sequence[Row]) -> render.Table:
    """One line per policy and job."""
    columns = JOB_COLUMNS
    table = render.table(columns, columns[2:], keys=columns[:2], cut=("JOB",), glued=("p99",))
    for row in rows:
        for index, client in enumerate(row.clients):
            open_loop = client.high
            table.add_row(
                row.policy if index == 0 else "",
                render.plain(client.name),
                _time(client.p50_ns) if open_loop else "",
                _time(client.p99_ns) if open_loop else "",
                _percent(client.p99_overhead) if open_loop else "",
                _percent(client.response_p99_overhead) if open_loop else "",
                f"{client.throughput:.2f}",
            )
    return table


def policy_table(rows: Sequence[Row]) -> render.Table:
    """One line per policy: what concerns all its jobs."""
    columns = POLICY_COLUMNS
    table = render.table(columns, columns[1:], keys=columns[:1])
    for row in rows:
        turnaround = (row.turnaround_p50_ns, row.turnaround_p99_ns, row.turnaround_max_ns)
        times = [_time(ns) for ns in turnaround]
        table.add_row(row.policy, f"{row.system_throughput:.2f}", *times)
    return table


def summary_table(summaries: Sequence[Summary]) -> render.Table:
    """One line per policy, over all pairs of a service and a trainer."""
    columns = SUMMARY_COLUMNS
    table = render.table(columns, columns[1:], keys=columns[:1])
    for row in summaries:
        table.add_row(
            row.policy,
            _percent(row.mean_p99_overhead),
            _percent(row.worst_p99_overhead),
            _percent(row.mean_response_p99_overhead),
            f"{row.mean_system_throughput:.3f}",
            _time(row.worst_turnaround_p99_ns),
        )
    return table
