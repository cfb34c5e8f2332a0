"""Kernels that write down when each of their blocks ran, and the rules that this is held against.

A block notes the clock when it begins and when it ends, and how often it ran: what is checked is
what the device did. Its cycles are nanoseconds of the machine's monotonic clock, which is that of
the engine's records, too; so the two can be compared without any slack.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tally.scheduler.sim.recording import GUARDED, UNTIMED

from .client import Client

ENTRY = struct.Struct("<QQII")
PTX = b"""
.version 8.0
.target sm_80
.address_size 64
.visible .entry witness(.param .u64 entries, .param .u64 ns)
{
    .reg .u64 %d<8>;
    .reg .u32 %r<2>;
    .reg .pred %p0;
    mov.u64 %d0, %clock64;
    ld.param.u64 %d1, [entries];
    ld.param.u64 %d2, [ns];
    mov.u32 %r0, %ctaid.x;
    mul.wide.u32 %d3, %r0, 24;
    add.u64 %d1, %d1, %d3;
    add.u64 %d4, %d0, %d2;
again:
    mov.u64 %d5, %clock64;
    setp.lt.u64 %p0, %d5, %d4;
    @%p0 bra again;
    st.global.u64 [%d1], %d0;
    st.global.u64 [%d1+8], %d5;
    red.global.add.u32 [%d1+16], 1;
    ret;
}
"""


class Block(NamedTuple):
    began_ns: int
    ended_ns: int
    runs: int


@dataclass
class Launch:
    stream: int
    address: int
    blocks: list[Block]
    whole: bool = False  # nothing of it can be stopped, and it was let go in one piece


@dataclass
class Witness:
    """A session's launches, in program order, with room for what their blocks write down."""

    client: Client
    room_bytes: int = 4 << 20
    launches: list[Launch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kernel, _ = self.client.function(self.client.load(PTX), "witness")
        self.base = self.client.alloc(self.room_bytes)
        self.used = 0
        side = self.client.stream(1)
        self.client.send("MEMSET", "tally_op_memset", stream=side, dst=self.base, height=1,
                         width=self.room_bytes, element_bytes=1)  # fmt: skip
        self.client.sync(side)

    def launch(self, stream: int, blocks: int, block_ns: int) -> None:
        address = self.base + self.used
        self.used += blocks * ENTRY.size
        assert self.used <= self.room_bytes
        self.client.launch(
            self.kernel, struct.pack("<QQ", address, block_ns), grid=(blocks, 1, 1), stream=stream
        )
        self.launches.append(Launch(stream, address, [Block(0, 0, 0)] * blocks))

    def read(self) -> None:
        """What the blocks wrote down. All work must be done."""
        side = self.client.stream(1)
        data = self.client.read(self.base, self.used, side) if self.used else b""
        for launch in self.launches:
            at = launch.address - self.base
            for index in range(len(launch.blocks)):
                began, ended, runs, _ = ENTRY.unpack_from(data, at + index * ENTRY.size)
                launch.blocks[index] = Block(began, ended, runs)


def check_once(witness: Witness) -> None:
    """Every block of every launch ran exactly once."""
    for number, launch in enumerate(witness.launches):
        runs = [block.runs for block in launch.blocks]
        assert runs == [1] * len(runs), f"launch {number}: its blocks ran {runs} times"


def check_order(witness: Witness) -> None:
    """Nothing of a stream began before what is ahead of it had ended."""
    last: dict[int, int] = {}
    for number, launch in enumerate(witness.launches):
        began_ns = min(block.began_ns for block in launch.blocks)
        assert began_ns >= last.get(launch.stream, 0), f"launch {number} overtook one of its stream"
        last[launch.stream] = max(block.ended_ns for block in launch.blocks)


def check_recorded(witness: Witness, launches: Any) -> None:
    """The engine's records tell of every launch, and what they tell is so: of one that was let go
    in one piece no block began before that, and of none a block ended after its end."""
    session = witness.client.session
    records = launches[launches["session"] == session]
    records = records[np.argsort(records["submit_ns"], kind="stable")]
    assert len(records) == len(witness.launches), "launches that are not recorded"
    for number, (launch, record) in enumerate(zip(witness.launches, records, strict=True)):
        if record["flags"] & UNTIMED:
            continue
        ended_ns = max(block.ended_ns for block in launch.blocks)
        assert ended_ns <= record["end_ns"], f"launch {number} ran on after its end"
        if record["starts"] == 1:
            began_ns = min(block.began_ns for block in launch.blocks)
            assert began_ns >= record["issue_ns"], f"launch {number} began before it was let go"
            launch.whole = not record["flags"] & GUARDED


def busy(witnesses: list[Witness]) -> list[tuple[int, int]]:
    """From a launch's first block to its last, of all of them."""
    return [
        (min(b.began_ns for b in launch.blocks), max(b.ended_ns for b in launch.blocks))
        for witness in witnesses
        for launch in witness.launches
    ]


def starts(launch: Launch, pause_ns: int) -> list[int]:
    """When the launch began, and when it went on after a pause: one that was stopped, or in slices.
    What began before high came and cannot be stopped runs on, without one."""
    found: list[int] = []
    quiet_ns = 0
    for block in sorted(launch.blocks):
        if not found or block.began_ns > quiet_ns + pause_ns:
            found.append(block.began_ns)
        quiet_ns = max(quiet_ns, block.ended_ns)
    return found


def check_apart(high: list[Witness], low: list[Witness], slack_ns: int) -> int:
    """Nothing of best-effort work that can be stopped began or went on while a launch of high ran,
    later than slack_ns after that had begun: a block that has seen the flag down may be late to
    note the time. Of whole launches the records tell exactly (check_recorded, check_decisions). How
    many launches of high were long enough to say so."""
    spans = [(began + slack_ns, ended) for began, ended in busy(high) if ended - began > slack_ns]
    for witness in low:
        for number, launch in enumerate(witness.launches):
            for at_ns in () if launch.whole else starts(launch, slack_ns // 2):
                for began_ns, ended_ns in spans:
                    late_ms, left_ms = (at_ns - began_ns) / 1e6, (ended_ns - at_ns) / 1e6
                    assert late_ms < 0 or left_ms < 0, (
                        f"launch {number} began or went on {late_ms:.1f} ms too late into a launch"
                        f" of high, {left_ms:.1f} ms before its end"
                    )
    return len(spans)


def check_decisions(launches: Any, high: set[int]) -> int:
    """Of the engine's records of launches: none of best-effort work that cannot be stopped was let
    go while one of these sessions' was with the device. Both times were taken under the schedule's
    lock, so there is no slack. How many launches of high there were."""
    timed = launches[launches["flags"] & UNTIMED == 0]
    of_high = np.isin(timed["session"], list(high))
    low = timed[~of_high & (timed["flags"] & GUARDED == 0)]
    for launch in timed[of_high]:
        beside = low[(low["issue_ns"] > launch["issue_ns"]) & (low["issue_ns"] < launch["end_ns"])]
        late_ms = (np.sort(beside["issue_ns"]).astype(np.int64) - int(launch["issue_ns"])) / 1e6
        assert len(beside) == 0, f"let go beside high, by ms after its launch: {late_ms}"
    return int(of_high.sum())
