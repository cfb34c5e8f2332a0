"""Results of simulations: a plot, JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tally.scheduler.sim.compare import Row
from tally.scheduler.sim.study import Pair


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
    """Bars per policy: p99 of each high job over alone, and how system throughput comes about.

    Raises ImportError without matplotlib, OSError if the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    _plot_latencies(left, rows)
    _plot_throughput(right, rows)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Simulated")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _plot_latencies(axes: Any, rows: Sequence[Row]) -> None:
    """Bars begin at 1, which is alone: the scale is logarithmic. Colours are those beside it."""
    from matplotlib.ticker import LogLocator, NullFormatter

    services = rows[0].high if rows else ()
    width = 0.8 / max(1, len(services))
    for index, service in enumerate(services):
        overheads = [row.high[index].p99_overhead for row in rows]
        places = [at + (index - (len(services) - 1) / 2) * width for at in range(len(rows))]
        bars = axes.bar(places, overheads, width, bottom=1, label=service.name)
        labels = ["-" if math.isnan(x) else f"{x * 100:+.{x < 1:d}f}%" for x in overheads]
        axes.bar_label(bars, labels, fontsize=8, rotation=90 if len(services) > 1 else 0, padding=2)
    axes.set_yscale("log")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.margins(y=0.1)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}×")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(range(len(rows)), [row.policy for row in rows])
    axes.set_title("p99 of requests, against alone")


def _plot_throughput(axes: Any, rows: Sequence[Row]) -> None:
    """Every job's part, high jobs at the bottom."""
    names = [row.policy for row in rows]
    bottom = [0.0] * len(rows)
    order = sorted(
        range(len(rows[0].clients) if rows else 0), key=lambda i: not rows[0].clients[i].high
    )
    for index in order:
        parts = [row.clients[index].throughput for row in rows]
        axes.bar(names, parts, bottom=bottom, label=rows[0].clients[index].name)
        bottom = [below + part for below, part in zip(bottom, parts, strict=True)]
    for at, total in enumerate(bottom):
        axes.annotate(f"{total:.2f}", (at, total), ha="center", va="bottom", fontsize=8)
    axes.margins(y=0.1)
    axes.set_title("throughput of each job, 1 is as alone")
    if rows:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
