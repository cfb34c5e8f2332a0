"""Sessions that misbehave, die or are attacked: each hurts nobody but itself."""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zmq
from support import hostile, wire
from support.client import CONTEXT, INLINE, LEGACY, PINNED, SLOT, Client, CudaError, wait_until
from support.executor import ExecutorProcess

OUT_OF_MEMORY = 2
TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess("--soft-memory-bytes=1073741824") as process:
        process.wait_event("ready")
        yield process


@pytest.fixture
def bystander(executor: ExecutorProcess) -> Iterator[Client]:
    """Another session, whose memory and service must outlast every test."""
    data = Random(7).randbytes(5000)
    with executor.client() as client:
        address = client.alloc(len(data))
        client.write(address, data)
        yield client
        assert client.read(address, len(data)) == data
        assert client.page.sticky_error == 0


@contextlib.contextmanager
def victim(executor: ExecutorProcess) -> Iterator[tuple[Client, int]]:
    """A session that is expected to be ended by the executor."""
    opened = executor.open()
    client = Client(opened)
    yield client, opened["session"]
    client.close(bye=False)


def op(code: int, size: int, call_id: int = 0, flags: int = 0) -> bytes:
    return wire.pack("tally_op", {"code": code, "bytes": size, "call_id": call_id, "flags": flags})


def copy_number() -> int:
    return wire.constant("OP_COPY")


MALFORMED = {
    "empty": b"",
    "shorter than a header": b"\1\2\3",
    "size too small": op(26, 8),
    "size too large": op(26, 1 << 20),
    "unknown op": op(200, 16),
    "unknown flags": op(26, 16, 1, flags=1),
    "call without a number": op(26, 16),
    "code 0": op(0, 16),
    "generated op beyond the last": op(60000, 16, 1),
    "generated op without a body": op(256, 16, 1),
    "truncated copy": op(6, 20) + b"1234",
    "trailing bytes": op(26, 20, 1) + b"1234",
    "largest allowed": op(26, 1 << 18) + bytes((1 << 18) - 16),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_ends_its_session(
    executor: ExecutorProcess, bystander: Client, name: str
) -> None:
    with victim(executor) as (client, session):
        client.alloc(100)
        client.raw(MALFORMED[name])
        closed = executor.wait_event("closed", session)
        assert closed["reason"].startswith("bad message"), closed["reason"]
        assert client.page.closed == 1


def test_a_message_beyond_the_limit_ends_its_session(
    executor: ExecutorProcess, bystander: Client
) -> None:
    with victim(executor) as (client, session):
        client.sync()
        client.raw(bytes((1 << 18) + 1))
        executor.wait_event("closed", session)


def test_two_frames_end_the_session(executor: ExecutorProcess, bystander: Client) -> None:
    with victim(executor) as (client, session):
        client.sync()
        client.ops.send_multipart([op(26, 16, 1), b"more"])
        assert "frame" in executor.wait_event("closed", session)["reason"]


HOSTILE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "slot out of range": ("COPY", "tally_op_copy", {"slot": 99, "slot_sequence": 1}),
    "place out of range": ("COPY", "tally_op_copy", {"dst_place": 9}),
    "inline as destination": ("COPY", "tally_op_copy", {"dst_place": INLINE}),
    "memset of odd elements": ("MEMSET", "tally_op_memset", {"element_bytes": 3}),
    "stream of another kind": (
        "STREAM_CREATE",
        "tally_op_stream_create",
        {"stream": wire.handle("EVENT", 1)},
    ),
    "stream index beyond the limit": (
        "STREAM_CREATE",
        "tally_op_stream_create",
        {"stream": wire.handle("STREAM", 1 << 21)},
    ),
    "upload behind its end": (
        "UPLOAD",
        "tally_op_upload",
        {"upload": 1, "total": 100, "offset": 90, "bytes": 20},
    ),
    "launch with too many parameters": (
        "LAUNCH",
        "tally_op_launch",
        {"param_bytes": 1 << 31},
    ),
    "launch with too many attributes": (
        "LAUNCH",
        "tally_op_launch",
        {"attribute_count": 1 << 31},
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_field_ends_its_session(
    executor: ExecutorProcess, bystander: Client, name: str
) -> None:
    code, struct, fields = HOSTILE[name]
    with victim(executor) as (client, session):
        client.send(code, struct, **fields)
        reason = executor.wait_event("closed", session)["reason"]
        assert reason.startswith("bad message"), reason


def test_an_upload_beyond_the_setting_is_refused(
    executor: ExecutorProcess, bystander: Client
) -> None:
    """`module_bytes_max` is a limit that a program may meet, not a lie."""
    with executor.client() as client:
        client.send("UPLOAD", "tally_op_upload", upload=1, total=1 << 40, bytes=1)
        client.sync()
        assert client.async_errors == [OUT_OF_MEMORY]


def test_numbers_that_overflow_are_errors(executor: ExecutorProcess, bystander: Client) -> None:
    huge = (0, 1, 2**31, 2**32 + 1, 2**63, 2**64 - 1, 2**64 - 4096)
    random = Random(3)
    with executor.client() as client:
        address = client.alloc(4096)
        for _ in range(3000):
            pick = random.choice
            client.raw(
                client.copy(
                    dst=address + pick((0, 4095, 2**63)) & 2**64 - 1,
                    src=pick(huge),
                    src_place=pick((INLINE, SLOT, 0, 1)),
                    tail=b"",
                    **{
                        name: pick(huge)
                        for name in (
                            *("width", "height", "depth"),
                            *("dst_pitch", "dst_slice", "src_pitch", "src_slice"),
                        )
                    },
                )
            )
            client.send(
                "MEMSET",
                "tally_op_memset",
                stream=LEGACY,
                dst=address,
                pitch=pick(huge),
                width=pick(huge),
                height=pick(huge),
                element_bytes=pick((1, 2, 4)),
            )
        for size in huge:
            for code, struct in (
                ("MEM_ALLOC", "tally_op_mem_alloc"),
                ("HOST_ALLOC", "tally_op_host_alloc"),
            ):
                with contextlib.suppress(CudaError):
                    client.finish(client.begin(code, struct, bytes=size))
        client.sync()


def test_random_messages_end_sessions_only(executor: ExecutorProcess, bystander: Client) -> None:
    random = Random(11)
    for _ in range(30):
        with victim(executor) as (client, session):
            for _ in range(50):
                body = random.randbytes(random.randrange(0, 200))
                code = random.choice((*range(1, 29), *range(256, 275)))
                client.raw(op(code, 16 + len(body), random.randrange(3)) + body)
            client.raw(b"the end")
            executor.wait_event("closed", session)


def test_lies_of_the_fuzzer_reach_what_they_lie_to(
    executor: ExecutorProcess, bystander: Client
) -> None:
    """Else the fuzzer would try nothing but the decoders: its ops have to follow the protocol."""
    told: set[int] = set()
    for seed in range(10):
        random = Random(seed)
        opened = executor.open(kind=random.choice(("high", "best-effort")))
        client = Client(opened)
        liar = hostile.Liar(random, client.region[0], client.slot_count)
        ops = [*hostile.preamble(), *(liar.op() for _ in range(300))]
        for message in ops:
            client.raw(message)
            told.add(hostile.OP_HEADER.unpack_from(message)[0])
        wait_until(lambda ops=ops, page=client: page.page.ops_handled >= len(ops), f"seed {seed}")
        assert client.page.closed == 0, executor.wait_event("closed", opened["session"])
        client.close()
        executor.wait_event("closed", opened["session"])
    assert told == set(hostile.BODIES)


KILLED = """
import os, sys, time
sys.path.insert(0, {tests!r})
import json
from support.client import Client
print(os.getpid(), flush=True)
client = Client(json.loads(sys.stdin.readline()))
address = client.alloc(600 << 20)
pinned, area = client.host_alloc(1 << 20)
flag = client.alloc(4)
client.write(flag, bytes(4))
client.sync()
stream = client.stream(1)
client.value(stream, flag, 1, wait=True)
client.free(address)
for index in range(3):
    client.begin("STREAM_SYNC", "tally_op_stream", stream=stream)
print("ready", flush=True)
for index in range({ops}):
    client.write(flag, bytes(4))
time.sleep(60)
"""


@pytest.mark.parametrize("ops", [0, 100_000])
def test_a_killed_client_leaves_nothing(
    executor: ExecutorProcess, bystander: Client, ops: int
) -> None:
    import json

    before = set(executor.shared_memory())
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(tests=str(TESTS), ops=ops)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin and child.stdout
    pid = int(child.stdout.readline())
    opened = executor.open(pid=pid)
    child.stdin.write(json.dumps(opened) + "\n")
    child.stdin.flush()
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.05)
    child.kill()
    closed = executor.wait_event("closed", opened["session"])
    assert closed["reason"] == "the client is gone"
    child.wait()
    assert set(executor.shared_memory()) == before
    with executor.client() as client:
        client.free(client.alloc(900 << 20))


def test_a_client_that_goes_while_it_gets_pinned_memory(
    executor: ExecutorProcess, bystander: Client
) -> None:
    """What it asked for is not made to the end first."""
    size = 1 << 30
    before = set(executor.shared_memory())
    with victim(executor) as (client, session):
        client.begin("HOST_ALLOC", "tally_op_host_alloc", bytes=size)
        wait_until(lambda: made_of(executor, session) > 0, "the area's first pages")
        for socket in (client.ops, client.replies):
            socket.close()
        largest = 0
        while made := made_of(executor, session):
            largest = max(largest, made)
            time.sleep(0.001)
        assert largest < size
        assert executor.wait_event("closed", session)["reason"] == "the client is gone"
    assert set(executor.shared_memory()) == before


def made_of(executor: ExecutorProcess, session: int) -> int:
    """Bytes of the session's pinned memory that is being made; 0: none is."""
    folder = Path(f"/proc/{executor.process.pid}/fd")
    for descriptor in folder.iterdir():
        with contextlib.suppress(OSError):
            if f"/memfd:tally-s{session}-" in os.readlink(descriptor):
                return os.stat(descriptor).st_blocks * 512
    return 0


def test_pinned_memory_that_cannot_fit_takes_none(
    executor: ExecutorProcess, bystander: Client
) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with executor.client() as client:
        began_s = time.monotonic()
        with pytest.raises(CudaError) as refused:
            client.host_alloc(memory)
        assert refused.value.result == 2
        assert time.monotonic() - began_s < 0.5, "nothing was cleared"
        client.host_alloc(4096)[1].close()


def test_only_the_expected_process_is_served(executor: ExecutorProcess) -> None:
    opened = executor.open(pid=1)
    socket = CONTEXT.socket(zmq.PUSH)
    socket.linger = 0
    socket.connect(opened["ops"])
    with contextlib.suppress(zmq.Again):
        socket.sndtimeo = 200
        for _ in range(10):
            socket.send(b"not a message")
    time.sleep(0.1)
    assert str(opened["session"]) in executor.stats()
    socket.close()
    executor.request("close", session=opened["session"], reason="test")
    assert executor.wait_event("closed", opened["session"])["reason"] == "test"


def test_shared_memory_cannot_be_cut_short(executor: ExecutorProcess, bystander: Client) -> None:
    """The client holds the file. Its size is sealed, so that nobody's access to it faults."""
    with executor.client() as client:
        reply = client.call(
            "HOST_ALLOC", "tally_op_host_alloc", "tally_reply_host_alloc", bytes=1 << 20
        )
        file = client.receive_handed(reply.number)
        for size in (0, 4096, 1 << 30):
            with pytest.raises(PermissionError):
                os.ftruncate(file, size)
        # What can be done is to take pages out, which come back as zeros.
        with mmap.mmap(file, 1 << 20) as area:
            area[:] = b"x" * (1 << 20)
            area.madvise(mmap.MADV_REMOVE)
        device = client.alloc(1 << 20)
        client.raw(client.copy(dst=device, src=reply.address, src_place=PINNED, width=1 << 20))
        assert client.read(device, 1 << 20) == bytes(1 << 20)
        os.close(file)


def test_many_sessions_come_and_go(executor: ExecutorProcess, bystander: Client) -> None:
    threads = len(os.listdir(f"/proc/{executor.process.pid}/task"))
    files = len(os.listdir(f"/proc/{executor.process.pid}/fd"))
    for _ in range(3):
        opened = [executor.open() for _ in range(40)]
        clients = [Client(one) for one in opened]
        for client in clients:
            address = client.alloc(1000)
            client.write(address, b"abc")
            assert client.read(address, 3) == b"abc"
        for client in clients:
            client.close()
        for one in opened:
            assert executor.wait_event("closed", one["session"])["reason"] == "the client is done"

    def holdings() -> tuple[int, int]:
        folder = f"/proc/{executor.process.pid}"
        return len(os.listdir(f"{folder}/task")), len(os.listdir(f"{folder}/fd"))

    wait_until(lambda: holdings() <= (threads, files), "threads and files to go", 5)


def test_too_many_sessions_are_refused(executor: ExecutorProcess) -> None:
    opened: list[int] = []
    while True:
        number = 10_000 + len(opened)
        answer = executor.request(
            "open",
            session=number,
            pid=os.getpid(),
            uid=os.getuid(),
            gid=os.getgid(),
            job={"class": "high"},
        )
        if not answer["ok"]:
            break
        opened.append(number)
        assert len(opened) < 200
    assert len(opened) > 40 and answer["error"]
    for number in opened:
        executor.request("close", session=number, reason="enough")
        executor.wait_event("closed", number)
    assert not executor.shared_memory()


def test_bad_requests_are_answered(executor: ExecutorProcess) -> None:
    assert not executor.request("dance")["ok"]
    assert "missing" in executor.request("open")["error"]
    assert not executor.request("close", session="x")["ok"]
    assert "class" in executor.request("open", session=1, job={"class": "low"})["error"]


# ---- the process --------------------------------------------------------------------------------


def test_shutdown_ends_sessions_and_cleans_up() -> None:
    with ExecutorProcess() as executor:
        executor.wait_event("ready")
        client = Client(executor.open())
        client.alloc(100)
        client.host_alloc(100)[1].close()
        assert executor.request("shutdown")["ok"]
        client.wait_closed()
        assert executor.process.wait(10) == 0
        assert not executor.shared_memory()
        client.close(bye=False)


def test_the_executor_goes_with_its_supervisor() -> None:
    executor = ExecutorProcess()
    executor.wait_event("ready")
    executor.open()
    executor.socket.close()
    assert executor.process.wait(10) == 0
    assert not executor.shared_memory()
    executor.__exit__(None, None, None)


def test_without_a_driver_it_says_why() -> None:
    with ExecutorProcess(device="cuda") as executor:
        event = executor.wait_event("failed")
        if "driver" not in event["reason"] and "device" not in event["reason"]:
            pytest.fail(event["reason"])
        assert executor.process.wait(10) == 3


def test_a_wrong_index_is_one_clear_sentence() -> None:
    with ExecutorProcess("--soft-memory-bytes=1", "--index=99") as executor:
        # The socket that it connects to is that of its own index.
        executor.socket.bind(f"ipc://{executor.runtime}/executor-99.sock")
        assert "99" in executor.wait_event("failed")["reason"]
        assert executor.process.wait(10) == 3


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that everybody may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may serve others")
def test_files_are_opened_with_the_peers_rights(
    executor: ExecutorProcess, public_path: Path
) -> None:
    opened = executor.open(uid=65534, gid=65534)
    assert os.stat(opened["segment"]).st_uid == 65534
    client = Client(opened)
    hidden = public_path / "hidden"
    hidden.mkdir(mode=0o700)
    text = b".version 8.0\n.target sm_80\n.address_size 64\n"
    places = {public_path / "open": 0o644, public_path / "secret": 0o600, hidden / "open": 0o644}
    results = {}
    for path, mode in places.items():
        path.write_bytes(text)
        path.chmod(mode)
        try:
            client.load(str(path).encode(), source=wire.constant("IMAGE_FILE"), bytes=len(text))
            results[path] = 0
        except CudaError as error:
            results[path] = error.result
    assert list(results.values()) == [0, 301, 301]
    client.close()
    executor.wait_event("closed", opened["session"])


def test_a_client_without_replies_is_let_go(executor: ExecutorProcess, bystander: Client) -> None:
    opened = executor.open()
    client = Client(opened)
    client.sync()
    client.replies.close()
    executor.wait_event("closed", opened["session"])
    client.ops.close()
