"""Fixtures that all tests share. pytest puts this folder on the path: hence `support`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import toolchain
from support.daemon import Daemon

PROGRAMS = Path(__file__).parent / "soft" / "programs"


@pytest.fixture(scope="session")
def builder() -> Iterator[toolchain.Builder]:
    """Builds the CUDA test programs; skips where the toolkit's wheels are not installed."""
    if toolchain.toolkit() is None:
        pytest.skip("no nvcc: pip install tally-gpu[test], and a C++ compiler")
    builder = toolchain.Builder(PROGRAMS)
    yield builder
    builder.close()


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[Daemon]:
    """One tallyd for all tests that leave it as it was."""
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def daemon(shared_daemon: Daemon) -> Daemon:
    """The shared tallyd, proved alive before the test."""
    assert shared_daemon.process.poll() is None, shared_daemon.log()
    return shared_daemon
