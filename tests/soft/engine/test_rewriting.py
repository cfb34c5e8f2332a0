"""Rewriting in the background: programs do not wait for it, and may go, fail or unload meanwhile.

The executor's rewriting and its driver's loading of rewritten kernels are held up by files in a
folder: support/gated_site and programs/gated.c.
"""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import kernels
from support.client import Client, CudaError, wait_until
from support.executor import ExecutorProcess
from support.sessions import counters
from support.toolchain import compile_c

from tally.client import paths

pytestmark = pytest.mark.timeout(120)

SUPPORT = Path(__file__).parents[2] / "support"
PROGRAMS = Path(__file__).parents[1] / "programs"
INVALID_HANDLE, LAUNCH_FAILED, CARVEOUT = 400, 719, 9
BLOCKS = 300


def kernel(name: str, counter: str = "[%d1]") -> str:
    """Adds one to a word of each block (or to `counter`), after so many turns of a loop."""
    return f"""
.visible .entry {name}(.param .u64 data, .param .u32 loops)
{{
    .reg .u64 %d<2>;
    .reg .u32 %r<4>;
    .reg .pred %p0;
    ld.param.u64 %d0, [data];
    ld.param.u32 %r0, [loops];
    mov.u32 %r1, %ctaid.x;
    mul.wide.u32 %d1, %r1, 4;
    add.u64 %d1, %d0, %d1;
    red.global.add.u32 {counter}, 1;
again:
    sub.u32 %r0, %r0, 1;
    xor.b32 %r2, %r2, %r0;
    st.volatile.global.u32 [%d0+4096], %r2;
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra again;
    ret;
}}
"""


def ptx(*names: str) -> bytes:
    return (kernels.HEAD + "".join(map(kernel, names))).encode()


SPIN = kernels.image("spin", "fail")


class Gate:
    """What holds the executor up, and what its driver was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def close(self, name: str) -> None:
        """From now on: `rewriting` or `loading` waits, or the driver is `refusing`."""
        (self.folder / name).touch()

    def open(self, name: str) -> None:
        (self.folder / name).unlink()

    def wait(self, name: str) -> None:
        """Until somebody stands at it."""
        path = self.folder / f"{name}.waits"
        wait_until(path.exists, f"somebody at {name}")
        path.unlink()

    def told(self) -> list[str]:
        path = self.folder / "told"
        return path.read_text().splitlines() if path.exists() else []

    def count(self, word: str) -> int:
        return sum(line.split()[0] == word and "failed" not in line for line in self.told())


@contextmanager
def gated(folder: Path, *options: str) -> Iterator[tuple[ExecutorProcess, Gate]]:
    softgpu = paths.softgpu_library()
    assert softgpu is not None
    build = ("-shared", "-fPIC", str(softgpu), f"-Wl,-rpath,{softgpu.parent}")
    driver = compile_c(PROGRAMS / "gated.c", build)
    env = {"TALLY_TEST_GATE": str(folder), "PYTHONPATH": str(SUPPORT / "gated_site")}
    options = (f"--driver={driver}", "--soft-memory-bytes=1073741824", *options)
    with ExecutorProcess(*options, env=env) as executor:
        executor.wait_event("ready")
        yield executor, Gate(folder)


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[ExecutorProcess]:
    with gated(tmp_path) as (process, _):
        yield process


@pytest.fixture
def gate(executor: ExecutorProcess, tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def memory(client: Client) -> int:
    data = client.alloc(8192)
    client.write(data, bytes(8192))
    client.sync()
    return data


def is_stopped(executor: ExecutorProcess, client: Client, function: int, data: int) -> bool:
    """Whether a high launch stops one of the function; each block runs once more."""
    before = counters(executor, client)
    with executor.client(kind="high") as high:
        spin, _ = high.function(high.load(SPIN), "spin")
        flag = high.alloc(4)
        streams = (high.stream(1), high.stream(1))
        high.write(flag, bytes(4), stream=streams[1])
        high.sync(streams[1])
        client.launch(function, struct.pack("QI", data, 3_000_000), grid=(BLOCKS, 1, 1))
        started = before["starts"]
        wait_until(lambda: counters(executor, client)["starts"] > started, "the start")
        high.launch(spin, struct.pack("Q", flag), stream=streams[0])
        deadline_s = time.monotonic() + 1
        stops = before["preemptions"]
        while time.monotonic() < deadline_s and counters(executor, client)["preemptions"] == stops:
            time.sleep(0.01)
        stopped = counters(executor, client)["preemptions"] > stops
        high.write(flag, b"\1\0\0\0", stream=streams[1])
        high.sync_all()
        client.sync()
    return stopped


def test_launches_do_not_wait_and_can_be_stopped_later(
    executor: ExecutorProcess, gate: Gate
) -> None:
    gate.close("rewriting")
    with executor.client() as client:
        count, _ = client.function(client.load(ptx("count")), "count")
        gate.wait("rewriting")
        data = memory(client)
        for _ in range(20):
            client.launch(count, struct.pack("QI", data, 1), grid=(2 * BLOCKS, 1, 1))
        client.sync()
        assert client.read(data, 8 * BLOCKS) == struct.pack("I", 20) * 2 * BLOCKS
        assert counters(executor, client)["starts"] == 20
        assert counters(executor, client)["rewrites"] == 0
        gate.open("rewriting")
        wait_until(lambda: counters(executor, client)["rewrites"] == 1, "the forms")
        assert is_stopped(executor, client, count, data)
        assert client.read(data, 4 * BLOCKS) == struct.pack("I", 21) * BLOCKS
        assert gate.told() == ["load count", "load count__tallyguard", "load spin", "unload"]


def test_sessions_take_turns(executor: ExecutorProcess, gate: Gate) -> None:
    gate.close("rewriting")
    with executor.client() as busy, executor.client() as other:
        for name in ("first", "second", "third"):
            busy.load(ptx(name))
        gate.wait("rewriting")
        other.load(ptx("others"))
        gate.open("rewriting")
        wait_until(lambda: gate.count("load") == 8, "all forms")
        forms = [line.removeprefix("load ") for line in gate.told() if "__tally" in line]
        names = ("first", "others", "second", "third")
        assert forms == [f"{name}__tallyguard" for name in names]
        assert counters(executor, busy)["rewrites"] == 3


def test_a_client_that_dies_meanwhile(executor: ExecutorProcess, gate: Gate) -> None:
    """One image is being rewritten, another one waits for that: the session ends all the same."""
    gate.close("rewriting")
    client = Client(executor.open())
    for name in ("first", "second"):
        client.load(ptx(name))
    gate.wait("rewriting")
    client.close(bye=False)
    executor.wait_event("closed", client.session)
    gate.open("rewriting")
    with executor.client() as other:  # the first image's forms are known by now, and taken
        other.load(ptx("first"))
        wait_until(lambda: counters(executor, other)["rewrites"] == 1, "the forms")
    assert gate.told()[:4] == ["load first", "load second", "unload", "unload"]
    assert gate.told()[4:] == ["load first", "load first__tallyguard", "unload", "unload"]


def test_a_client_that_dies_while_forms_are_loaded(executor: ExecutorProcess, gate: Gate) -> None:
    gate.close("loading")
    client = Client(executor.open())
    client.load(ptx("count"))
    gate.wait("loading")
    client.close(bye=False)
    time.sleep(0.1)  # time to do it wrong: what is loaded belongs to the session
    gate.open("loading")
    executor.wait_event("closed", client.session)
    assert gate.count("unload") == gate.count("load")
    assert not any("unload failed" in line for line in gate.told())


@pytest.mark.parametrize("place", ["rewriting", "loading"])
def test_a_module_that_is_unloaded_meanwhile(
    executor: ExecutorProcess, gate: Gate, place: str
) -> None:
    with executor.client() as client:
        gate.close(place)
        modules = [client.load(ptx(name)) for name in ("first", "second")]
        gate.wait(place)
        functions = [client.function(module, "first")[0] for module in modules[:1]]
        for module in modules:
            client.send("MODULE_UNLOAD", "tally_op_module_unload", module=module)
        data = memory(client)
        client.launch(functions[0], struct.pack("QI", data, 1))
        client.sync()
        assert client.async_errors == [INVALID_HANDLE]
        gate.open(place)
        count, _ = client.function(client.load(ptx("count")), "count")
        wait_until(lambda: "load count__tallyguard" in gate.told(), "the last forms")
        assert "load second__tallyguard" not in gate.told()
        assert is_stopped(executor, client, count, data)
    assert gate.count("unload") == gate.count("load")
    assert not any("unload failed" in line for line in gate.told())


def test_forms_that_the_driver_refuses(executor: ExecutorProcess, gate: Gate) -> None:
    gate.close("refusing")
    with executor.client() as client:
        count, _ = client.function(client.load(ptx("count")), "count")
        wait_until(lambda: counters(executor, client)["rewrites_refused"] == 1, "the refusal")
        data = memory(client)
        assert not is_stopped(executor, client, count, data)
        assert client.read(data, 4 * BLOCKS) == struct.pack("I", 1) * BLOCKS
        gate.open("refusing")
        client.load(ptx("count", "another"))
        wait_until(lambda: counters(executor, client)["rewrites"] == 1, "the others")


def test_a_fault_is_not_the_forms_fault(executor: ExecutorProcess, gate: Gate) -> None:
    client = Client(executor.open())
    gate.close("loading")
    client.load(ptx("count"))
    gate.wait("loading")
    fail, _ = client.function(client.load(SPIN), "fail")
    client.launch(fail)
    with pytest.raises(CudaError) as error:
        client.sync()
    assert error.value.result == LAUNCH_FAILED
    gate.open("loading")
    wait_until(lambda: "load count__tallyguard failed" in gate.told(), "the attempt")
    client.close()
    stats = executor.wait_event("closed", client.session)["stats"]["counters"]
    assert stats["rewrites_refused"] == 0


def test_what_is_set_of_a_kernel_is_set_of_its_forms(executor: ExecutorProcess, gate: Gate) -> None:
    with executor.client() as client:
        gate.close("rewriting")
        count, _ = client.function(client.load(ptx("count")), "count")
        client.driver_call("cuFuncSetAttribute", struct.pack("QII", count, CARVEOUT, 40))
        gate.open("rewriting")
        wait_until(lambda: counters(executor, client)["rewrites"] == 1, "the forms")
        client.launch(count, struct.pack("QI", memory(client), 1))
        client.driver_call("cuFuncSetCacheConfig", struct.pack("QQ", count, 2), one_way=True)
        client.sync()
        names = ("count", "count__tallyguard", "count__tallysub")
        told = dict.fromkeys(line for line in gate.told() if not line.startswith("load"))
        assert list(told) == [
            *(f"attribute {CARVEOUT} of {name} is 40" for name in names),
            *(f"cache of {name} is 2" for name in names),
        ]


COUNTER = (kernels.HEAD + ".global .align 4 .u32 total;\n" + kernel("count", "[total]")).encode()


def total_of(client: Client, module: int) -> int:
    """The variable of COUNTER."""
    reply = client.call(
        "GET_GLOBAL", "tally_op_get_global", "tally_reply_get_global", b"total",
        module=module, name_bytes=5,
    )  # fmt: skip
    return int.from_bytes(client.read(reply.address, 4), "little")


def test_forms_use_the_variables_of_their_kernels(executor: ExecutorProcess, gate: Gate) -> None:
    with executor.client() as client, executor.client() as other:
        module, theirs = client.load(COUNTER), other.load(COUNTER)
        for owner in (client, other):
            wait_until(lambda owner=owner: counters(executor, owner)["rewrites"] == 1, "the forms")
        assert gate.count("load") == 4
        count, _ = client.function(module, "count")
        assert is_stopped(executor, client, count, memory(client))
        assert total_of(client, module) == BLOCKS
        assert total_of(other, theirs) == 0


def test_constants_are_in_one_module_with_all_forms(executor: ExecutorProcess, gate: Gate) -> None:
    """Loading waits until these are there."""
    gate.close("loading")
    text = kernels.HEAD + ".const .align 4 .u32 step = 7;\n" + kernel("count")
    text = text.replace("red.global.add.u32 [%d1], 1", "ld.const.u32 %r3, [step];\n"
                        "red.global.add.u32 [%d1], %r3")  # fmt: skip
    with executor.client() as client:
        loading = client.begin_load(text.encode())
        gate.wait("loading")
        assert not client.poll(loading.number)
        gate.open("loading")
        client.finish(loading.number)
        assert counters(executor, client)["rewrites"] == 1
        assert gate.told() == ["load count"]
        count, data = client.function(loading.module, "count")[0], memory(client)
        assert is_stopped(executor, client, count, data)
        assert client.read(data, 4 * BLOCKS) == struct.pack("I", 7) * BLOCKS


def test_a_module_that_is_unloaded_while_its_variables_are_looked_for(
    executor: ExecutorProcess, gate: Gate
) -> None:
    """It is unloaded after that: a driver's module must not go while it is asked something."""
    with executor.client() as client:
        gate.close("looking")
        module = client.load(COUNTER)
        gate.wait("looking")
        client.send("MODULE_UNLOAD", "tally_op_module_unload", module=module)
        time.sleep(0.1)  # time to do it wrong
        assert gate.told() == ["load count"]
        gate.open("looking")
        client.sync()
        wait_until(lambda: gate.count("unload") == gate.count("load"), "both are unloaded")
        module = client.load(COUNTER)
        wait_until(lambda: counters(executor, client)["rewrites"] > 0, "the forms")
    assert gate.count("unload") == gate.count("load")


@pytest.mark.parametrize("kinds", [(1,), (2, 1)])
def test_kernels_are_the_code_that_their_forms_are(
    executor: ExecutorProcess, gate: Gate, kinds: tuple[int, ...]
) -> None:
    """Beside machine code in a fatbin it is the PTX that is loaded, as forms are made of that."""
    body = b""
    for kind in kinds:
        code = ptx("count") if kind == 1 else b"\x7fELF" + bytes(100)
        code += bytes(-len(code) % 8)
        body += struct.pack("<HHIIIIIIIIIQQQ", kind, 0x101, 64, len(code), 0, 0, 0, 0, 80, 64, 0,
                            0, 0, 0) + code  # fmt: skip
    with executor.client() as client:
        client.load(struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body)
        wait_until(lambda: counters(executor, client)["rewrites"] == 1, "the forms")
    loaded = "-" if kinds == (1,) else "count"
    assert gate.told()[:2] == [f"load {loaded}", "load count__tallyguard"]


def test_the_end_does_not_wait_for_rewriting(executor: ExecutorProcess, gate: Gate) -> None:
    gate.close("rewriting")
    client = Client(executor.open())
    for name in ("first", "second"):
        client.load(ptx(name))
    gate.wait("rewriting")
    executor.process.send_signal(signal.SIGTERM)
    assert executor.process.wait(5) == 0
    client.close()
    assert gate.told() == ["load first", "load second", "unload", "unload"]


def test_what_is_on_disk_is_not_rewritten(tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        with gated(folder, f"--state-dir={tmp_path}") as (executor, gate):
            if number:
                gate.close("rewriting")
            with executor.client() as client:
                client.load(ptx("count"))
                wait_until(lambda: counters(executor, client)["rewrites"] == 1, "the forms")
