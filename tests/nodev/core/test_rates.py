"""How copies are divided, from how long they took."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tally._native import ffi, lib
from tally.scheduler.plan import PlanKind

MIB = 1 << 20
PIECE = lib.TALLY_TRANSFER_PIECE_BYTES
kinds = st.integers(0, lib.TALLY_TRANSFER_KINDS - 1)


def rates() -> Any:
    fresh = ffi.new("struct tally_rates *")
    lib.tally_rates_init(fresh)
    return fresh


def plan(of: Any, kind: int, size: int, blocks: int, bound_ns: int) -> Any:
    raw = ffi.new("struct tally_sched_plan *")
    lib.tally_rates_plan(of, kind, size, blocks, bound_ns, raw)
    return raw


@given(kinds, st.integers(1, 1 << 50), st.integers(1, 2**31 - 1), st.integers(1, 1 << 49))
def test_every_transfer_has_a_plan(kind: int, size: int, blocks: int, bound_ns: int) -> None:
    made = plan(rates(), kind, size, blocks, bound_ns)
    assert made.whole_ns >= 1
    if made.kind == PlanKind.SLICED:
        assert 1 <= made.slice_blocks < blocks and made.slice_ns >= 1
        part = max(1, size // blocks)
        assert made.slice_blocks * part <= max(PIECE, part, size * bound_ns // made.whole_ns)
    else:
        assert made.kind == PlanKind.WHOLE


def test_pieces_follow_the_rate_that_was_measured() -> None:
    known = rates()
    for _ in range(100):
        lib.tally_rates_measure(known, lib.TALLY_TRANSFER_TO_HOST, MIB, MIB // 25)  # 25 GB/s
    made = plan(known, lib.TALLY_TRANSFER_TO_HOST, 1000 * MIB, 16_000, 100_000)
    assert made.kind == PlanKind.SLICED
    assert 45_000 <= made.slice_ns <= 50_000
    assert plan(known, lib.TALLY_TRANSFER_TO_HOST, 1000 * MIB, 1, 100_000).kind == PlanKind.WHOLE
    assert plan(known, lib.TALLY_TRANSFER_TO_HOST, MIB, 16, 100_000).kind == PlanKind.WHOLE
    before = lib.tally_rates_estimate(known, lib.TALLY_TRANSFER_TO_HOST, MIB)
    lib.tally_rates_measure(known, lib.TALLY_TRANSFER_TO_HOST, 16, 50_000)  # all latency
    lib.tally_rates_measure(known, lib.TALLY_TRANSFER_TO_DEVICE, MIB, 1)
    assert lib.tally_rates_estimate(known, lib.TALLY_TRANSFER_TO_HOST, MIB) == before
