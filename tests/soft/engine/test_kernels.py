"""Modules, launches, device faults and printf through the engine, on softgpu."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import kernels, wire
from support.client import LEGACY, SLOT, Client, CudaError, wait_until
from support.executor import ExecutorProcess

pytestmark = pytest.mark.beside

INVALID_VALUE, NOT_FOUND, INVALID_PTX, INVALID_HANDLE = 1, 500, 218, 400
ILLEGAL_ADDRESS, LAUNCH_FAILED = 700, 719
NEED_IMAGE = -1

PTX = kernels.image("total", "scale", "poke", "spin", "fail")


@pytest.fixture(scope="module")
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess("--soft-memory-bytes=1073741824") as process:
        process.wait_event("ready")
        yield process


@pytest.fixture
def client(executor: ExecutorProcess) -> Iterator[Client]:
    with executor.client() as client:
        yield client


@contextlib.contextmanager
def doomed(executor: ExecutorProcess) -> Iterator[tuple[Client, int]]:
    """A session whose kernels fault."""
    opened = executor.open()
    client = Client(opened)
    yield client, opened["session"]
    client.close()
    executor.wait_event("closed", opened["session"])


def numbers(count: int) -> bytes:
    return struct.pack(f"{count}I", *range(count))


def test_a_kernel_runs(client: Client) -> None:
    module = client.load(PTX)
    scale, reply = client.function(module, "scale")
    assert reply.param_count == 2 and reply.param_bytes == 12
    assert reply.attributes[0] == 1024  # CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK
    address = client.alloc(4096)
    client.write(address, numbers(1024))
    for factor in (3, 5):
        client.launch(scale, struct.pack("QI", address, factor), grid=(8, 1, 1), block=(128, 1, 1))
    result = struct.unpack("1024I", client.read(address, 4096))
    assert list(result) == [15 * value for value in range(1024)]
    assert not client.async_errors


def test_params_and_attributes_are_held_against_the_kernel(client: Client) -> None:
    scale, _ = client.function(client.load(PTX), "scale")
    address = client.alloc(4)
    client.launch(scale, struct.pack("Q", address))
    client.sync()
    assert client.async_errors.pop() == INVALID_VALUE
    client.write(address, b"\2\0\0\0")
    dropped = struct.pack("II64s", 8, 0, b"\xff" * 64)  # a priority, which is not the program's
    client.launch(scale, struct.pack("QI", address, 4), attributes=dropped)
    assert client.read(address, 4) == b"\x08\0\0\0"
    refused = struct.pack("II64s", 12, 0, b"\xff" * 64)  # an event's address
    client.launch(scale, struct.pack("QI", address, 4), attributes=refused)
    assert client.read(address, 4) == b"\x08\0\0\0"
    assert client.async_errors == [801]


def test_globals_belong_to_the_module_and_the_session(
    executor: ExecutorProcess, client: Client
) -> None:
    def total(of: Client, module: int) -> int:
        reply = of.call(
            "GET_GLOBAL",
            "tally_op_get_global",
            "tally_reply_get_global",
            b"total",
            module=module,
            name_bytes=5,
        )
        assert reply.bytes == 4
        return int(reply.address)

    module = client.load(PTX)
    address = total(client, module)
    assert client.read(address, 4) == b"\5\0\0\0"
    client.write(address, b"\7\0\0\0")
    assert total(client, module) == address
    with executor.client() as other:
        theirs = total(other, other.load(PTX))
        assert other.read(theirs, 4) == b"\5\0\0\0"
    assert client.read(address, 4) == b"\7\0\0\0"
    client.send("MODULE_UNLOAD", "tally_op_module_unload", module=module)
    client.write(address, b"\7\0\0\0")
    client.sync()
    assert client.async_errors == [INVALID_VALUE]


def test_names_that_are_not_there(client: Client) -> None:
    module = client.load(PTX)
    with pytest.raises(CudaError) as error:
        client.function(module, "nothing")
    assert error.value.result == NOT_FOUND
    scale, _ = client.function(module, "scale")
    client.send("MODULE_UNLOAD", "tally_op_module_unload", module=module)
    client.launch(scale, bytes(12))
    client.sync()
    assert client.async_errors == [INVALID_HANDLE]
    with pytest.raises(CudaError) as error:
        client.function(module, "scale")
    assert error.value.result == INVALID_HANDLE


def test_a_compilers_log_reaches_the_program(client: Client) -> None:
    # Words may be compiled when a launch first needs them: bad text shows there at the latest.
    with pytest.raises(CudaError) as error:
        client.load(PTX.replace(b"mul.lo.u32", b"mul.what.u32"))
        client.load(b".version 8.0\nnonsense")
    assert error.value.result in (INVALID_PTX, 200)
    assert error.value.log


def test_images_in_files(executor: ExecutorProcess, client: Client, tmp_path: Path) -> None:
    image = tmp_path / "kernels.bin"
    image.write_bytes(b"junk" + PTX + b"more")
    source = wire.constant("IMAGE_FILE")

    def load(path: Path, offset: int = 4, size: int = len(PTX)) -> int:
        name = str(path).encode()
        return client.load(name, source=source, offset=offset, bytes=size)

    for _ in range(2):  # the second from the cache
        client.function(load(image), "scale")
    os.symlink(image, tmp_path / "link")
    client.function(load(tmp_path / "link"), "scale")
    image.write_bytes(b"junk" + PTX.replace(b"scale", b"other"))
    client.function(load(image), "other")
    os.mkfifo(tmp_path / "fifo")
    for bad in (tmp_path / "none", tmp_path / "fifo", tmp_path, Path("kernels.bin")):
        with pytest.raises(CudaError) as error:
            load(bad)
        assert error.value.result in (301, 200)
    with pytest.raises(CudaError):
        load(image, offset=1 << 40)
    with pytest.raises(CudaError):
        load(image, size=1 << 20)


def test_images_by_upload_and_hash(executor: ExecutorProcess, client: Client) -> None:
    text = PTX + f"// {time.time_ns()}\n".encode()  # of this run only
    digest = hashlib.sha256(text).digest()
    by_hash = {"source": wire.constant("IMAGE_HASH"), "hash": digest}
    with pytest.raises(CudaError) as error:
        client.load(b"", **by_hash)
    assert error.value.result == NEED_IMAGE
    middle = len(text) // 2
    for number, (offset, piece) in enumerate(((0, text[:middle]), (middle, text[middle:])), 1):
        client.map[client.slot(1) : client.slot(1) + len(piece)] = piece
        client.send(
            "UPLOAD",
            "tally_op_upload",
            upload=9,
            total=len(text),
            offset=offset,
            bytes=len(piece),
            slot=1,
            slot_sequence=number,
        )
        client.wait_slot(1, number)
    # A false hash does not count: what is cached is what the executor hashed itself.
    client.load(b"", source=wire.constant("IMAGE_UPLOAD"), upload=9, hash=bytes(32))
    with pytest.raises(CudaError):
        client.load(b"", source=wire.constant("IMAGE_HASH"), hash=bytes(32))
    with executor.client() as other:
        other.function(other.load(b"", **by_hash), "scale")


def test_kernels_are_listed(client: Client) -> None:
    module = client.load(PTX)
    answer = client.finish(client.begin("LIST_FUNCTIONS", "tally_op_list_functions", module=module))
    reply = wire.unpack("tally_reply_list_functions", answer)
    names = answer[wire.FFI.sizeof("struct tally_reply_list_functions") :]
    assert reply.count == reply.total == 4 and len(names) == reply.name_bytes
    assert sorted(names.rstrip(b"\0").split(b"\0")) == [b"fail", b"poke", b"scale", b"spin"]


def test_names_beyond_one_message_are_in_the_next(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    wanted = [b"k%03d_%s" % (at, b"x" * 2000) for at in range(300)]
    entries = b"".join(b".visible .entry %s() { ret; }\n" % name for name in wanted)
    image = tmp_path / "many.ptx"
    image.write_bytes(kernels.HEAD.encode() + entries)
    with executor.client(kind="high") as client:
        module = client.load(
            str(image).encode(), source=wire.constant("IMAGE_FILE"), bytes=image.stat().st_size
        )
        found: list[bytes] = []
        pages = 0
        while True:
            answer = client.finish(
                client.begin(
                    "LIST_FUNCTIONS", "tally_op_list_functions", module=module, first=len(found)
                )
            )
            assert len(answer) <= wire.constant("MESSAGE_BYTES_MAX")
            reply = wire.unpack("tally_reply_list_functions", answer)
            assert reply.total == 300
            if not reply.count:
                break
            names = answer[wire.FFI.sizeof("struct tally_reply_list_functions") :]
            found += names.rstrip(b"\0").split(b"\0")
            pages += 1
        assert found == wanted and pages == 3


@pytest.mark.parametrize("kernel", ["poke", "fail"])
def test_a_fault_is_sticky_for_its_session_alone(
    executor: ExecutorProcess, client: Client, kernel: str
) -> None:
    address = client.alloc(4)
    client.write(address, b"safe")
    with doomed(executor) as (victim, session):
        function, _ = victim.function(victim.load(PTX), kernel)
        params = struct.pack("Q", address) if kernel == "poke" else b""
        expected = ILLEGAL_ADDRESS if kernel == "poke" else LAUNCH_FAILED
        victim.launch(function, params)
        with pytest.raises(CudaError) as error:
            victim.sync()
        assert error.value.result == expected
        assert victim.page.sticky_error == expected
        event = executor.wait_event("fault", session)
        assert event["error"] == expected and str(expected) in event["detail"]
        for _ in range(2):
            with pytest.raises(CudaError) as error:
                victim.alloc(100)
            assert error.value.result == expected
        victim.raw(  # a slot comes back all the same
            victim.copy(dst=1, src_place=SLOT, width=1, slot=2, slot_sequence=77)
        )
        victim.wait_slot(2, 77)
    assert client.read(address, 4) == b"safe"
    assert client.page.sticky_error == 0


def test_a_running_kernel_goes_with_its_session(executor: ExecutorProcess) -> None:
    opened = executor.open()
    client = Client(opened)
    spin, _ = client.function(client.load(PTX), "spin")
    flag = client.alloc(4)
    client.write(flag, bytes(4))
    for _ in range(5):
        client.launch(spin, struct.pack("Q", flag), grid=(64, 1, 1), block=(32, 1, 1))
    waiting = client.begin("CTX_SYNC", "tally_op")
    time.sleep(0.1)
    assert not client.poll(waiting)
    client.close(bye=False)
    executor.wait_event("closed", opened["session"])  # the kernels alone would never end


def test_launches_are_timed(executor: ExecutorProcess) -> None:
    check_timing(executor, launches=50, timed=50)


def test_launches_are_timed_with_events_too() -> None:
    with ExecutorProcess("--event-timing") as executor:
        executor.wait_event("ready")
        check_timing(executor, launches=50, timed=2)


def check_timing(executor: ExecutorProcess, launches: int, timed: int) -> None:
    with executor.client(kind="high") as client:
        scale, _ = client.function(client.load(PTX), "scale")
        address = client.alloc(4096)
        for _ in range(launches):
            client.launch(scale, struct.pack("QI", address, 1), grid=(8, 1, 1), block=(128, 1, 1))
            client.sync()
        (stats,) = executor.stats().values()
        counters, histograms = stats["counters"], stats["histograms"]
        assert counters["launches"] == launches
        assert timed <= counters["timed_launches"] <= launches
        assert histograms["device_time"]["count"] == counters["timed_launches"]
        assert histograms["queue_delay"]["count"] == counters["timed_launches"]
        assert 0 < counters["device_ns"] < 5e9
        assert histograms["queue_delay"]["max_ns"] < 5e9
        assert histograms["request_latency"]["count"] == launches


def test_slots_are_marked_behind_kernels(client: Client) -> None:
    spin, _ = client.function(client.load(PTX), "spin")
    flag, data = client.alloc(4), client.alloc(4096)
    client.write(flag, bytes(4))
    client.sync()
    stream, other = client.stream(1), client.stream(1)
    client.launch(spin, struct.pack("Q", flag), stream=stream)
    client.map[client.slot(3) : client.slot(3) + 4] = b"late"
    client.raw(
        client.copy(
            dst=data,
            src_place=SLOT,
            src=client.slot(3) - 4096,
            width=4,
            stream=stream,
            slot=3,
            slot_sequence=5,
        )
    )
    assert client.read(flag, 4, stream=other) == bytes(4)
    assert client.page.done[3] != 5
    client.write(flag, b"\1\0\0\0", stream=other)
    client.wait_slot(3, 5)
    assert client.read(data, 4, stream=stream) == b"late"
    wait_until(lambda: client.page.ops_handled > 0, "ops to be counted")
    assert LEGACY == 1
