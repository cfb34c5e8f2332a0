"""Which statistics sessions have, and what they say: the rows of native/engine/stats.h."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tally._native import ffi, lib

if TYPE_CHECKING:
    from tally._native import CData


def _texts(text_of: Callable[[int], CData], count: int) -> tuple[str, ...]:
    return tuple(ffi.string(text_of(index)).decode() for index in range(count))


COUNTER_NAMES = _texts(lib.tally_counter_name, lib.TALLY_COUNTERS)
TIMING_NAMES = _texts(lib.tally_timing_name, lib.TALLY_TIMINGS)
GAUGES = frozenset(  # of the counters: amounts held now, or their peaks
    name for index, name in enumerate(COUNTER_NAMES) if lib.tally_counter_is_gauge(index)
)
TEXTS = dict(
    zip(
        COUNTER_NAMES + TIMING_NAMES,
        _texts(lib.tally_counter_text, lib.TALLY_COUNTERS)
        + _texts(lib.tally_timing_text, lib.TALLY_TIMINGS),
        strict=True,
    )
)
