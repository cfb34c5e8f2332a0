"""Fixtures that all tests share. pytest puts this folder on the path: hence `support`."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import toolchain
from support.daemon import Daemon, plain_environment

NODEV = Path(__file__).parent / "nodev"
PROGRAMS = Path(__file__).parent / "soft" / "programs"

# Shells start what runs in the background with SIGINT ignored, and programs would inherit that from
# us: those that are to end by Ctrl-C never would.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs no device judges nothing by time; other files say so of themselves."""
    for item in items:
        if NODEV in item.path.parents:
            item.add_marker(pytest.mark.beside)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets, whose paths may have 107 bytes; tmp_path's are too long for some."""
    with tempfile.TemporaryDirectory(prefix="tally-t-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def builder() -> Iterator[toolchain.Builder]:
    """Builds the CUDA test programs; skips where the toolkit's wheels are not installed."""
    if toolchain.toolkit() is None:
        pytest.skip("no nvcc: pip install tally-gpu[test]")
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


@pytest.fixture
def no_libzstd(tmp_path: Path) -> Path:
    """A folder for LD_LIBRARY_PATH with which no process finds a libzstd.so.1 that it can load."""
    folder = tmp_path / "no-libzstd"
    folder.mkdir()
    (folder / "libzstd.so.1").write_text("not a library\n")
    return folder


@pytest.fixture(scope="session")
def gpu() -> str:
    """The GPU's name. Asked of a child process, so that this one stays free to fork."""
    code = "from tally.workloads.gpu_check import find_gpu; print(getattr(find_gpu(), 'name', ''))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=plain_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    name = done.stdout.strip()
    if not name:
        pytest.skip("no GPU on this machine")
    return name


@pytest.fixture(scope="session")
def gpu_daemon(gpu: str) -> Iterator[Daemon]:
    """A tallyd that owns the machine's GPU."""
    with Daemon(device="cuda") as daemon:
        yield daemon
