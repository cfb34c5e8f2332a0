"""The control socket: who may do what, and that nothing a peer sends does harm."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import wait_until
from support.supervised import RawPeer, Supervised, elsewhere, session_of

from tally.client import protocol
from tally.client.protocol import Header, Status, Type
from tally.daemon.supervisor.peers import Peer
from tally.daemon.supervisor.peers import parse as parse_peer
from tally.errors import RefusedError

SEED = int(os.environ.get("TALLY_TEST_SEED", "0")) or 20261121
MESSAGES = int(os.environ.get("TALLY_FUZZ_MESSAGES", "2000"))


@pytest.fixture(scope="module")
def supervised() -> Iterator[Supervised]:
    with Supervised(sessions_max=50) as running:
        yield running


@pytest.fixture
def peer(supervised: Supervised) -> Iterator[RawPeer]:
    with supervised.raw() as raw:
        yield raw
    supervised.validate()


def test_hello_and_open(peer: RawPeer) -> None:
    status, body = peer.hello()
    assert status is Status.OK
    session, count, driver = protocol.HELLO_REPLY.unpack_from(body)
    assert (count, driver) == (1, 13000)
    assert len(body) == protocol.HELLO_REPLY.size + protocol.DEVICE_INFO_BYTES
    status, body = peer.open(session)
    assert status is Status.OK
    assert protocol.OPEN_REPLY.unpack(body)[3:6] == (4096, 4, 1024)
    assert peer.open(session)[0] is Status.OK, "anew: what the first left is closed"
    assert peer.open(session, 7)[0] is Status.BAD_MESSAGE


def test_only_the_process_that_said_hello_may_open(supervised: Supervised, peer: RawPeer) -> None:
    session = session_of(peer.hello()[1])
    said = elsewhere(supervised, f"status, text = peer.open({session})\nprint(status.name, text)")
    assert said.startswith("REFUSED")
    assert "does not belong to this process" in said
    assert peer.open(session)[0] is Status.OK


def test_a_session_ends_with_its_process(supervised: Supervised) -> None:
    code = (
        "session = struct.unpack_from('<Q', peer.hello(job)[1])[0]\n"
        "assert peer.open(session)[0] == 0\nprint(session)"
    )
    session = int(elsewhere(supervised, code, "gone"))
    table = supervised.supervisor.sessions.table
    job = next(job for job in table.jobs.values() if job.name == "gone")
    wait_until(lambda: job.state == "done", 5, "the job's end is noticed")
    with supervised.client() as client:
        record = next(record for record in client.jobs() if record.name == "gone")
    assert record.stats["counters"]["launches"] == 2000, "the executor's final word"
    assert session not in table.sessions


def test_unknown_job(supervised: Supervised, peer: RawPeer) -> None:
    assert peer.hello()[0] is Status.OK
    token = next(iter(supervised.supervisor.sessions.table.jobs)).partition("-")[2]
    for unknown in (f"7000-{token}", "no job's name"):
        status, text = peer.hello(job=unknown)
        assert status is Status.REFUSED
        assert b"tally run" in text
    assert peer.hello(job="7-" + "e" * len(token))[0] is Status.OK, (
        "of an earlier tallyd: it goes on"
    )


def test_implicit_job_of_a_child_is_its_parents(supervised: Supervised) -> None:
    with supervised.client() as client:
        job = client.start_job(["parent"], name="parent")
        elsewhere(supervised, "peer.hello(program='child')")
        assert "child" not in [record.name for record in client.jobs()]
        assert job in [record.id for record in client.jobs()]


@pytest.mark.parametrize("version", [0, protocol.VERSION + 1, 65535])
def test_wrong_version(peer: RawPeer, version: int) -> None:
    status, text = peer.ask(Type.HELLO, b"", version)
    assert status is Status.BAD_VERSION
    assert b"upgrade" in text and b"restart" in text


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"x"],
        [b"", b"", b""],
        [b"x" * 16, b""],
        [Header(protocol.VERSION, 1, 5, 0).pack()],
        [Header(protocol.VERSION, 1, 5, 0).pack(), b"short"],
        [Header(protocol.VERSION, 1, 5, 0).pack(), b"x" * 201],
        [Header(protocol.VERSION, 2, 5, 0).pack(), b"x" * 15],
        [Header(protocol.VERSION, 99, 5, 0).pack(), b""],
        [Header(protocol.VERSION, 16, 5, 0).pack(), b"{"],
        [Header(protocol.VERSION, 16, 5, 0).pack(), b"[]"],
        [Header(protocol.VERSION, 16, 5, 0).pack(), b'{"op": 7}'],
        [Header(protocol.VERSION, 16, 5, 0).pack(), b'{"op": "nonesuch"}'],
        [Header(protocol.VERSION, 16, 5, 0).pack(), b'{"op": "\\ud800"}'],
        [Header(protocol.VERSION, 16, 5, 0).pack(), b"[" * 60000],
        [Header(protocol.VERSION, 16, 5, 0).pack(), b"\xff\xfe"],
        [Header(protocol.VERSION, 16, 5, 0).pack(), b"{}", b"a third frame"],
    ],
)
def test_malformed_messages(supervised: Supervised, peer: RawPeer, frames: list[bytes]) -> None:
    before = snapshot(supervised)
    peer.send(*frames)
    header, text = peer.receive()
    assert header.status == Status.BAD_MESSAGE
    assert text and b"\n" not in text
    assert snapshot(supervised) == before


@pytest.mark.parametrize(
    "request_",
    [b'{"op": "trace_read", "device": "\\ud800"}', b'{"op": "policy", "policy": "\\ud800"}'],
)
def test_text_that_has_no_utf_8_is_answered(peer: RawPeer, request_: bytes) -> None:
    status, text = peer.ask(Type.REQUEST, request_)
    assert status is Status.REFUSED
    assert b"there is no" in text


def snapshot(supervised: Supervised) -> tuple[int, int]:
    table = supervised.supervisor.sessions.table
    return supervised.call(lambda: (len(table.jobs), len(table.sessions)))


def test_oversized_messages_end_the_connection_alone(supervised: Supervised) -> None:
    with supervised.raw() as hostile:
        hostile.send(
            Header(protocol.VERSION, 16, 1, 0).pack(), b"x" * (protocol.CONTROL_BYTES_MAX + 1)
        )
        assert not hostile.socket.poll(300)
    with supervised.client() as client:
        client.ping()


def test_too_many_sessions() -> None:
    with Supervised(sessions_max=2) as small, small.raw() as peer:
        for _ in range(2):
            session = session_of(peer.hello()[1])
            assert peer.open(session)[0] is Status.OK
        status, text = peer.hello()
        assert status is Status.REFUSED
        assert b"sessions_max" in text


def test_hello_again_replaces_what_was_not_opened(supervised: Supervised, peer: RawPeer) -> None:
    count = snapshot(supervised)[1]
    for _ in range(5):
        assert peer.hello()[0] is Status.OK
    assert snapshot(supervised)[1] <= count + 1


def test_executor_refuses(supervised: Supervised) -> None:
    code = "session = struct.unpack_from('<Q', peer.hello(job)[1])[0]\nprint(peer.open(session))"
    said = elsewhere(supervised, code, "refuse")
    assert "UNAVAILABLE" in said and "no room" in said


def test_unsupported_calls_are_counted(supervised: Supervised) -> None:
    code = (
        "peer.hello(job)\n"
        "for calls in (1, 2, 3): peer.unsupported('cuFancy', calls)\n"
        "print(peer.unsupported('9 is no name', 1), peer.unsupported('cu\\x1bOther', 1))\n"
        "peer.unsupported('cuOther(a flag)', 1)\n"
        "peer.unsupported('table 00112233-4455-6677 slot 4', 1)"
    )
    said = elsewhere(supervised, code, "curious")
    assert said.count("BAD_MESSAGE") == 2
    with supervised.client() as client:
        counts = client.doctor()["unsupported"]
    assert counts == {"cuFancy": 3, "cuOther(a flag)": 1, "table 00112233-4455-6677 slot 4": 1}


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"class": "hihg"}, "unknown class 'hihg': use high or best-effort"),
        ({"class": ["high"]}, "unknown class"),
        ({"priority": 101}, "from -100 to 100"),
        ({"priority": "1"}, "from -100 to 100"),
        ({"weight": 0}, "weight: use an integer from 1 to 1024"),
        ({"weight": 1025}, "from 1 to 1024"),
        ({"weight": 1.5}, "from 1 to 1024"),
        ({"name": "x" * 65}, "name: use a text of at most 64"),
        ({"name": 5}, "name: use a text"),
        ({"argv": "not a list"}, "argv: use a list"),
        ({"argv": [1]}, "argv: use a list"),
        ({"cwd": None}, "cwd: use a text"),
    ],
)
def test_job_start_is_checked(
    supervised: Supervised, fields: dict[str, object], wanted: str
) -> None:
    with supervised.client() as client, pytest.raises(RefusedError, match=wanted):
        client.request("job_start", **{"name": "n", "argv": [], **fields})


def test_drain_and_shutdown(tmp_path: Path) -> None:
    with Supervised() as running, running.client() as client, running.raw() as peer:
        session = session_of(peer.hello()[1])
        assert peer.open(session)[0] is Status.OK
        client.shutdown(drain=True)
        assert peer.hello()[0] is Status.REFUSED
        with pytest.raises(RefusedError, match="draining"):
            client.start_job(["late"])
        assert client.stats()["draining"] is True
        client.shutdown()
        running._thread.join(10)
        assert not running._thread.is_alive()


def test_fuzz(supervised: Supervised) -> None:
    """Random and mutated messages: tallyd answers a sound request afterwards."""
    rng = random.Random(SEED)
    print(f"replay with TALLY_TEST_SEED={SEED}")
    sound = [
        (Type.HELLO, protocol.pack_hello(protocol.Hello(1, 13000, "", "fuzz"))),
        (Type.OPEN, protocol.OPEN.pack(1, 0, 0)),
        (Type.UNSUPPORTED, protocol.UNSUPPORTED.pack(b"cuFuzz", 1)),
        (Type.REQUEST, json.dumps({"op": "jobs", "ended": True}).encode()),
        (Type.REQUEST, json.dumps({"op": "job_start", "name": "f", "argv": ["f"]}).encode()),
    ]
    with supervised.raw() as peer:
        for index in range(MESSAGES):
            peer.send(*mutated(rng, *rng.choice(sound)))
            if index % 64 == 0:
                while peer.socket.poll(0):
                    peer.socket.recv_multipart()
    supervised.validate()
    with supervised.client() as client:
        client.ping()


def mutated(rng: random.Random, kind: int, payload: bytes) -> list[bytes]:
    """A message with something wrong in it, mostly."""
    header = bytearray(Header(protocol.VERSION, kind, rng.getrandbits(32), 0).pack())
    body = bytearray(payload)
    for _ in range(rng.randrange(4)):
        target = body if body and rng.random() < 0.7 else header
        target[rng.randrange(len(target))] = rng.randrange(256)
    if rng.random() < 0.2:
        del body[rng.randrange(len(body) + 1) :]
    if rng.random() < 0.1:
        body += rng.randbytes(rng.randrange(3000))
    frames = [bytes(header), bytes(body)]
    if rng.random() < 0.1:
        rng.shuffle(frames)
    if rng.random() < 0.1:
        frames.append(rng.randbytes(rng.randrange(100)))
    return frames[: rng.choice((2, 2, 2, 2, 1, 3))]


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("localhost:0:1:2", Peer(0, 1, 2)),
        ("localhost:1000:1000:0", Peer(1000, 1000, 0)),  # of a PID namespace that we do not see
        ("localhost", None),
        ("127.0.0.1:1:2:x", None),
        ("", None),
        (None, None),
    ],
)
def test_peer_address(address: object, wanted: Peer | None) -> None:
    assert parse_peer(address) == wanted
