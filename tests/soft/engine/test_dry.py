"""Dry mode: every launch is checked and skipped, whatever form its code has; memory works."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import kernels
from support.client import LEGACY
from support.executor import ExecutorProcess

from tally.scheduler.profiles import FILE_NAME

INVALID_VALUE = 1
ADDRESS_NOBODY_HAS = 0x10

PTX = kernels.image("total", "poke", "loop")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def executor(state: Path) -> Iterator[ExecutorProcess]:
    with ExecutorProcess("--soft-dry", f"--state-dir={state}") as process:
        process.wait_event("ready")
        yield process
        process.request("shutdown")
        assert process.process.wait(10) == 0


@pytest.mark.parametrize("kind", ["best-effort", "high"])
def test_kernels_with_ptx_are_skipped_too(
    executor: ExecutorProcess, state: Path, kind: str
) -> None:
    with executor.client(kind=kind) as client:
        module = client.load(PTX)
        poke, reply = client.function(module, "poke")
        spin, _ = client.function(module, "spin")
        assert (reply.param_count, reply.param_bytes) == (1, 8)
        address = client.alloc(8)
        client.write(address, b"unharmed")
        client.launch(poke, struct.pack("Q", address), grid=(1000, 1, 1))
        client.launch(poke, struct.pack("Q", ADDRESS_NOBODY_HAS))  # a skipped kernel's "result"
        client.launch(spin, b"", grid=(100, 1, 1))
        client.sync_all()
        assert client.read(address, 8) == b"unharmed"
        client.send(
            "MEMSET",
            "tally_op_memset",
            stream=LEGACY,
            dst=address,
            value=7,
            width=2,
            height=1,
            element_bytes=4,
        )
        assert client.read(address, 8) == struct.pack("II", 7, 7)
        assert not client.async_errors
        (stats,) = executor.stats().values()
        assert stats["counters"]["launches"] == 3
    assert not (state / FILE_NAME).exists(), "what dry launches take was kept"


def test_launches_are_still_checked(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        spin, _ = client.function(client.load(PTX), "spin")
        client.launch(spin, b"", block=(2048, 1, 1))
        client.sync()
        assert client.async_errors == [INVALID_VALUE]


def test_variables_keep_their_initial_values(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        module = client.load(PTX)
        reply = client.call(
            "GET_GLOBAL",
            "tally_op_get_global",
            "tally_reply_get_global",
            b"total",
            module=module,
            name_bytes=5,
        )
        assert client.read(reply.address, 4) == struct.pack("I", 5)
