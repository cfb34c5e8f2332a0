"""The executor that most tests here use, and a session beside those that tests let come to harm."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from support.client import Client
from support.executor import ExecutorProcess


@pytest.fixture(params=["soft", "events"])
def executor(request: pytest.FixtureRequest) -> Iterator[ExecutorProcess]:
    """On softgpu. "soft": the driver tells when launches end; "events": events do, as on a GPU."""
    options = {"soft": (), "events": ("--event-timing",)}[request.param]
    with ExecutorProcess("--soft-memory-bytes=1073741824", *options) as process:
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
