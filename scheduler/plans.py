"""Plans from measurements (native/sched/plans.c) as Python objects.

A signature is a 64-bit hash of (code hash, kernel, grid, block, dynamic shared memory). Times are
device times in nanoseconds.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from tally._native import ffi, lib
from tally.scheduler.plan import Plan, PlanKind


class Ability(IntFlag):
    """What the rewriting passes allow for a kernel."""

    NONE = 0
    GUARD = lib.TALLY_PLAN_CAN_GUARD
    SLICE = lib.TALLY_PLAN_CAN_SLICE
    WAITS = lib.TALLY_PLAN_WAITS  # seen to wait between its blocks: whole, whatever else it can


class Measured(IntEnum):
    WHOLE = lib.TALLY_PLAN_WHOLE
    GUARDED = lib.TALLY_PLAN_GUARDED
    SLICE = lib.TALLY_PLAN_SLICE
    STOP = lib.TALLY_PLAN_STOP


@dataclass(frozen=True)
class PlanRecord:
    """What is known of one signature; ns and count are indexed by Measured, count 0: not known."""

    signature: int
    blocks: int
    ns: tuple[int, int, int, int] = (0, 0, 0, 0)
    count: tuple[int, int, int, int] = (0, 0, 0, 0)
    slice_blocks: int = 0
    resident: int = 0
    abilities: Ability = Ability.NONE
    error_ns: int = 0

    @classmethod
    def read(cls, raw: Any) -> PlanRecord:
        ns = (int(raw.ns[0]), int(raw.ns[1]), int(raw.ns[2]), int(raw.ns[3]))
        count = (int(raw.count[0]), int(raw.count[1]), int(raw.count[2]), int(raw.count[3]))
        return cls(
            int(raw.signature),
            int(raw.blocks),
            ns,
            count,
            int(raw.slice_blocks),
            int(raw.resident),
            Ability(raw.abilities),
            int(raw.error_ns),
        )

    def write(self) -> Any:
        return ffi.new(
            "struct tally_plan_record *",
            {
                "signature": self.signature,
                "blocks": self.blocks,
                "ns": list(self.ns),
                "count": list(self.count),
                "slice_blocks": self.slice_blocks,
                "resident": self.resident,
                "abilities": int(self.abilities),
                "error_ns": self.error_ns,
            },
        )


def signature_of(
    code_hash: bytes,
    kernel: str,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    dynamic_shared_bytes: int,
) -> int:
    """The 64-bit key under which launches of one kind are measured."""
    shape = struct.pack("<7Q", *grid, *block, dynamic_shared_bytes)
    digest = hashlib.blake2b(kernel.encode() + b"\0" + shape, key=code_hash[:64], digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def shape_text(grid: Sequence[int], block: Sequence[int], dynamic_shared_bytes: int) -> str:
    """Grid, block and dynamic shared memory for people: 64x2 of 128, 4096 B."""
    text = " of ".join("x".join(map(str, _short(sizes))) for sizes in (grid, block))
    return f"{text}, {dynamic_shared_bytes} B" if dynamic_shared_bytes else text


def _short(sizes: Sequence[int]) -> Sequence[int]:
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes = sizes[:-1]
    return sizes


def _read_plan(raw: Any) -> Plan:
    return Plan(
        PlanKind(raw.kind),
        int(raw.slice_blocks),
        int(raw.whole_ns),
        int(raw.slice_ns),
        int(raw.stop_ns),
        bool(raw.guardable),
    )


def choose(record: PlanRecord, turnaround_ns_max: int) -> Plan:
    """The plan that the record's measurements ask for under this bound."""
    raw = ffi.new("struct tally_sched_plan *")
    lib.tally_plan_choose(record.write(), turnaround_ns_max, raw)
    return _read_plan(raw)


class PlanTable:
    """The table of records. Raises ValueError for a size that makes no sense."""

    def __init__(self, records_max: int = 16384) -> None:
        plans = lib.tally_plans_create(records_max)
        if plans == ffi.NULL:
            raise ValueError("a plan table needs between 1 and 2**24 records")
        self._plans = ffi.gc(plans, lib.tally_plans_destroy)

    def __len__(self) -> int:
        return int(lib.tally_plans_count(self._plans))

    def declare(self, signature: int, blocks: int, resident: int, abilities: Ability) -> None:
        """In a full table, a record goes for it that has not been declared for a while."""
        lib.tally_plans_declare(self._plans, signature, blocks, resident, int(abilities))

    def measure(self, signature: int, what: Measured, blocks: int, ns: int) -> None:
        lib.tally_plans_measure(self._plans, signature, int(what), blocks, ns)

    def never_stop(self, signature: int) -> None:
        """Its launches run whole from now on."""
        lib.tally_plans_never_stop(self._plans, signature)

    def plan(self, signature: int, turnaround_ns_max: int) -> Plan:
        raw = ffi.new("struct tally_sched_plan *")
        lib.tally_plans_plan(self._plans, signature, turnaround_ns_max, raw)
        return _read_plan(raw)

    def export(self, *, everything: bool = False) -> list[PlanRecord]:
        """Records changed since the last export, or every one."""
        room = max(1, len(self))
        raw = ffi.new("struct tally_plan_record[]", room)
        take = lib.tally_plans_list if everything else lib.tally_plans_export
        count = take(self._plans, raw, room)
        return [PlanRecord.read(raw[i]) for i in range(count)]

    def validate(self) -> None:
        """Raises AssertionError with the name of the first invariant that does not hold."""
        wrong = lib.tally_plans_validate(self._plans)
        if wrong != ffi.NULL:
            raise AssertionError(ffi.string(wrong).decode())

    def load(self, records: Iterable[PlanRecord]) -> int:
        """Puts records back; returns how many the table took."""
        return sum(bool(lib.tally_plans_import(self._plans, r.write())) for r in records)
