"""One figure of the benchmark: its samples, its target, and whether it is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        low, median, high = (float(v) for v in np.percentile(np.asarray(samples), (25, 50, 75)))
        return cls(median, low, high, len(samples))


@dataclass(frozen=True)
class Figure:
    """`ours` and `reference` in `unit`; `ratio` is what the target bounds."""

    name: str
    unit: str
    ours: Spread
    reference: Spread | None = None
    ratio: float | None = None
    target: float | None = None
    at_most: bool = True  # the target is an upper bound
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        value = self.ratio if self.ratio is not None else self.ours.median
        if self.target is None:
            return None
        return value <= self.target if self.at_most else value >= self.target

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def compare(
    name: str,
    unit: str,
    ours: Sequence[float],
    reference: Sequence[float],
    target: float | None,
    *,
    at_most: bool = True,
    inverse: bool = False,
    note: str = "",
) -> Figure:
    """Ratio of the medians, ours over reference; `inverse` for times whose target is a speed."""
    mine, other = Spread.of(ours), Spread.of(reference)
    ratio = other.median / mine.median if inverse else mine.median / other.median
    return Figure(name, unit, mine, other, ratio, target, at_most, note)
