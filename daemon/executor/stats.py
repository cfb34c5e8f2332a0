"""A session's native statistics as the JSON object that tallyd merges and clients see.

Counters only grow; gauges are amounts held now, or their peaks; histograms are by bucket
(native/engine/stats.h has the geometry), without the zeros behind the last one that is filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..statistics import COUNTER_NAMES, GAUGES, TIMING_NAMES

if TYPE_CHECKING:
    from tally._native import Histogram, SessionStats


def histogram(native: Histogram) -> dict[str, Any]:
    """Of a struct tally_histogram."""
    buckets = list(native.buckets)
    while buckets and not buckets[-1]:
        buckets.pop()
    return {
        "count": native.count,
        "sum_ns": native.sum_ns,
        "max_ns": native.max_ns,
        "buckets": buckets,
    }


def session_stats(native: SessionStats) -> dict[str, Any]:
    """Of a struct tally_session_stats."""
    values = dict(zip(COUNTER_NAMES, native.counters, strict=True))
    return {
        "counters": {name: value for name, value in values.items() if name not in GAUGES},
        "gauges": {name: values[name] for name in sorted(GAUGES)},
        "histograms": {
            name: histogram(native.timings[index]) for index, name in enumerate(TIMING_NAMES)
        },
        "sticky_error": native.sticky_error,
    }
