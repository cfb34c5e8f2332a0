"""A job's statistics from its sessions': merged, and summarised for clients.

Sessions' statistics are JSON objects as the executors send them: counters and gauges by name, and
histograms by name with count, sum_ns, max_ns and buckets (native/engine/stats.h has their
geometry). Gauges are amounts held now; a closed session holds nothing, save for its peaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tally._native import lib

QUANTILES = (50, 95, 99)
PEAK = "peak"

Stats = dict[str, Any]


def empty() -> Stats:
    """Of a session that did nothing."""
    return {"counters": {}, "gauges": {}, "histograms": {}}


def merge(parts: Iterable[Mapping[str, Any]]) -> Stats:
    """The sum of several. Peaks are summed as well: an upper bound, as they need not coincide."""
    total = empty()
    for part in parts:
        for kind in ("counters", "gauges"):
            for name, value in part.get(kind, {}).items():
                total[kind][name] = total[kind].get(name, 0) + value
        for name, histogram in part.get("histograms", {}).items():
            total["histograms"][name] = _merge_histograms(total["histograms"].get(name), histogram)
    return total


def _merge_histograms(ours: Mapping[str, Any] | None, theirs: Mapping[str, Any]) -> Stats:
    if ours is None:
        return {**theirs, "buckets": list(theirs["buckets"])}
    longer, shorter = sorted((ours["buckets"], theirs["buckets"]), key=len, reverse=True)
    buckets = list(longer)
    for index, count in enumerate(shorter):
        buckets[index] += count
    return {
        "count": ours["count"] + theirs["count"],
        "sum_ns": ours["sum_ns"] + theirs["sum_ns"],
        "max_ns": max(ours["max_ns"], theirs["max_ns"]),
        "buckets": buckets,
    }


def closed(stats: Mapping[str, Any]) -> Stats:
    """What a session that has ended leaves: its counts, its times and its peaks."""
    gauges = {name: value for name, value in stats.get("gauges", {}).items() if PEAK in name}
    return {**merge([stats]), "gauges": gauges}


def floor_ns(bucket: int) -> int:
    """The smallest value that falls into a bucket: the geometry is C's."""
    return int(lib.tally_histogram_floor_ns(min(bucket, lib.TALLY_HISTOGRAM_BUCKETS)))


def quantile_ns(histogram: Mapping[str, Any], percent: float) -> int:
    """What percent of the samples do not exceed, to the buckets' 12.5%; 0 without samples."""
    rank = histogram["count"] * percent / 100
    seen = 0
    for bucket, count in enumerate(histogram["buckets"]):
        seen += count
        if count and seen >= rank:
            middle = (floor_ns(bucket) + floor_ns(bucket + 1)) // 2
            return int(min(middle, histogram["max_ns"]))
    return 0


def summarize(stats: Mapping[str, Any]) -> Stats:
    """For clients: every histogram with its quantiles in place of its buckets."""
    histograms = {}
    for name, histogram in stats["histograms"].items():
        summary = {key: histogram[key] for key in ("count", "sum_ns", "max_ns")}
        for percent in QUANTILES:
            summary[f"p{percent}_ns"] = quantile_ns(histogram, percent)
        histograms[name] = summary
    return {**stats, "histograms": histograms}
