"""The engine as it treats a real driver: one context for all, registered memory, timing by events.

The driver is softgpu's library, used without its extensions: what any program sees of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support import toolchain
from support.client import LEGACY, PINNED, SLOT, Client, CudaError, wait_until
from support.executor import ExecutorProcess

from tally.client import paths

ILLEGAL_ADDRESS = 700


@pytest.fixture
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess(f"--driver={paths.softgpu_library()}", device="cuda") as process:
        assert process.wait_event("ready")["kind"] == "cuda"
        yield process


def test_sessions_share_the_device(executor: ExecutorProcess) -> None:
    random = Random(2)
    with executor.client() as first, executor.client(kind="high") as second:
        for client in (first, second):
            data = random.randbytes(2 * client.slot_bytes + 5)
            address = client.alloc(len(data))
            client.write(address, data)
            assert client.read(address, len(data)) == data
            pinned, area = client.host_alloc(5000)
            area[:3] = b"abc"
            client.raw(client.copy(dst=address, src=pinned, src_place=PINNED, width=3))
            assert client.read(address, 4) == b"abc" + data[3:4]
            area.close()
            client.send("HOST_FREE", "tally_op_host_free", address=pinned)
            client.free(address)
            client.raw(client.copy(dst=address, src_place=SLOT, width=1, slot=1, slot_sequence=3))
            client.wait_slot(1, 3)
            client.sync_all()
            assert client.async_errors == [1]
    assert not executor.shared_memory()


def test_waits_and_marks(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        stream, other = client.stream(1), client.stream(0)
        flag, data = client.alloc(4), client.alloc(64)
        client.write(flag, bytes(4))
        client.sync()
        client.value(stream, flag, 1, wait=True)
        client.map[client.slot(0) : client.slot(0) + 4] = b"late"
        fields = {"slot": 0, "slot_sequence": 9}
        client.raw(client.copy(dst=data, src_place=SLOT, width=4, stream=stream, **fields))
        waiting = client.begin("STREAM_SYNC", "tally_op_stream", stream=stream)
        client.read(data, 64, stream=other, slot=1)
        assert client.page.done[0] != 9 and not client.poll(waiting)
        client.write(flag, b"\1\0\0\0", stream=other)
        client.finish(waiting)
        client.wait_slot(0, 9)
        assert client.read(data, 4, stream=other) == b"late"


def test_a_killed_session_leaves_nothing(executor: ExecutorProcess) -> None:
    opened = executor.open()
    client = Client(opened)
    client.alloc(1 << 20)
    client.host_alloc(1 << 20)[1].close()
    first, second = client.stream(1), client.stream(1)
    flags = client.alloc(8)
    client.write(flags, bytes(8))
    client.sync()
    client.value(first, flags, 1, wait=True)  # nobody will ever write these
    client.value(first, flags + 4, 7, wait=True)
    client.value(second, flags + 4, 9, wait=True)
    client.begin("CTX_SYNC", "tally_op")
    client.free(flags)
    client.close(bye=False)
    executor.wait_event("closed", opened["session"])
    assert not executor.shared_memory()


@pytest.fixture
def poisoned(tmp_path: Path) -> Iterator[ExecutorProcess]:
    """An executor whose driver finds an illegal address in every memset of bytes."""
    names = ("cuMemsetD8Async", "cuMemsetD2D8Async")
    source = tmp_path / "poisoned.c"
    source.write_text(
        "".join(f"int {name}(void) {{ return {ILLEGAL_ADDRESS}; }}\n" for name in names)
    )
    softgpu = paths.softgpu_library()
    assert softgpu
    library = toolchain.compile_c(
        source,
        ("-shared", "-fPIC", "-Wl,--no-as-needed", str(softgpu), f"-Wl,-rpath,{softgpu.parent}"),
    )
    with ExecutorProcess(f"--driver={library}", device="cuda") as process:
        process.wait_event("ready")
        yield process


@pytest.mark.skipif(toolchain.toolkit() is None, reason="needs the compilers of the tests")
def test_a_poisoned_context_is_told_to_all_and_replaced(poisoned: ExecutorProcess) -> None:
    executor = poisoned
    culprit = executor.open()
    client, other = Client(culprit), Client(executor.open())
    fields: dict[str, Any] = {"dst": client.alloc(64), "width": 64, "height": 1}
    fields["element_bytes"] = 1
    client.send("MEMSET", "tally_op_memset", stream=LEGACY, **fields)
    with pytest.raises((CudaError, TimeoutError)):
        client.finish(client.begin("CTX_SYNC", "tally_op"), timeout_s=2)
    assert executor.wait_event("fault", culprit["session"])["error"] == ILLEGAL_ADDRESS
    assert "every session" in executor.wait_event("fault", culprit["session"])["detail"]
    wait_until(lambda: other.page.sticky_error == ILLEGAL_ADDRESS, "the others' error")
    assert executor.process.wait(10) == 4
    assert not executor.shared_memory()
    for one in (client, other):
        one.close(bye=False)


@pytest.mark.skipif(toolchain.toolkit() is None, reason="needs the compilers of the tests")
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("int nothing;", "it has no softgpuAbi"),
        ('const char *softgpuAbi(void) { return "helpers=3"; }', "does not fit.*helpers=3"),
    ],
)
def test_another_library_is_no_software_gpu(tmp_path: Path, source: str, reason: str) -> None:
    """Compiled code and library must agree on their layout before anything runs."""
    (tmp_path / "other.c").write_text(source)
    library = toolchain.compile_c(tmp_path / "other.c", ("-shared", "-fPIC"))
    with ExecutorProcess(f"--driver={library}") as process:
        assert re.search(reason, process.wait_event("failed")["reason"])
        assert process.process.wait(10) == 3
