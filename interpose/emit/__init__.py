"""C files written from the table: `OUTPUTS` maps each path in the repository to its text."""

from __future__ import annotations

from collections.abc import Callable

from tally.interpose.emit import headers
from tally.interpose.handling import Handlings

Emitter = Callable[[Handlings], str]

OUTPUTS: dict[str, Emitter] = {
    "native/include/tally/generated/cuda_api.h": headers.cuda_api,
    "native/include/tally/generated/driver_table.h": headers.driver_table,
    "native/shim/generated/custom.h": headers.custom,
}
