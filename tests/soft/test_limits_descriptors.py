"""No client takes the descriptors of an executor or of tallyd, or their memory with its queue."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from support.client import INLINE, Client, wait_until
from support.daemon import Daemon
from support.executor import ExecutorProcess
from support.supervised import RawPeer

from tally.client.protocol import Status

FEW = 300  # descriptors
SPIN = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry spin(.param .u64 ns)
{
  .reg .b64 %d<4>;
  .reg .pred %p<2>;
  ld.param.u64 %d1, [ns];
  mov.u64 %d2, %globaltimer;
  add.u64 %d3, %d2, %d1;
LOOP:
  mov.u64 %d2, %globaltimer;
  setp.lt.u64 %p1, %d2, %d3;
  @%p1 bra LOOP;
  ret;
}
\0"""


@pytest.fixture(autouse=True)
def _many_here() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def flood(path: str, count: int) -> Iterator[list[socket.socket]]:
    """That many connections to a socket, which stay open on this side."""
    sockets: list[socket.socket] = []
    deadline_s = time.monotonic() + 20
    try:
        while len(sockets) < count and time.monotonic() < deadline_s:
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            try:
                one.connect(path)
            except BlockingIOError:  # its queue is full: it is being emptied
                one.close()
                time.sleep(0.001)
                continue
            sockets.append(one)
        assert len(sockets) == count
        yield sockets
    finally:
        for one in sockets:
            one.close()


def is_closed(one: socket.socket) -> bool:
    """Whether the other end has closed the connection."""
    try:
        return one.recv(64) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess("--soft-workers=1") as process:
        process.wait_event("ready")
        resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        yield process


@pytest.mark.parametrize("name", ["ops", "replies"])
def test_a_session_has_one_connection_to_each_socket(executor: ExecutorProcess, name: str) -> None:
    with executor.client() as bystander:
        opened = executor.open()
        client = Client(opened)
        client.sync()
        before = descriptors(executor.process.pid)
        with flood(opened[name].removeprefix("ipc://"), 2 * FEW) as sockets:
            wait_until(lambda: all(map(is_closed, sockets)), "the connections' ends")
            assert descriptors(executor.process.pid) <= before + 1
            client.sync()
            bystander.sync()
            Client(executor.open()).close()
        client.close()
    assert executor.process.poll() is None


def test_a_stranger_does_not_take_the_sessions_place(executor: ExecutorProcess) -> None:
    """The socket lets in one connection, and another process's is not that one."""
    opened = executor.open()
    path = opened["ops"].removeprefix("ipc://")
    child = os.fork()
    if child == 0:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(path)
            stranger.settimeout(10)
            os._exit(0 if is_closed(stranger) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with_place = Client(opened)
    with_place.sync()
    with_place.close()


def test_sessions_are_refused_before_the_last_descriptor(executor: ExecutorProcess) -> None:
    clients: list[Client] = []
    answer: dict[str, object] = {"ok": True}
    while answer["ok"] and len(clients) < FEW:
        answer = executor.request(
            "open",
            session=1000 + len(clients),
            pid=os.getpid(),
            uid=os.getuid(),
            gid=os.getgid(),
            job={"id": "j", "class": "best-effort"},
        )
        if answer["ok"]:
            clients.append(Client({**answer, "session": 1000 + len(clients)}))
            clients[-1].sync()
    assert len(clients) >= 4
    assert "file descriptors" in str(answer["error"])
    assert "`descriptors_max`" in str(answer["error"])
    clients.pop().close()
    for client in clients:
        client.sync()
        client.close()
    assert executor.process.poll() is None


def test_a_stalled_sessions_queue_is_bounded_in_bytes(executor: ExecutorProcess) -> None:
    """Ops that wait behind a launch which may not start, each as great as a message may be."""
    high, client = Client(executor.open(kind="high")), Client(executor.open(), queued_max=1)
    for one, busy_ns in ((high, 6 * 10**9), (client, 0)):
        function, _ = one.function(one.load(SPIN), "spin")
        one.launch(function, busy_ns.to_bytes(8, "little"))
    before = resident_bytes(executor.process.pid)
    message = client.copy(width=16, src_place=INLINE, tail=bytes(255 * 1024))
    full = sent = 0
    while full < 50:  # nothing was taken for a while
        try:
            client.ops.send(message, zmq.DONTWAIT)
            full, sent = 0, sent + 1
        except zmq.Again:
            full += 1
            time.sleep(0.005)
    taken = resident_bytes(executor.process.pid) - before
    assert sent >= 32  # it is a queue
    assert taken < 40 << 20, f"{taken >> 20} MiB"
    for one in (high, client):
        one.close(bye=False)


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_a_flood_of_tallyds_control_socket_shuts_out_nobody_else() -> None:
    with Daemon("--soft-workers=1") as daemon:
        pid = daemon.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        with flood(str(daemon.runtime_dir / "control.sock"), 2 * FEW) as sockets:
            wait_until(lambda: sum(map(is_closed, sockets)) >= 2 * FEW - 64, "the ends of most")
            assert not all(map(is_closed, sockets))
            daemon.tally("ps")
            assert "`connections_per_process_max`" in daemon.log()
        daemon.tally("ps")


def test_tallyd_refuses_sessions_while_it_can_say_why() -> None:
    with Daemon("--soft-workers=1") as daemon:
        limit = descriptors(daemon.process.pid) + 100
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        with RawPeer(daemon.runtime_dir) as peer:
            status, text = peer.hello()
        assert status == Status.REFUSED
        assert b"`descriptors_max`" in text
        daemon.tally("ps")


def test_the_soft_limit_is_raised() -> None:
    with Daemon("--soft-workers=1") as daemon:
        soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        for pid in daemon.executor_pids():
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (hard, hard)
    with Daemon("--soft-workers=1", "--descriptors-max=512") as daemon:
        for pid in [daemon.process.pid, *daemon.executor_pids()]:
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == 512
