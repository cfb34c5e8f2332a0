"""C files written from the table: `OUTPUTS` maps each path in the repository to its text."""

from __future__ import annotations

from collections.abc import Callable

from tally.interpose.emit import headers, surface, wire
from tally.interpose.handling import Handlings

Emitter = Callable[[Handlings], str]

OUTPUTS: dict[str, Emitter] = {
    "native/include/tally/generated/cuda_api.h": headers.cuda_api,
    "native/include/tally/generated/driver_table.h": headers.driver_table,
    "native/include/tally/generated/ops.h": wire.ops_header,
    "native/shim/generated/custom.h": headers.custom,
    "native/shim/generated/calls.h": wire.calls_header,
    "native/shim/generated/calls.c": wire.calls_source,
    "native/shim/generated/exports.c": surface.exports_source,
    "native/shim/generated/exports.map": surface.export_list,
    "native/shim/generated/symbols.c": surface.lookup_table,
    "native/shim/generated/results.c": surface.results,
    "native/engine/ops/generated/dispatch_gen.h": wire.dispatch_header,
    "native/engine/ops/generated/dispatch_gen.c": wire.dispatch_source,
}
