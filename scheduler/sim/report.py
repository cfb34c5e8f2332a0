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
