"""Results of simulations for people: a table, a plot, JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from tally.scheduler.sim.compare import Row
from tally.scheduler.sim.study import Pair, Summary


def _ms(ns: float) -> str:
    return "-" if math.isnan(ns) else f"{ns / 1e6:.3f}"


def _percent(overhead: float) -> str:
    return "-" if math.isnan(overhead) else f"{overhead * 100:+.1f}%"


def _table(title: str, columns: Sequence[str], left: int) -> Table:
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index < left else "right", no_wrap=True)
    return table


def policy_table(rows: Sequence[Row]) -> Table:
    """One line per policy and client."""
    columns = ("policy", "job", "p50 ms", "p99 ms", "p99", "queued p99", "throughput", "system")
    table = _table("Simulated; over each job alone", (*columns, "turnaround p99"), left=2)
    for row in rows:
        for index, client in enumerate(row.clients):
            open_loop = client.high
            table.add_row(
                row.policy if index == 0 else "",
                client.name,
                _ms(client.p50_ns) if open_loop else "",
                _ms(client.p99_ns) if open_loop else "",
                _percent(client.p99_overhead) if open_loop else "",
                _percent(client.response_p99_overhead) if open_loop else "",
                f"{client.throughput:.2f}",
                f"{row.system_throughput:.2f}" if index == 0 else "",
                f"{row.turnaround_p99_ns / 1e3:.0f} us" if index == 0 else "",
            )
    return table


def summary_table(summaries: Sequence[Summary]) -> Table:
    columns = ("policy", "p99 mean", "p99 worst", "queued p99", "system", "turnaround p99")
    table = _table("Simulated; every service beside every trainer", columns, left=1)
    for row in summaries:
        table.add_row(
            row.policy,
            _percent(row.mean_p99_overhead),
            _percent(row.worst_p99_overhead),
            _percent(row.mean_response_p99_overhead),
            f"{row.mean_system_throughput:.3f}",
            f"{row.worst_turnaround_p99_ns / 1e3:.0f} us",
        )
    return table


def _finite(value: Any) -> Any:
    """NaN is not JSON: a quantile of nothing becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def row_json(row: Row) -> dict[str, Any]:
    data: dict[str, Any] = _finite(asdict(row))
    return {**data, "system_throughput": row.system_throughput}


def pair_json(pair: Pair) -> dict[str, Any]:
    return {"service": pair.service, "trainer": pair.trainer, **row_json(pair.row)}


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars per policy: p99 of each high job over alone, and system throughput.

    Raises ImportError without matplotlib, OSError if the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6))
    names = [row.policy for row in rows]
    for index, client in enumerate(rows[0].high if rows else ()):
        width = 0.8 / len(rows[0].high)
        heights = [1 + row.high[index].p99_overhead for row in rows]
        places = [at + index * width for at in range(len(rows))]
        left.bar(places, heights, width, label=client.name)
    left.set_xticks(range(len(rows)), names, rotation=20)
    left.set_ylabel("p99 over alone (simulated)")
    left.set_yscale("log")
    left.axhline(1, color="black", linewidth=0.8)
    if rows and rows[0].high:
        left.legend()
    right.bar(names, [row.system_throughput for row in rows], color="tab:green")
    right.tick_params(axis="x", rotation=20)
    right.set_ylabel("system throughput (simulated)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
