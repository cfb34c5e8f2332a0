"""Plans from measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tally.scheduler.plan import Plan, PlanKind
from tally.scheduler.plans import Ability, Measured, PlanRecord, PlanTable, choose, signature_of

from .records import BOTH, known

US = 1000
BOUND = 30 * US


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (known(), PlanKind.PREEMPTIBLE),  # nothing known: the safe way to learn
        (known(abilities=Ability.NONE), PlanKind.WHOLE),
        (known(whole=20 * US), PlanKind.WHOLE),  # short
        (known(guarded=20 * US), PlanKind.WHOLE),
        (known(whole=100 * US, abilities=Ability.NONE), PlanKind.WHOLE),  # nothing can be done
        (known(whole=100 * US, guarded=101 * US, stop=12 * US), PlanKind.PREEMPTIBLE),
        (known(whole=100 * US, abilities=Ability.SLICE), PlanKind.SLICED),
        # A guard that is dearer than ten more launches.
        (known(whole=100 * US, guarded=190 * US, stop=12 * US), PlanKind.SLICED),
        # Blocks too long for the bound: the next block is the soonest there is.
        (known(whole=1000 * US, guarded=1010 * US, stop=110 * US), PlanKind.PREEMPTIBLE),
        # One wave: slices cannot help.
        (known(whole=100 * US, abilities=Ability.SLICE, blocks=150), PlanKind.WHOLE),
    ],
)
def test_the_cheapest_plan_under_the_bound(record: PlanRecord, kind: PlanKind) -> None:
    assert choose(record, BOUND).kind == kind


def test_slices_are_whole_waves_of_half_the_bound() -> None:
    plan = choose(known(whole=100 * US, abilities=Ability.SLICE), BOUND)
    assert plan == Plan(PlanKind.SLICED, 200, 100 * US, 10 * US, 0)
    plan = choose(known(whole=100 * US, abilities=Ability.SLICE, resident=0), BOUND)
    assert plan.slice_blocks == 300 and plan.slice_ns == 15 * US


@given(
    whole=st.integers(0, 10**10),
    guarded=st.integers(0, 10**10),
    stop=st.integers(0, 10**9),
    blocks=st.integers(1, 2**31),
    resident=st.integers(0, 4000),
    abilities=st.sampled_from([Ability.NONE, Ability.GUARD, Ability.SLICE, BOTH]),
    bound=st.integers(1, 10**9),
)
def test_every_plan_makes_sense(
    whole: int, guarded: int, stop: int, blocks: int, resident: int, abilities: Ability, bound: int
) -> None:
    record = known(whole, guarded, stop, abilities, blocks, resident)
    plan = choose(record, bound)
    if plan.kind == PlanKind.SLICED:
        assert Ability.SLICE in abilities
        assert 1 <= plan.slice_blocks < blocks and plan.slice_ns >= 1
    elif plan.kind == PlanKind.PREEMPTIBLE:
        assert Ability.GUARD in abilities
    else:
        short = 0 < plan.whole_ns <= bound
        single = resident == 0 or blocks <= resident or blocks < 2
        assert short or Ability.GUARD not in abilities or not plan.whole_ns
        assert short or Ability.SLICE not in abilities or single or not plan.whole_ns


def test_a_signature_is_learned_run_by_run() -> None:
    table = PlanTable()
    assert table.plan(5, BOUND) == Plan()
    table.declare(5, 2000, 200, BOTH)
    assert table.plan(5, BOUND) == Plan(PlanKind.PREEMPTIBLE)
    table.measure(5, Measured.GUARDED, 2000, 102 * US)
    first = table.plan(5, BOUND)
    assert first.kind == PlanKind.PREEMPTIBLE and first.stop_ns == 10_200
    for _ in range(3):
        table.measure(5, Measured.GUARDED, 2000, 102 * US)
        table.measure(5, Measured.WHOLE, 2000, 100 * US)
    table.measure(5, Measured.STOP, 0, 14 * US)
    assert table.plan(5, BOUND) == Plan(PlanKind.PREEMPTIBLE, 10 * 20, 100 * US, 10 * US, 14 * US)
    # The time to stop is a bound: it rises at once and falls slowly.
    table.measure(5, Measured.STOP, 0, 20 * US)
    assert table.plan(5, BOUND).stop_ns == 20 * US
    table.measure(5, Measured.STOP, 0, 10 * US)
    assert 19 * US < table.plan(5, BOUND).stop_ns < 20 * US
    (record,) = table.export()
    assert record.error_ns == 16 * US and record.count[Measured.STOP] == 3
    assert table.export() == []
    table.measure(99, Measured.WHOLE, 1, 1000)
    assert len(table) == 1


def test_what_was_seen_to_wait_is_never_stopped_again() -> None:
    table = PlanTable(8)
    table.declare(1, 2000, 0, BOTH)
    for what in (Measured.WHOLE, Measured.GUARDED):
        for _ in range(3):
            table.measure(1, what, 2000, 100 * US)
    assert table.plan(1, BOUND).kind != PlanKind.WHOLE
    table.export()
    table.never_stop(1)
    for _ in range(2):
        plan = table.plan(1, BOUND)
        assert plan.kind == PlanKind.WHOLE and not plan.guardable
        assert not table.plan(1, 1000 * US).guardable, "not behind a guarded launch either"
        table.declare(1, 2000, 0, BOTH)  # the code alone says nothing else
    [record] = table.export()
    assert Ability.WAITS in record.abilities
    again = PlanTable(8)
    again.load([record])
    again.declare(1, 2000, 0, BOTH)
    assert again.plan(1, BOUND).kind == PlanKind.WHOLE
    table.validate()


@pytest.mark.parametrize("waits", [False, True])
def test_a_kernel_that_takes_longer_now_is_known_to(waits: bool) -> None:
    """Its guarded runs were short, with other arguments; now it runs whole, and long each time."""
    table = PlanTable()
    table.declare(1, 10, 200, BOTH)
    for _ in range(20):
        table.measure(1, Measured.GUARDED, 10, 20 * US)
        table.measure(1, Measured.WHOLE, 10, 20 * US)
    assert table.plan(1, BOUND).kind == PlanKind.WHOLE
    if waits:
        table.never_stop(1)
    for _ in range(50):
        table.measure(1, Measured.WHOLE, 10, 1000 * US)
    assert table.plan(1, BOUND).whole_ns > 900 * US
    assert (table.plan(1, BOUND).kind == PlanKind.WHOLE) is waits


def test_one_slow_run_does_not_decide() -> None:
    table = PlanTable()
    table.declare(1, 10, 200, BOTH)
    for _ in range(20):
        table.measure(1, Measured.WHOLE, 10, 20 * US)
    table.measure(1, Measured.WHOLE, 10, 60 * US)
    assert table.plan(1, BOUND).kind == PlanKind.WHOLE


def test_what_is_in_use_stays_in_a_full_table() -> None:
    table = PlanTable(64)
    for flood in range(1000):
        table.declare(1, 1, 0, BOTH)
        table.measure(1, Measured.WHOLE, 1, 90 * US)
        table.declare(100 + flood, 1, 0, BOTH)
        table.measure(100 + flood, Measured.WHOLE, 1, 70 * US)
        table.validate()
        if flood % 100 == 0:
            assert len(table.export()) <= 64
    assert len(table) == 64
    assert table.plan(1, BOUND).whole_ns == 90 * US
    assert table.plan(100, BOUND).whole_ns == 0, "it has gone"
    assert table.plan(1099, BOUND).whole_ns == 70 * US, "new kernels are still measured"
    assert table.load([replace(known(), signature=7)]) == 0, "kept ones drive nobody out"
    assert table.load([replace(known(), signature=1)]) == 1
    with pytest.raises(ValueError, match="records"):
        PlanTable(0)


@given(st.integers(1, 9), st.lists(st.tuples(st.integers(0, 30), st.sampled_from("dmxi"))))
def test_a_table_of_any_size_stays_sound(size: int, steps: list[tuple[int, str]]) -> None:
    table, declared = PlanTable(size), set()
    for signature, step in steps:
        match step:
            case "d":
                table.declare(signature << 40, 1, 0, BOTH)
                declared.add(signature << 40)
                assert table.plan(signature << 40, BOUND).kind == PlanKind.PREEMPTIBLE or (
                    table.plan(signature << 40, BOUND).whole_ns > 0
                )
            case "m":
                table.measure(signature << 40, Measured.WHOLE, 1, 1000)
            case "i":
                table.load([replace(known(whole=1000), signature=signature << 40)])
            case "x":
                table.export()
        table.validate()
        assert len(table) <= size
    records = table.export(everything=True)
    assert len({record.signature for record in records}) == len(records) == len(table)


def test_slices_that_are_no_shorter_than_the_whole_are_dropped() -> None:
    """One wave, though the device's size is not known: a slice takes as long as all blocks."""
    wave = replace(known(whole=200 * US, abilities=Ability.SLICE, blocks=1056, resident=0))
    assert choose(wave, 31_600).kind == PlanKind.SLICED
    slices = choose(wave, 31_600).slice_blocks
    measured = replace(wave, ns=(200 * US, 0, 199 * US, 0), count=(5, 0, 9, 0), slice_blocks=slices)
    assert choose(measured, 31_600).kind == PlanKind.WHOLE
    assert choose(replace(wave, resident=1056), 31_600).kind == PlanKind.WHOLE


def test_records_survive_a_round_through_another_table() -> None:
    table, other = PlanTable(), PlanTable()
    for signature in range(100):
        table.declare(signature, 50 + signature, 20, BOTH)
        table.measure(signature, Measured.WHOLE, 50, 1000 + signature)
    assert other.load(table.export()) == 100
    assert sorted(other.export(everything=True), key=lambda r: r.signature) == sorted(
        table.export(everything=True), key=lambda r: r.signature
    )
    assert other.load([replace(known(), ns=(1, 0, 0, 0), count=(0, 0, 0, 0), signature=500)]) == 0


def test_what_was_exported_is_not_exported_again() -> None:
    table = PlanTable()
    for signature in range(100):
        table.declare(signature, 50, 20, BOTH)
    table.load([replace(known(), signature=500)])
    assert {record.signature for record in table.export()} == set(range(100))
    assert table.export() == []
    for _ in range(2):
        table.measure(7, Measured.WHOLE, 50, 1000)
    table.declare(8, 50, 20, BOTH)
    table.declare(9, 51, 20, BOTH)
    assert {(r.signature, r.blocks, r.count[0]) for r in table.export()} == {(7, 50, 2), (9, 51, 0)}
    assert len(table.export(everything=True)) == 101
    assert table.export() == []


def test_signatures_differ_in_every_part() -> None:
    base = signature_of(b"h", "k", (1, 2, 3), (4, 5, 6), 7)
    assert base == signature_of(b"h", "k", (1, 2, 3), (4, 5, 6), 7) and 0 <= base < 2**64
    others = {
        signature_of(b"i", "k", (1, 2, 3), (4, 5, 6), 7),
        signature_of(b"h", "l", (1, 2, 3), (4, 5, 6), 7),
        signature_of(b"h", "k", (1, 2, 4), (4, 5, 6), 7),
        signature_of(b"h", "k", (1, 2, 3), (4, 5, 7), 7),
        signature_of(b"h", "k", (1, 2, 3), (4, 5, 6), 8),
    }
    assert len(others | {base}) == 6
