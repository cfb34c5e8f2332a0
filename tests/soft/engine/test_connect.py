"""Clients that open a session and do not come, and what sessions leave in the runtime folder."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import zmq
from support.client import Client
from support.executor import ExecutorProcess

LIMIT_SECONDS = 0.3


@pytest.fixture(scope="module")
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess(f"--connect-seconds-max={LIMIT_SECONDS}") as process:
        process.wait_event("ready")
        yield process


def test_a_client_that_never_connects_is_given_up(executor: ExecutorProcess) -> None:
    began_s = time.monotonic()
    opened = executor.open()
    assert len(executor.sockets()) == 3
    closed = executor.wait_event("closed", opened["session"])
    assert closed["reason"] == "the client did not connect within 300 ms"
    assert time.monotonic() - began_s >= LIMIT_SECONDS
    assert not executor.shared_memory()
    assert not executor.sockets()


@pytest.mark.parametrize("name", ["ops", "replies"])
def test_half_a_connection_is_none(executor: ExecutorProcess, name: str) -> None:
    opened = executor.open()
    kind = zmq.PUSH if name == "ops" else zmq.PULL
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.linger = 0
        socket.connect(opened[name])
        reason = executor.wait_event("closed", opened["session"])["reason"]
    assert reason == "the client did not connect within 300 ms"


def test_connected_clients_may_be_silent(executor: ExecutorProcess) -> None:
    with executor.client() as silent:
        silent.sync()
        late = executor.open()
        executor.wait_event("closed", late["session"])  # the limit has passed for both
        silent.sync()
    assert not executor.sockets()


def test_another_sessions_limit_does_not_count(executor: ExecutorProcess) -> None:
    """Sessions are given up in the order in which they were opened, each at its own time."""
    first = executor.open()
    time.sleep(LIMIT_SECONDS / 2)
    second = Client(executor.open())
    executor.wait_event("closed", first["session"])
    second.sync()
    second.close()
