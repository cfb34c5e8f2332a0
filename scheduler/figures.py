"""What the scheduler core counts and measures, as Python objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tally._native import lib

if TYPE_CHECKING:
    from tally._native import SchedHistogram, SchedSessionStats, SchedStats


@dataclass(frozen=True)
class Histogram:
    """A log-scaled histogram: a value is known to one eighth of its power of two."""

    count: int
    sum: int
    max: int
    buckets: tuple[int, ...]

    @classmethod
    def read(cls, raw: SchedHistogram) -> Histogram:
        return cls(raw.count, raw.sum, raw.max, tuple(raw.buckets))

    def quantile(self, q: float) -> int:
        """Upper end of the bucket that holds the q-quantile, at most max; 0 if empty."""
        rank, seen = max(1, -int(-q * self.count // 1)), 0
        for bucket, count in enumerate(self.buckets):
            seen += count
            if seen >= rank and count:
                ceiling = int(lib.tally_sched_bucket_floor(bucket + 1)) - 1
                return min(ceiling, self.max)
        return 0


@dataclass(frozen=True)
class SchedulerStats:
    """struct tally_sched_stats of native/include/tally/sched.h, which says what they mean."""

    turnaround_ns: Histogram
    turnaround_unmet: int
    turnaround_missed: int
    turnaround_estimated_ns: int
    turnaround_error_ns: int
    oversized: int
    rescues: int

    @classmethod
    def read(cls, raw: SchedStats) -> SchedulerStats:
        names = [name for name in cls.__annotations__ if name != "turnaround_ns"]
        return cls(
            Histogram.read(raw.turnaround_ns), **{name: int(getattr(raw, name)) for name in names}
        )


@dataclass(frozen=True)
class SessionStats:
    """struct tally_sched_session_stats, as above."""

    launches: int
    completed: int
    starts: int
    preemptions: int
    waited_ns: int
    gpu_ns: int

    @classmethod
    def read(cls, raw: SchedSessionStats) -> SessionStats:
        return cls(**{name: int(getattr(raw, name)) for name in cls.__annotations__})
