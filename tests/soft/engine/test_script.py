"""The engine over a driver that behaves as NVIDIA's may: calls block, fail, find no lock held."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import kernels, toolchain
from support.client import LEGACY, Client, CudaError, wait_until
from support.executor import ExecutorProcess
from support.script import MODES, Script, executor, preloading, scripted_library
from support.sessions import Busy, counters, counting

SUPPORT = Path(toolchain.__file__).parent
OUT_OF_MEMORY = 2
BLOCKS = 300
PTX = kernels.image("count")

pytestmark = pytest.mark.skipif(
    toolchain.toolkit() is None, reason="needs the compilers of the tests"
)

Scripted = tuple[ExecutorProcess, Script]


@pytest.fixture(params=MODES)
def scripted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scripted]:
    with executor(tmp_path, request.param) as pair:
        yield pair


def wait_for_forms(executor: ExecutorProcess, client: Client) -> None:
    wait_until(lambda: counters(executor, client)["rewrites"] >= 1, "the forms")


def use(client: Client) -> None:
    """A little of all that a program does."""
    count, data = counting(client)
    client.launch(count, struct.pack("QI", data, 100), grid=(8, 1, 1))
    stream, event = client.stream(1), client.event()
    client.record(event, stream)
    client.launch(count, struct.pack("QI", data, 100), grid=(8, 1, 1), stream=stream)
    client.sync(stream)
    address, area = client.host_alloc(4096)
    area.close()
    client.send("HOST_FREE", "tally_op_host_free", address=address)
    fields: dict[str, Any] = {"dst": data, "width": 4096, "height": 1, "element_bytes": 1}
    client.send("MEMSET", "tally_op_memset", stream=LEGACY, **fields)
    client.free(data)
    client.sync_all()


def test_no_lock_is_held_over_a_call(scripted: Scripted) -> None:
    process, script = scripted
    with process.client(kind="high") as high, process.client() as low:
        use(high)
        use(low)
        busy = Busy(high)
        count, data = counting(low)
        wait_for_forms(process, low)
        busy.hold()
        low.launch(count, struct.pack("QI", data, 1000), grid=(BLOCKS, 1, 1))
        busy.release()
        low.sync()
        flag, waiting = low.alloc(4), low.stream(1)
        low.write(flag, bytes(4))
        low.sync()
        low.value(waiting, flag, 1, wait=True)
        low.launch(count, struct.pack("QI", data, 1), grid=(8, 1, 1), stream=waiting)
        low.value(low.stream(1), flag, 1)
        low.sync_all()
    assert not script.locked()


@pytest.mark.parametrize("locked", [True, False])
def test_the_check_sees_a_lock(tmp_path: Path, locked: bool) -> None:
    library, script = scripted_library(), Script(tmp_path, "soft")
    caller = toolchain.compile_c(SUPPORT / "lock_native.c", ("-shared", "-fPIC"))
    code = (
        "import ctypes, sys; free, total = ctypes.c_size_t(), ctypes.c_size_t()\n"
        "call = ctypes.CDLL(sys.argv[1]).cuMemGetInfo_v2\n"
        "caller = ctypes.CDLL(sys.argv[2])\n"
        + ("caller.call_locked(call, " if locked else "call(")
        + "ctypes.byref(free), ctypes.byref(total))\n"
    )
    environment = os.environ | {"TALLY_DRIVER_SCRIPT": str(tmp_path)} | preloading(library)
    command = [sys.executable, "-c", code, str(library), str(caller)]
    subprocess.run(command, env=environment, check=True, timeout=60)
    assert script.locked() == ({"cuMemGetInfo_v2"} if locked else set())


@pytest.mark.parametrize(
    "function", ["cuMemAlloc_v2", "cuMemFree_v2", "cuModuleLoadDataEx", "cuModuleUnload"]
)
def test_high_goes_on_while_a_call_of_another_blocks(scripted: Scripted, function: str) -> None:
    """As a free behind a kernel that never ends does, and a module that takes long to load."""
    process, script = scripted
    with process.client(kind="high") as high, process.client() as low:
        count, data = counting(high)
        address = low.alloc(64)
        module = low.load(PTX)
        wait_for_forms(process, low)
        low.sync_all()
        with script.blocked(function):
            number = None
            if function == "cuMemAlloc_v2":
                number = low.begin("MEM_ALLOC", "tally_op_mem_alloc", bytes=64)
            elif function == "cuMemFree_v2":
                low.free(address)
            elif function == "cuModuleLoadDataEx":
                number = low.begin_load(PTX + b"// another one\n").number
            else:
                low.send("MODULE_UNLOAD", "tally_op_module_unload", module=module)
            script.wait_reached(function)
            high.launch(count, struct.pack("QI", data, 10), grid=(8, 1, 1))
            assert high.read(data, 32) == struct.pack("I", 1) * 8
            assert number is None or not low.poll(number)
        low.sync_all()


def test_a_store_that_blocks_holds_no_lock(tmp_path: Path) -> None:
    """A gate is opened by a call of the driver's: it is decided under the schedule's lock."""
    with (
        executor(tmp_path, "cuda") as (process, script),
        process.client() as low,
        process.client(kind="high") as high,
    ):
        (kernel, data), (count, of_low) = counting(high), counting(low)
        flag, waiting = low.alloc(4), low.stream(1)
        low.write(flag, bytes(4))
        low.sync()
        low.value(waiting, flag, 1, wait=True)
        low.launch(count, struct.pack("QI", of_low, 1), grid=(8, 1, 1), stream=waiting)
        side = low.stream(1)
        with script.blocked("cuStreamWriteValue32_v2"):
            low.write(flag, struct.pack("I", 1), side)
            script.wait_reached("cuStreamWriteValue32_v2")
            assert process.request("validate")["wrong"] is None
            high.launch(kernel, struct.pack("QI", data, 10), grid=(8, 1, 1))
            assert high.read(data, 32) == struct.pack("I", 1) * 8
        low.sync_all()
        assert low.read(of_low, 32) == struct.pack("I", 1) * 8


def test_a_call_that_fails_is_its_callers_alone(scripted: Scripted) -> None:
    process, script = scripted
    with process.client(kind="high") as high, process.client() as low:
        count, data = counting(high)
        script.fail("cuMemAlloc_v2", OUT_OF_MEMORY)
        with pytest.raises(CudaError) as error:
            low.alloc(64)
        assert error.value.result == OUT_OF_MEMORY
        script.clear("cuMemAlloc_v2")
        high.launch(count, struct.pack("QI", data, 10), grid=(8, 1, 1))
        assert high.read(data, 32) == struct.pack("I", 1) * 8
        low.free(low.alloc(64))


def test_a_slow_driver_is_waited_for(scripted: Scripted) -> None:
    process, script = scripted
    with process.client() as low:
        count, data = counting(low)
        script.slow("cuLaunchKernel", 20_000)
        script.slow("cuEventRecord", 5_000)
        for _ in range(5):
            low.launch(count, struct.pack("QI", data, 10), grid=(8, 1, 1))
        assert low.read(data, 32) == struct.pack("I", 5) * 8
        assert counters(process, low)["launches"] == 5
        script.clear("cuLaunchKernel")
        script.clear("cuEventRecord")
    assert process.request("validate")["wrong"] is None


def test_a_lost_context_is_told_to_everybody(tmp_path: Path) -> None:
    with executor(tmp_path, "cuda") as (process, script):
        first, second = Client(process.open()), Client(process.open())
        for client in (first, second):
            client.alloc(64)  # its thread is at its socket then
        script.lose(719)
        with pytest.raises((CudaError, TimeoutError)):
            first.finish(first.begin("MEM_INFO", "tally_op"), timeout_s=5)
        wait_until(lambda: second.page.sticky_error == 719, "the other's error")
        assert process.process.wait(10) == 4
        for client in (first, second):
            client.close(bye=False)
