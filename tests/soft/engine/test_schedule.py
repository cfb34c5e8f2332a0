"""The scheduler at work in an engine: sessions that fail, leave or are told new rules meanwhile."""

from __future__ import annotations

import math
import struct
import time

import pytest
from support import kernels
from support.client import Client, CudaError, wait_until
from support.executor import ExecutorProcess
from support.sessions import Busy, counters, counting

ILLEGAL_ADDRESS, LAUNCH_FAILED = 700, 719
BLOCKS = 300
STOP_SECONDS_MAX = 5.0

PTX = kernels.image("count", "spin", "follow", "fail_late", "fail")


def both_stopped(executor: ExecutorProcess, client: Client, before: int) -> bool:
    """Whether two launches are stopped. Where this process is kept waiting, they may have run to
    their end before high came."""
    deadline_s = time.monotonic() + STOP_SECONDS_MAX
    while counters(executor, client.session)["preemptions"] < before + 2:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.002)
    return True


def wait_for(executor: ExecutorProcess, client: Client, name: str, count: int) -> None:
    wait_until(lambda: counters(executor, client.session)[name] >= count, f"{count} {name}")


def test_what_cannot_be_stopped_is_counted_and_named(executor: ExecutorProcess) -> None:
    system = (
        kernels.HEAD.encode()
        + b"""
.visible .entry flags(.param .u64 data)
{
    .reg .u64 %d0;
    ld.param.u64 %d0, [data];
    red.global.sys.add.u32 [%d0], 1;
    ret;
}
"""
    )
    with executor.client(kind="high") as high:
        high.load(system)
    assert executor.request("rewrites")["notes"] == [], "high kernels run as they are"
    opened = executor.open()
    client = Client(opened)
    client.load(PTX)
    wait_until(lambda: counters(executor, opened["session"])["rewrites"] == 1, "the forms")
    client.load(system)
    client.load(system)
    wait_until(
        lambda: counters(executor, opened["session"])["rewrites_impossible"] == 2, "the others"
    )
    assert counters(executor, opened["session"])["rewrites"] == 1
    notes = {note["kernel"]: note for note in executor.request("rewrites")["notes"]}
    assert notes.keys() == {"spin", "fail_late", "flags"}
    assert notes["spin"]["runs"] == "in slices" and "polls" in notes["spin"]["reason"]
    assert notes["flags"]["runs"] == "whole" and "system-scope" in notes["flags"]["reason"]
    client.close()
    executor.wait_event("closed", opened["session"])


def test_a_killed_session_does_not_wait_for_its_turn(executor: ExecutorProcess) -> None:
    with executor.client(kind="high") as high:
        busy = Busy(high)
        opened = executor.open()
        client = Client(opened)
        count, data = counting(client)
        busy.hold()
        for _ in range(3):
            client.launch(count, struct.pack("QI", data, 1), grid=(8, 1, 1))
        waiting = client.begin("CTX_SYNC", "tally_op")
        time.sleep(0.1)
        assert not client.poll(waiting)
        client.close(bye=False)
        executor.wait_event("closed", opened["session"])  # before its turn: high goes on until now
        busy.release()
        with executor.client() as other:  # and others have their turn
            count, data = counting(other)
            other.launch(count, struct.pack("QI", data, 1), grid=(8, 1, 1))
            other.sync()


@pytest.mark.parametrize("policy", ["tally", "kernel", "fifo"])
def test_every_block_runs_once_whatever_the_policy(executor: ExecutorProcess, policy: str) -> None:
    with executor.client(kind="high") as high:
        busy = Busy(high)
        opened = executor.open()
        client = Client(opened)
        count, data = counting(client)
        wait_until(lambda: counters(executor, opened["session"])["rewrites"] == 1, "the forms")
        client.launch(count, struct.pack("QI", data, 3000000), grid=(BLOCKS, 1, 1))
        wait_until(lambda: counters(executor, opened["session"])["starts"] >= 1, "the start")
        time.sleep(0.05)
        busy.hold()
        wait_until(lambda: counters(executor, opened["session"])["preemptions"] >= 1, "the stop")
        assert executor.request("policy", policy=policy)["ok"]
        busy.release()
        client.sync()
        assert client.read(data, 4 * BLOCKS) == struct.pack("I", 1) * BLOCKS
        client.close()
        executor.wait_event("closed", opened["session"])


def test_launches_that_can_be_stopped_follow_one_another(executor: ExecutorProcess) -> None:
    """One runs, the next is with the device; stopped together, they go on in program order, though
    their program sends nothing that would wake the session's thread.
    """
    with executor.client(kind="high") as high, executor.client() as low:
        busy = Busy(high)
        module = low.load(PTX)
        wait_for(executor, low, "rewrites", 1)
        count, follow = (low.function(module, name)[0] for name in ("count", "follow"))
        data, out = low.alloc(8192), low.alloc(4 * BLOCKS)
        low.write(data, bytes(8192))
        low.write(out, bytes(4 * BLOCKS))
        low.sync()
        counts, sums = [0] * BLOCKS, [0] * BLOCKS
        # Another shape each time: what was measured of one on a busy machine may ask for slices.
        stopped = 0
        for blocks in range(BLOCKS, BLOCKS - 12, -1):
            before = counters(executor, low.session)
            low.launch(count, struct.pack("QI", data, 3_000_000), grid=(blocks, 1, 1))
            low.launch(follow, struct.pack("QQ", data, out), grid=(blocks, 1, 1))
            counts = [n + (block < blocks) for block, n in enumerate(counts)]
            for block in range(blocks):
                sums[block] += counts[blocks - 1 - block]
            wait_for(executor, low, "starts", before["starts"] + 2)
            busy.hold()
            both = both_stopped(executor, low, before["preemptions"])
            busy.release()
            if both:
                wait_for(executor, low, "starts", before["starts"] + 4)
                stopped += 1
            low.sync()
            if stopped == 4:
                break
        assert stopped > 0, "they had run to their end each time"
        assert low.read(data, 4 * BLOCKS) == struct.pack(f"{BLOCKS}I", *counts)
        assert low.read(out, 4 * BLOCKS) == struct.pack(f"{BLOCKS}I", *sums)


def test_another_stream_waits_for_launches_that_can_be_stopped(executor: ExecutorProcess) -> None:
    with executor.client(kind="high") as high, executor.client() as low:
        busy = Busy(high)
        count, data = counting(low)
        wait_for(executor, low, "rewrites", 1)
        streams = (low.stream(1), low.stream(1))
        low.launch(
            count, struct.pack("QI", data, 3_000_000), grid=(BLOCKS, 1, 1), stream=streams[0]
        )
        low.launch(count, struct.pack("QI", data, 1), grid=(BLOCKS, 1, 1), stream=streams[1])
        wait_for(executor, low, "starts", 1)
        busy.hold()
        wait_for(executor, low, "preemptions", 1)
        busy.release()
        low.sync_all()
        assert low.read(data, 4 * BLOCKS) == struct.pack("I", 2) * BLOCKS


def test_an_empty_message_is_nobodys_call(executor: ExecutorProcess) -> None:
    opened = executor.open()
    client = Client(opened)
    client.raw(b"")
    event = executor.wait_event("closed", opened["session"])
    assert "header" in event["reason"]
    client.close()


def test_streams_that_exist_follow_the_policy_in_their_priority(executor: ExecutorProcess) -> None:
    with executor.client(kind="high") as high, executor.client() as low:
        (ours, data), (theirs, room) = counting(high), counting(low)
        # Compiled, as a start that is counted may still be with the compiler.
        low.launch(theirs, struct.pack("QI", room, 1), grid=(1000, 1, 1))
        high.launch(ours, struct.pack("QI", data, 1), grid=(1, 1, 1))
        low.sync()
        high.sync()
        waited_s = {"fifo": math.inf, "priority": math.inf}  # the best: other programs only add
        for policy in [*waited_s] * 3:
            assert executor.request("policy", policy=policy)["ok"]
            starts = counters(executor, low.session)["starts"]
            low.launch(theirs, struct.pack("QI", room, 500_000), grid=(1000, 1, 1))
            wait_for(executor, low, "starts", starts + 1)
            started_s = time.monotonic()
            high.launch(ours, struct.pack("QI", data, 1), grid=(1, 1, 1))
            high.sync()
            waited_s[policy] = min(waited_s[policy], time.monotonic() - started_s)
            low.sync()
        assert waited_s["fifo"] > 5 * waited_s["priority"]
        assert high.read(data, 4) == struct.pack("I", 7)


def test_policies_change_under_load(executor: ExecutorProcess) -> None:
    with executor.client(kind="high") as high, executor.client() as low:
        kernels = [(client, *counting(client)) for client in (high, low)]
        for policy in ["timeslice", "kernel", "fifo", "priority", "timeslice", "tally"] * 3:
            for client, count, data in kernels:
                for _ in range(20):
                    client.launch(count, struct.pack("QI", data, 100), grid=(64, 1, 1))
            assert executor.request("policy", policy=policy)["ok"]
        for client, _, data in kernels:
            client.sync()
            assert client.read(data, 4 * 64) == struct.pack("I", 18 * 20) * 64


def test_a_fault_ends_the_wait_for_a_turn(executor: ExecutorProcess) -> None:
    with executor.client(kind="high") as high:
        busy = Busy(high)
        opened = executor.open()
        victim = Client(opened)
        count, data = counting(victim)
        address, area = victim.host_alloc(4096)
        late, _ = victim.function(victim.load(PTX), "fail_late")
        victim.launch(late, struct.pack("Q", address), stream=victim.stream(1))
        wait_for(executor, victim, "starts", 1)
        busy.hold()
        victim.launch(count, struct.pack("QI", data, 1), grid=(8, 1, 1))
        waiting = victim.begin("CTX_SYNC", "tally_op")
        time.sleep(0.1)
        assert not victim.poll(waiting)
        area[0] = 1
        with pytest.raises(CudaError) as error:
            victim.finish(waiting, timeout_s=5)
        assert error.value.result == LAUNCH_FAILED
        area.close()
        victim.close()
        executor.wait_event("closed", opened["session"])
        busy.release()


def test_a_fault_leaves_nothing_in_the_books(executor: ExecutorProcess) -> None:
    with executor.client() as low:
        count, data = counting(low)
        opened = executor.open(kind="high")
        victim = Client(opened)
        module = victim.load(PTX)
        kernels = [victim.function(module, name)[0] for name in ("fail", "count")]
        scratch = victim.alloc(8192)
        victim.launch(kernels[0])
        for _ in range(50):  # nobody asks what became of them
            victim.launch(kernels[1], struct.pack("QI", scratch, 1), grid=(8, 1, 1))
        low.launch(count, struct.pack("QI", data, 1), grid=(8, 1, 1))
        low.finish(low.begin("CTX_SYNC", "tally_op"), timeout_s=5)
        with pytest.raises(CudaError) as error:
            victim.sync()
        assert error.value.result == LAUNCH_FAILED
        victim.close()
        executor.wait_event("closed", opened["session"])


def test_what_waits_for_a_value_is_not_held_back(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        count, data = counting(client)
        flag = client.alloc(4)
        client.write(flag, bytes(4))
        client.sync()
        waiting, other = client.stream(1), client.stream(1)
        client.value(waiting, flag, 1, wait=True)
        for stream in (waiting, waiting, other):
            client.launch(count, struct.pack("QI", data, 1), grid=(8, 1, 1), stream=stream)
        client.value(other, flag, 1)
        client.finish(client.begin("CTX_SYNC", "tally_op"), timeout_s=5)
        assert client.read(data, 32) == struct.pack("I", 3) * 8
