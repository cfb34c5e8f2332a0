"""Latency samples: summaries that every workload, the demo and the benchmarks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Percentiles of a set of samples, in the unit of the samples."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def summarize(samples: Sequence[float]) -> Summary:
    """Summary of `samples`; all zero when there are none."""
    if not samples:
        return Summary(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    values = np.asarray(samples, dtype=np.float64)
    p50, p95, p99 = (float(v) for v in np.percentile(values, (50, 95, 99)))
    return Summary(len(samples), float(values.mean()), p50, p95, p99, float(values.max()))
