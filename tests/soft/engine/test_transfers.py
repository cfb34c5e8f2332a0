"""Copies and fills: best-effort ones in turn and in pieces, high ones at once and seen."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest
from support.client import DEVICE, PINNED, Client, wait_until
from support.executor import ExecutorProcess
from support.sessions import Words, counters

MIB = 1 << 20
STARTS_MAX_S = 0.1  # what would go does so within a millisecond


def fill(client: Client, address: int, width: int, **fields: Any) -> None:
    words = {"element_bytes": 1, "height": 1, "value": 7, **fields}
    client.send("MEMSET", "tally_op_memset", stream=client.stream(1), dst=address, width=width,
                **words)  # fmt: skip


def handled(client: Client) -> int:
    return int(client.page.ops_handled)


@pytest.mark.parametrize("what", ["to_device", "to_host", "on_device", "fill"])
def test_best_effort_transfers_wait_for_high(executor: ExecutorProcess, what: str) -> None:
    with executor.client(kind="high") as client, executor.client() as other:
        high = Words(client)
        memory, (pinned, area) = other.alloc(2 * MIB), other.host_alloc(MIB)
        area[:] = bytes(MIB)
        fill(other, memory, 2 * MIB, value=9)
        other.sync_all()
        high.launch(high.hold, 0)
        wait_until(lambda: high.word(1) == 1, "high runs")
        before = handled(other)
        match what:
            case "to_device":
                other.raw(other.copy(dst=memory, src=pinned, src_place=PINNED, width=MIB))
            case "to_host":
                other.raw(other.copy(dst=pinned, src=memory, dst_place=PINNED, width=MIB))
            case "on_device":
                other.raw(other.copy(dst=memory, src=memory + MIB, width=MIB))
            case "fill":
                other.send("MEMSET", "tally_op_memset", stream=other.stream(1), dst=memory,
                           width=MIB, height=1, element_bytes=1, value=7)  # fmt: skip
                before += 1  # the stream
        waiting = other.begin("CTX_SYNC", "tally_op")
        time.sleep(STARTS_MAX_S)
        assert handled(other) == before and not other.poll(waiting), "it went beside high"
        high.release(0)
        other.finish(waiting)
        expected = {"to_device": 0, "to_host": 9, "on_device": 9, "fill": 7}[what]
        assert other.read(memory, 64) == bytes([9 if what == "to_host" else expected]) * 64
        assert area[:64] == bytes([9 if what == "to_host" else 0]) * 64
        assert counters(executor, other)["starts"] == 0, "no launches"
        assert counters(executor, other)["scheduled_ns"] > 0, "but accounted for"
        area.close()


@pytest.mark.parametrize("what", ["copy", "fill"])
def test_high_transfers_are_seen(executor: ExecutorProcess, what: str) -> None:
    with executor.client(kind="high") as client, executor.client() as other:
        high, low = Words(client), Words(other)
        memory, stream = client.alloc(MIB), client.stream(1)
        client.value(stream, high.words + 16, 1, wait=True)
        if what == "copy":
            client.raw(client.copy(dst=memory, src=memory + 4096, width=4096, stream=stream))
        else:
            client.send("MEMSET", "tally_op_memset", stream=stream, dst=memory, width=64,
                        height=1, element_bytes=1)  # fmt: skip
        client.sync(high.side)
        low.launch(low.add, 8)
        time.sleep(STARTS_MAX_S)
        assert counters(executor, other)["starts"] == 0
        high.release(4)
        other.sync()
        assert low.word(8) == 1


def test_divided_transfers_carry_every_byte_once(executor: ExecutorProcess) -> None:
    """Boxes of any shape, cut into pieces while another session is open, come through unchanged."""
    seed = int(os.environ.get("TALLY_TRANSFER_SEED", "0")) or random.randrange(1, 1 << 32)
    draw = random.Random(seed)
    room = 6 * MIB
    with executor.client() as beside, executor.client() as client:
        beside.alloc(4096)
        memory = client.alloc(room)
        (source, given), (target, taken) = client.host_alloc(room), client.host_alloc(room)
        given[:] = draw.randbytes(room)
        for _ in range(25):
            width = draw.choice([1, 60, 4096, 70_000, 300_000, 1_500_000])
            depth = draw.choice([1, 1, 2, 5])
            height = draw.choice([1, 1, 3, 17])
            if draw.random() < 0.3:
                width, height, depth = draw.choice([(room, 1, 1), (64, 900, 9), (16, 20_000, 1)])
            pitch = width + draw.choice([0, 16])
            layout = (pitch, pitch * (height + draw.choice([0, 1])))
            if layout[1] * depth > room and depth * height > 1:
                continue
            boxes = {"width": width, "height": height, "depth": depth}
            for side in ("dst", "src"):
                boxes[f"{side}_pitch"], boxes[f"{side}_slice"] = layout
            taken[:] = bytes(room)
            stream = client.stream(1)
            there: dict[str, Any] = {"src": source, "src_place": PINNED, "dst": memory}
            back: dict[str, Any] = {"src": memory, "dst": target, "dst_place": PINNED}
            client.raw(client.copy(stream=stream, dst_place=DEVICE, **there, **boxes))
            client.raw(client.copy(stream=stream, src_place=DEVICE, **back, **boxes))
            client.sync(stream)
            for z in range(depth):
                for y in range(height):
                    at = z * layout[1] + y * layout[0]
                    same = taken[at : at + width] == given[at : at + width]
                    assert same, f"row {y} of slice {z}, {boxes}; TALLY_TRANSFER_SEED={seed}"
            if width < layout[0] <= room:
                assert taken[width : layout[0]] == bytes(layout[0] - width), "beyond the box"
        given.close()
        taken.close()
