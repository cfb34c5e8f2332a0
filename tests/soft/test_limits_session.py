"""What one process may have of the executor: each limit has a name, told where it is met."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from support import wire
from support.client import Client, CudaError, wait_until
from support.executor import ExecutorProcess

OUT_OF_MEMORY = 2
MOST = 16  # the least that the settings take
KERNEL = b"""
.version 8.0
.target sm_80
.address_size 64
.visible .entry hold(.param .u64 flag)
{
    .reg .u64 %d0;
    .reg .u32 %r0;
    .reg .pred %p0;
    ld.param.u64 %d0, [flag];
again:
    ld.volatile.global.u32 %r0, [%d0];
    setp.eq.u32 %p0, %r0, 0;
    @%p0 bra again;
    ret;
}
"""


@pytest.fixture
def executor() -> Iterator[ExecutorProcess]:
    names = "stream-queues", "gated-launches", "blocking-calls", "pinned-pieces", "stream-waits"
    options = [f"--{name}-max={MOST}" for name in names]
    with ExecutorProcess("--soft-workers=2", f"--module-bytes-max={1 << 20}", *options) as process:
        process.wait_event("ready")
        yield process


def told(executor: ExecutorProcess, client: Client, setting: str, most: int = MOST) -> None:
    """The program and tallyd have one line that names the setting and says how much it is."""
    text = executor.wait_event("notice", client.session)["text"]
    assert f"`{setting}` in tallyd's config" in text
    assert str(most) in text
    assert client.stderr.decode().count(setting) == 1


def word(client: Client) -> int:
    address = client.alloc(4)
    client.write(address, bytes(4))
    client.sync()
    return address


def test_pieces_of_pinned_memory(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        areas = [client.host_alloc(4096)[1] for _ in range(MOST)]
        with pytest.raises(CudaError) as refused:
            client.host_alloc(4096)
        assert refused.value.result == OUT_OF_MEMORY
        told(executor, client, "pinned_pieces_max")
        for area in areas:
            area.close()


def test_waits_of_a_stream(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        address, stream = word(client), client.stream(1)
        for _ in range(MOST + 1):
            client.value(stream, address, 1, wait=True)
        client.value(client.stream(1), address, 1)
        client.sync(stream)
        assert client.async_errors == [OUT_OF_MEMORY]
        told(executor, client, "stream_waits_max")


def test_launches_behind_a_wait(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        address, stream = word(client), client.stream(1)
        kernel, _ = client.function(client.load(KERNEL), "hold")
        client.value(stream, address, 1, wait=True)
        for _ in range(MOST + 1):
            client.launch(kernel, struct.pack("Q", address), stream=stream)
        client.value(client.stream(1), address, 1)
        client.sync(stream)
        assert client.async_errors == [OUT_OF_MEMORY]
        told(executor, client, "gated_launches_max")


def test_threads_that_wait(executor: ExecutorProcess) -> None:
    """The call is refused; the session and those that wait go on."""
    with executor.client(kind="high") as client:
        address, stream = word(client), client.stream(1)
        client.value(stream, address, 1, wait=True)
        calls = [client.begin("STREAM_SYNC", "tally_op_stream", stream=stream) for _ in range(MOST)]
        with pytest.raises(CudaError) as refused:
            client.sync(stream)
        assert refused.value.result == OUT_OF_MEMORY
        client.value(client.stream(1), address, 1)
        for call in calls:
            client.finish(call)
        told(executor, client, "blocking_calls_max")


def test_streams_with_launches(executor: ExecutorProcess) -> None:
    """One more than that waits; it is not refused. (Beside one another they go after a while.)"""
    with executor.client() as client:
        address = word(client)
        kernel, _ = client.function(client.load(KERNEL), "hold")
        for _ in range(MOST + 1):
            client.launch(kernel, struct.pack("Q", address), stream=client.stream(1))
        text = executor.wait_event("notice", client.session)["text"]
        assert f"`stream_queues_max` in tallyd's config lets {MOST} streams" in text


def test_a_module(executor: ExecutorProcess) -> None:
    """It is refused before it is sent."""
    with executor.client() as client:
        with pytest.raises(CudaError) as refused:
            client.load(b"", source=wire.constant("IMAGE_HASH"), bytes=(1 << 20) + 1, hash=[1] * 32)
        assert refused.value.result == OUT_OF_MEMORY
        assert b"module_bytes_max" in refused.value.log
        wait_until(lambda: client.poll(0) or client.stderr, "the line")
        told(executor, client, "module_bytes_max", 1 << 20)
