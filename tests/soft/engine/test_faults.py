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

import pytest
import zmq
from support import wire
from support.client import CONTEXT, PINNED, Client, CudaError, wait_until
from support.executor import ExecutorProcess, victim

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess("--soft-memory-bytes=1073741824") as process:
        process.wait_event("ready")
        yield process


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
