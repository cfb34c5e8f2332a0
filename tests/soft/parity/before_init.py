"""Before cuInit: "any function from the driver API will return CUDA_ERROR_NOT_INITIALIZED"."""

from __future__ import annotations

from ctypes import c_void_p
from typing import Any

from support.parity import hand_written, row

from tally.interpose.handling import Handlings
from tally.interpose.table import load


def call_with_nothing(symbol: str) -> Any:
    """A check that passes 0 or NULL for every parameter."""

    def check(g: Any) -> int:
        entry = getattr(g.cu, symbol)
        return int(entry(*(None if kind is c_void_p else 0 for kind in entry.argtypes)))

    return check


handlings = Handlings(load())
stems = load().stems()
for symbol in hand_written():
    if not handlings.works_before_init(stems[symbol]):
        check = call_with_nothing(symbol)
        row(symbol, "before cuInit", "NOT_INITIALIZED", check, before_init=True)
