"""Words that wait for kernels of other sessions, by name: they go whoever has the device."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from support.client import Client, wait_until
from support.executor import ExecutorProcess
from support.sessions import counters

NAMES = ["ncclDevKernel_AllReduce", "_Z22ncclDevKernel_Broadcastv", "mine_meets"]
PATTERNS = "*ncclDevKernel*,mine_*"
KERNELS = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry {name}(.param .u64 word)
{{
    .reg .u64 %d0;
    ld.param.u64 %d0, [word];
    red.global.add.u32 [%d0], 1;
    ret;
}}
.visible .entry hold(.param .u64 flag)
{{
    .reg .u64 %d0;
    .reg .u32 %r0;
    .reg .pred %p0;
    ld.param.u64 %d0, [flag];
again:
    ld.volatile.global.u32 %r0, [%d0];
    setp.eq.u32 %p0, %r0, 0;
    @%p0 bra again;
    ret;
}}
"""


@pytest.fixture
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess("--soft-workers=4", f"--waiting-kernels={PATTERNS}") as process:
        process.wait_event("ready")
        yield process


class Holder:
    """A session whose kernel has the device until it is let go."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.hold, _ = client.function(client.load(KERNELS.format(name="x").encode()), "hold")
        self.flag = client.alloc(4)
        self.streams = client.stream(1), client.stream(1)
        client.write(self.flag, bytes(4), stream=self.streams[1])
        client.sync(self.streams[1])
        client.launch(self.hold, struct.pack("Q", self.flag), stream=self.streams[0])

    def release(self) -> None:
        self.client.write(self.flag, b"\1\0\0\0", stream=self.streams[1])
        self.client.sync_all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("policy", "holder"),
    [
        ("tally", "high"), ("tally", "best-effort"), ("kernel", "high"), ("kernel", "best-effort"),
        ("timeslice", "best-effort"),
    ],
)  # fmt: skip
def test_it_takes_no_turn(executor: ExecutorProcess, policy: str, holder: str, name: str) -> None:
    executor.request("policy", policy=policy)
    image = KERNELS.format(name=name).encode()
    with executor.client(kind=holder) as other, executor.client() as client:
        word = client.alloc(4)
        client.write(word, bytes(4))
        client.sync()
        module = client.load(image)
        kernel, _ = client.function(module, name)
        ordinary, _ = client.function(module, "hold")
        held = Holder(other)
        wait_until(lambda: counters(executor, other)["launches"] == 1, "the holder")
        charged = counters(executor, client)["scheduled_ns"]
        client.launch(kernel, struct.pack("Q", word))
        client.sync()  # while the other one has the device
        assert counters(executor, client)["scheduled_ns"] == charged, "it is not charged"
        # Any other kernel waits for its turn; this one ends at once, as the word is 1 by now.
        client.launch(ordinary, struct.pack("Q", word))
        done = client.begin("CTX_SYNC", "tally_op")
        with pytest.raises(AssertionError):
            wait_until(lambda: client.poll(done), "what is held back", timeout_s=0.5)
        held.release()
        client.finish(done)
        assert client.read(word, 4) == b"\1\0\0\0"


def test_what_fits_no_pattern_has_its_turn() -> None:
    with ExecutorProcess("--soft-workers=4", "--waiting-kernels=") as executor:
        executor.wait_event("ready")
        with executor.client(kind="high") as high, executor.client() as client:
            word = client.alloc(4)
            kernel, _ = client.function(
                client.load(KERNELS.format(name=NAMES[0]).encode()), NAMES[0]
            )
            held = Holder(high)
            wait_until(lambda: counters(executor, high)["launches"] == 1, "the holder")
            client.launch(kernel, struct.pack("Q", word))
            done = client.begin("CTX_SYNC", "tally_op")
            with pytest.raises(AssertionError):
                wait_until(lambda: client.poll(done), "what is held back", timeout_s=0.5)
            held.release()
            client.finish(done)


@pytest.mark.parametrize("policy", ["tally", "kernel", "timeslice"])
def test_who_holds_whom_up_is_told(policy: str) -> None:
    """Two kernels of which one waits for the other, under names that fit no pattern."""
    options = ("--soft-workers=4", "--held-up-seconds-min=0.2", f"--policy={policy}")
    with ExecutorProcess(*options) as executor:
        executor.wait_event("ready")

        def told() -> list[dict[str, Any]]:
            result: list[dict[str, Any]] = executor.request("stats")["schedule"]["held_up"]
            return result

        with executor.client(name="stays") as other, executor.client(name="waits") as client:
            word = client.alloc(4)
            client.write(word, b"\1\0\0\0")
            client.sync()
            module = client.load(KERNELS.format(name="x").encode())
            kernel, _ = client.function(module, "hold")
            held = Holder(other)
            wait_until(lambda: counters(executor, other)["launches"] == 1, "the holder")
            assert told() == [], "nobody waits"
            client.launch(kernel, struct.pack("Q", word))
            done = client.begin("CTX_SYNC", "tally_op")
            wait_until(told, "the line")
            (entry,) = told()
            assert entry.pop("waited_ns") >= 200_000_000
            assert entry.pop("stayed_ns") >= 200_000_000
            assert entry == {
                "session": client.session,
                "job": "waits",
                "by_session": other.session,
                "by_job": "stays",
                "kernel": "hold",
            }
            held.release()
            client.finish(done)
            assert told() == []
