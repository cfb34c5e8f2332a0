"""The executor that most tests here use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.executor import ExecutorProcess


@pytest.fixture(params=["soft", "events"])
def executor(request: pytest.FixtureRequest) -> Iterator[ExecutorProcess]:
    """On softgpu. "soft": the driver tells when launches end; "events": events do, as on a GPU."""
    options = {"soft": (), "events": ("--event-timing",)}[request.param]
    with ExecutorProcess("--soft-memory-bytes=1073741824", *options) as process:
        process.wait_event("ready")
        yield process
