"""The engine's ops, spoken raw, on softgpu."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from support import wire
from support.client import DEVICE, INLINE, LEGACY, PINNED, SLOT, Client, CudaError, wait_until
from support.executor import ExecutorProcess

pytestmark = pytest.mark.beside

INVALID_VALUE, OUT_OF_MEMORY, INVALID_HANDLE, NOT_READY = 1, 2, 400, 600


@pytest.fixture(scope="module")
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess("--soft-memory-bytes=1073741824") as process:
        ready = process.wait_event("ready")
        assert ready["kind"] == "soft" and ready["device_name"]
        yield process


@pytest.fixture
def client(executor: ExecutorProcess) -> Iterator[Client]:
    with executor.client() as client:
        yield client


def test_bytes_survive_the_way_to_the_device_and_back(client: Client) -> None:
    data = Random(1).randbytes(3 * client.slot_bytes + 17)
    address = client.alloc(len(data))
    client.write(address, data)
    assert client.read(address, len(data)) == data
    assert client.region[0] <= address < sum(client.region)


def test_a_slot_comes_back_when_its_bytes_were_read(client: Client) -> None:
    address = client.alloc(client.slot_bytes)
    for sequence in range(1, 40):
        slot = sequence % client.slot_count
        data = bytes([sequence]) * 1000
        client.map[client.slot(slot) : client.slot(slot) + 1000] = data
        client.raw(
            client.copy(
                dst=address,
                src=client.slot(slot) - 4096,
                src_place=SLOT,
                width=1000,
                slot=slot,
                slot_sequence=sequence,
            )
        )
        client.wait_slot(slot, sequence)
        assert client.read(address, 1000, slot=(slot + 1) % client.slot_count) == data


def test_boxes_land_row_by_row(client: Client) -> None:
    size = 4096
    address = client.alloc(size)
    client.send(
        "MEMSET",
        "tally_op_memset",
        stream=LEGACY,
        dst=address,
        pitch=size,
        width=size,
        height=1,
        value=0xEE,
        element_bytes=1,
    )
    rows = bytes(range(48))
    client.raw(
        client.copy(
            dst=address,
            src_place=INLINE,
            tail=rows,
            width=4,
            height=3,
            depth=4,
            src_pitch=4,
            src_slice=12,
            dst_pitch=16,
            dst_slice=64,
        )
    )
    expected = bytearray(b"\xee" * size)
    for z in range(4):
        for y in range(3):
            at = z * 64 + y * 16
            expected[at : at + 4] = rows[z * 12 + y * 4 : z * 12 + y * 4 + 4]
    assert client.read(address, size) == bytes(expected)


@pytest.mark.parametrize("element_bytes", [1, 2, 4])
def test_fills_of_every_width(client: Client, element_bytes: int) -> None:
    address = client.alloc(1024)
    common: dict[str, Any] = {"stream": LEGACY, "element_bytes": element_bytes}
    client.send(
        "MEMSET", "tally_op_memset", dst=address, width=1024 // element_bytes, height=1, **common
    )
    client.send(
        "MEMSET",
        "tally_op_memset",
        dst=address + 64,
        pitch=128,
        width=8,
        height=3,
        value=0x04030201,
        **common,
    )
    expected = bytearray(1024)
    pattern = bytes([1, 2, 3, 4])[:element_bytes] * 8
    for row in range(3):
        expected[64 + row * 128 : 64 + row * 128 + len(pattern)] = pattern
    assert client.read(address, 1024) == bytes(expected)


def test_pinned_memory_is_one_memory_on_both_sides(
    executor: ExecutorProcess, client: Client
) -> None:
    address, area = client.host_alloc(10_000)
    assert len(area) == 12_288
    area[:5] = b"hello"
    device = client.alloc(100)
    client.raw(client.copy(dst=device, src=address, src_place=PINNED, width=5))
    assert client.read(device, 5) == b"hello"
    client.raw(
        client.copy(dst=address + 4096, dst_place=PINNED, src=device, src_place=DEVICE, width=5)
    )
    client.sync()
    assert area[4096:4101] == b"hello"
    area.close()
    before = len(executor.shared_memory())
    client.send("HOST_FREE", "tally_op_host_free", address=address)
    wait_until(lambda: len(executor.shared_memory()) == before - 1, "the file's end")
    again, area = client.host_alloc(10_000)
    assert again == address
    area.close()


def test_what_is_not_the_sessions_own_is_refused(executor: ExecutorProcess, client: Client) -> None:
    address = client.alloc(1000)
    with executor.client() as other:
        theirs = other.alloc(1000)
        for bad in (theirs, address - 1, address + 1, 0, 2**64 - 1):
            client.raw(client.copy(dst=bad, src_place=INLINE, tail=b"x" * 1000, width=1000))
            client.sync()
            assert client.async_errors.pop() == INVALID_VALUE
        client.free(theirs)
        client.sync()
        assert client.async_errors.pop() == INVALID_VALUE
        other.write(theirs, b"alive")
        assert other.read(theirs, 5) == b"alive"


def test_freed_memory_is_gone_at_once_and_comes_back(
    executor: ExecutorProcess, client: Client
) -> None:
    half = 400 << 20
    for _ in range(4):
        first, second = client.alloc(half), client.alloc(half)
        with pytest.raises(CudaError) as error:
            client.alloc(half)
        assert error.value.result == OUT_OF_MEMORY
        client.free(first)
        client.free(second)
        client.raw(client.copy(dst=first, src_place=INLINE, tail=b"x", width=1))
        client.sync()
        assert client.async_errors.pop() == INVALID_VALUE


def test_a_free_waits_for_the_work_that_uses_the_memory(client: Client) -> None:
    stream = client.stream(1)
    flag, big = client.alloc(4), client.alloc(700 << 20)
    client.write(flag, bytes(4))
    client.sync()
    client.value(stream, flag, 1, wait=True)
    client.free(big)
    number = client.begin("MEM_ALLOC", "tally_op_mem_alloc", bytes=700 << 20)
    time.sleep(0.1)
    assert not client.poll(number)
    client.write(flag, b"\1\0\0\0")
    with pytest.raises(CudaError):  # the session thread waited: the write came too late ...
        client.finish(number)
    client.sync(stream)
    assert client.alloc(700 << 20)  # ... but what was freed is there now


def test_waits_do_not_hold_up_other_ops(client: Client) -> None:
    streams = [client.stream(1) for _ in range(5)]
    flags = client.alloc(4 * len(streams))
    client.write(flags, bytes(4 * len(streams)))
    client.sync()
    for index, stream in enumerate(streams):
        client.value(stream, flags + 4 * index, 1, wait=True)
    calls = [client.begin("STREAM_SYNC", "tally_op_stream", stream=s) for s in streams]
    everything = client.begin("CTX_SYNC", "tally_op")
    assert client.read(flags, 4) == bytes(4)  # still served
    with pytest.raises(CudaError) as error:
        client.finish(client.begin("STREAM_QUERY", "tally_op_stream", stream=streams[0]))
    assert error.value.result == NOT_READY
    order = [3, 0, 4, 2, 1]
    for done, index in enumerate(order):
        client.write(flags + 4 * index, b"\1\0\0\0")
        client.finish(calls[index])
        for waiting in order[done + 1 :]:
            assert not client.poll(calls[waiting])
    client.finish(everything)


def test_events_time_order_and_wait(client: Client) -> None:
    first, second = client.stream(1), client.stream(1)
    flag, data = client.alloc(4), client.alloc(4)
    client.write(flag, bytes(4))
    client.sync()
    start, end = client.event(), client.event()
    client.record(start, first)
    client.value(first, flag, 1, wait=True)
    client.record(end, first)
    client.send("STREAM_WAIT_EVENT", "tally_op_stream_wait_event", stream=second, event=end)
    client.value(second, data, 7)
    waiting = client.begin("EVENT_SYNC", "tally_op_event", event=end)
    with pytest.raises(CudaError) as error:
        client.finish(client.begin("EVENT_QUERY", "tally_op_event", event=end))
    assert error.value.result == NOT_READY
    client.record(end, second)  # the waiter keeps what it was given
    client.send("EVENT_DESTROY", "tally_op_event", event=end)
    time.sleep(0.05)
    assert not client.poll(waiting)
    client.write(flag, b"\1\0\0\0")
    client.finish(waiting)
    client.sync(second)
    assert client.read(data, 4) == b"\7\0\0\0"
    later = client.event()
    client.record(later, first)
    client.sync(first)
    reply = client.call(
        "EVENT_ELAPSED",
        "tally_op_event_elapsed",
        "tally_reply_event_elapsed",
        start=start,
        end=later,
    )
    assert 40 < reply.elapsed_ms < 20_000


def test_legacy_ordering_inside_a_session(client: Client) -> None:
    blocking, free = client.stream(0), client.stream(1)
    flag, data = client.alloc(4), client.alloc(12)
    client.write(flag, bytes(4))
    client.write(data, bytes(12))
    client.sync()
    client.value(blocking, flag, 1, wait=True)
    client.value(LEGACY, data, 1)  # behind blocking
    client.value(blocking, data + 4, 1)  # behind legacy
    client.value(free, data + 8, 1)  # behind nobody
    client.sync(free)
    assert client.read(data, 12, stream=free) == bytes(8) + b"\1\0\0\0"
    with pytest.raises(CudaError):
        client.finish(client.begin("STREAM_QUERY", "tally_op_stream", stream=LEGACY))
    client.write(flag, b"\1\0\0\0", stream=free)
    client.sync()
    assert client.read(data, 12, stream=free)[:4] == b"\1\0\0\0"
    client.sync(blocking)
    assert client.read(data, 12) == b"\1\0\0\0" * 3


def test_a_destroyed_streams_work_still_counts(client: Client) -> None:
    stream = client.stream(0)
    flag, data = client.alloc(4), client.alloc(4)
    client.write(flag, bytes(4))
    client.sync()
    client.value(stream, flag, 1, wait=True)
    client.value(stream, data, 9)
    client.send("STREAM_DESTROY", "tally_op_stream", stream=stream)
    everything = client.begin("CTX_SYNC", "tally_op")
    time.sleep(0.02)
    assert not client.poll(everything)
    other = client.stream(1)
    client.write(flag, b"\1\0\0\0", stream=other)
    client.finish(everything)
    assert client.read(data, 4) == b"\x09\0\0\0"
    with pytest.raises(CudaError) as error:
        client.sync(stream)
    assert error.value.result == INVALID_HANDLE


def test_memory_limit_of_a_job(executor: ExecutorProcess) -> None:
    """Its sessions share it, and each sees what is left; of another's nothing is taken."""

    def info(of: Client) -> tuple[int, int]:
        answer = of.call("MEM_INFO", "tally_op", "tally_reply_mem_info")
        return answer.free_bytes, answer.total_bytes

    limit = 1 << 20
    with (
        executor.client(id="a", memory_max=limit) as client,
        executor.client(id="b", memory_max=limit) as other,
    ):
        with executor.client(id="a", memory_max=limit) as second:
            second.alloc(limit // 2)
            assert info(client) == info(second) == (limit // 2, limit)
            assert info(other) == (limit, limit)
            with pytest.raises(CudaError) as error:
                client.alloc(limit // 2 + 1)
            assert error.value.result == OUT_OF_MEMORY
            assert b"`tally run --memory`" in client.stderr and not second.stderr
            client.free(client.alloc(limit // 2))
            client.sync_all()
            assert info(client) == (limit // 2, limit)
        assert info(client) == (limit, limit)  # what a process leaves goes back to its job
        address = client.alloc(limit)
        with pytest.raises(CudaError) as error:
            client.alloc(1)
        assert error.value.result == OUT_OF_MEMORY
        client.free(address)
        client.alloc(1 << 20)


def test_statistics_tell_what_happened(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        address = client.alloc(1 << 20)
        client.write(address, b"x" * 1000)
        client.read(address, 500)
        (stats,) = [s for s in executor.stats().values() if s["gauges"]["memory_bytes"] == 1 << 20]
        assert stats["counters"]["bytes_to_device"] == 1000
        assert stats["counters"]["bytes_to_host"] == 500
        assert stats["gauges"]["memory_peak_bytes"] == 1 << 20
        assert stats["histograms"]["request_latency"]["count"] == 1
        assert sum(stats["histograms"]["request_latency"]["buckets"]) == 1


def test_unknown_handles_are_errors_and_no_more(client: Client) -> None:
    for code, struct, field in (
        ("STREAM_SYNC", "tally_op_stream", "stream"),
        ("EVENT_SYNC", "tally_op_event", "event"),
    ):
        for bad in (0, 12345, wire.handle("STREAM", 77), wire.handle("EVENT", 77), 2**64 - 1):
            fields: dict[str, Any] = {field: bad}
            with pytest.raises(CudaError) as error:
                client.finish(client.begin(code, struct, **fields))
            assert error.value.result == INVALID_HANDLE
    client.launch(wire.handle("FUNCTION", 5))
    client.sync()
    assert client.async_errors == [INVALID_HANDLE]


def test_the_segment_belongs_to_the_peer(executor: ExecutorProcess) -> None:
    opened = executor.open()
    status = os.stat(opened["segment"])
    assert status.st_uid == os.getuid() and status.st_mode & 0o777 == 0o600
    assert executor.request("close", session=opened["session"], reason="enough")["known"]
    assert executor.wait_event("closed", opened["session"])["reason"] == "enough"
    assert not os.path.exists(opened["segment"])
    assert not executor.request("close", session=opened["session"])["known"]
