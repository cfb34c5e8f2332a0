"""A kernel whose blocks wait for one another, which nobody sees: it hangs once it is stopped, and
the watchdog lets it end, late but right.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import kernels
from support.client import Client, wait_until
from support.executor import ExecutorProcess

from tally.scheduler.plans import Ability
from tally.scheduler.profiles import FILE_NAME, ProfileStore
from tally.scheduler.ptx.classify import Treatment, classify
from tally.scheduler.ptx.module import Module

BLOCKS = 400
# The first block waits for the last one. The loop moves the address on and back again, which to the
# detector is a walk through memory.
PTX = kernels.image("first_waits", "quick")


@pytest.fixture(params=["soft", "events"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ExecutorProcess]:
    options = ["--event-timing"] if request.param == "events" else []
    with ExecutorProcess(
        *("--soft-workers=2", "--watchdog-times=5", "--watchdog-seconds-min=0.2"),
        *(f"--state-dir={tmp_path}", *options),
    ) as process:
        process.wait_event("ready")
        yield process


class Waiting:
    """A best-effort session with such a kernel, beside a high one."""

    def __init__(self, executor: ExecutorProcess, high: Client, low: Client) -> None:
        self.executor, self.high, self.low = executor, high, low
        self.quick, _ = high.function(high.load(PTX), "quick")
        self.kernel, _ = low.function(low.load(PTX), "first_waits")
        self.data = low.alloc(16384)

    def counters(self) -> dict[str, int]:
        found: dict[str, int] = self.executor.stats()[str(self.low.session)]["counters"]
        return found

    def run(self, loops: int) -> int:
        """One launch, with high requests until it ends; how often it was stopped."""
        before = self.counters()["preemptions"]
        self.low.write(self.data, bytes(16384))
        self.low.sync()
        self.low.launch(self.kernel, struct.pack("QI", self.data, loops), grid=(BLOCKS, 1, 1))
        done = self.low.begin("CTX_SYNC", "tally_op")
        while not self.low.poll(done):
            self.high.launch(self.quick)
            self.high.sync()
            time.sleep(0.005)
        self.low.finish(done)
        ran = struct.unpack(f"{BLOCKS}I", self.low.read(self.data, 4 * BLOCKS))
        assert ran == (1,) * BLOCKS, "each block once"
        return self.counters()["preemptions"] - before


def test_nobody_sees_this_wait() -> None:
    module = Module.parse(PTX.decode())
    assert classify(module)["first_waits"].treatment is Treatment.PREEMPT


@pytest.mark.timeout(120)
def test_what_does_not_stop_is_rescued_and_never_stopped_again(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    with executor.client(kind="high") as high, executor.client(name="waiter") as low:
        waiting = Waiting(executor, high, low)
        wait_until(lambda: waiting.counters()["rewrites"] == 1, "the forms")
        for _ in range(10):
            waiting.run(20_000)
            schedule = executor.request("stats")["schedule"]
            if schedule["rescues"]:
                break
        assert schedule["rescues"] == 1
        named = {"session": low.session, "job": "waiter", "kernel": "first_waits"}
        assert schedule["rescued"] == [named]
        for _ in range(3):
            assert waiting.run(20_000) == 0, "it runs whole"
        assert executor.request("stats")["schedule"]["rescues"] == 1
        waiting.low.launch(waiting.kernel, struct.pack("QI", waiting.data, 2), grid=(8, 1, 1))
        low.sync()  # and others of the session go on
    executor.request("shutdown")
    executor.process.wait(timeout=30)
    profiles = ProfileStore(tmp_path / FILE_NAME).load()
    known = [p for p in profiles if f"{BLOCKS}" in p.shape]
    assert [Ability.WAITS in p.record.abilities for p in known] == [True], "also after a restart"


@pytest.mark.timeout(120)
def test_a_session_may_end_while_it_is_rescued(executor: ExecutorProcess) -> None:
    with executor.client(kind="high") as high:
        opened = executor.open()
        low = Client(opened)
        waiting = Waiting(executor, high, low)
        wait_until(lambda: waiting.counters()["rewrites"] == 1, "the forms")
        stop = threading.Event()
        low.launch(waiting.kernel, struct.pack("QI", waiting.data, 10**6), grid=(BLOCKS, 1, 1))
        while not executor.request("stats")["schedule"]["rescues"] and not stop.is_set():
            high.launch(waiting.quick)
            high.sync()
            time.sleep(0.005)
        low.close(bye=False)
        executor.wait_event("closed", opened["session"])
        high.launch(waiting.quick)
        high.sync()
