"""A session's thread that comes too late with a start: high has come since it was decided."""

from __future__ import annotations

import struct
import time

import pytest
from support import kernels
from support.client import Client, wait_until
from support.executor import ExecutorProcess
from support.ptrace import held, threads
from support.sessions import Words, counters

LETS_GO = 8  # a word that is set: the kernel that waits for it cannot be stopped, and is short


def occupy(high: Words, word: int) -> None:
    """From here on a kernel of high runs, until its word is released."""
    high.launch(high.hold, word)
    wait_until(lambda: high.word(word + 1) == 1, "high runs")


def waits(executor: ExecutorProcess, client: Client) -> bool:
    """A launch of the client is held back: its thread has released the schedule's lock."""
    return int(executor.stats()[str(client.session)]["gauges"]["waiting_ns"]) > 0


@pytest.mark.parametrize("policy", ["tally", "kernel"])
def test_a_start_that_comes_too_late_is_not_made(executor: ExecutorProcess, policy: str) -> None:
    assert executor.request("policy", policy=policy)["ok"]
    with executor.client(kind="high") as client, executor.client() as other:

        def of_low(name: str) -> int:
            return counters(executor, other)[name] - before[name]

        high, low = Words(client), Words(other)
        low.release(LETS_GO)
        low.launch(low.hold, LETS_GO)
        other.sync()
        (thread,) = threads(executor.process.pid, f"tally-s{other.session}")
        occupy(high, 0)
        low.launch(low.hold, LETS_GO)
        wait_until(lambda: waits(executor, other), "the launch waits for its turn")
        before = counters(executor, other)  # of the first launch all is known: none is under way
        with held(thread):
            assert of_low("starts") == 0
            high.release(0)
            wait_until(lambda: of_low("starts") == 1, "the gap is used")
            occupy(high, 2)
        wait_until(lambda: of_low("starts") == 0, "the start is taken back")
        assert executor.request("validate")["wrong"] is None
        time.sleep(0.02)  # a start that was made would have run by now
        assert executor.request("validate")["wrong"] is None
        assert of_low("scheduled_ns") == 0, "it ran beside high"
        high.release(2)
        other.sync()
        assert low.word(LETS_GO + 1) == 2
        assert of_low("starts") == 1
        assert executor.request("validate")["wrong"] is None


LONG_NS, SHORT_BLOCKS, LONG_BLOCKS = 20_000_000, 8, 9  # blocks of a short kernel, of a long one


def test_several_starts_go_back_together(executor: ExecutorProcess) -> None:
    """Of launches that were let go one behind the other, none may be made ahead of another.

    Two short kernels behind a long one go through its guard. They are stopped, and are to be
    started again when high comes once more.
    """
    with executor.client(kind="high") as client, executor.client() as other:

        def of_low(name: str) -> int:
            return counters(executor, other)[name] - before[name]

        def linger(word: int, blocks: int, nanoseconds: int) -> None:
            params = struct.pack("QQ", words + 4 * word, nanoseconds)
            other.launch(lingers, params, grid=(blocks, 1, 1))

        high = Words(client)
        module = other.load(kernels.image("linger", "after"))
        lingers, _ = other.function(module, "linger")
        after, _ = other.function(module, "after")
        words = other.alloc(4096)
        other.write(words, bytes(4096))
        other.sync()
        wait_until(lambda: counters(executor, other)["rewrites"] >= 1, "the forms")
        for _ in range(20):  # until one is known to be worth stopping, and the others are not
            linger(8, LONG_BLOCKS, 2_000_000)
            linger(9, SHORT_BLOCKS, 0)
            other.launch(after, struct.pack("Q", words + 4 * 10))
            other.sync()
        before = counters(executor, other)
        (thread,) = threads(executor.process.pid, f"tally-s{other.session}")
        linger(0, LONG_BLOCKS, LONG_NS)
        linger(1, SHORT_BLOCKS, LONG_NS)
        other.launch(after, struct.pack("Q", words + 4))
        wait_until(lambda: of_low("starts") == 3, "the long one has ended")
        occupy(high, 0)
        wait_until(lambda: of_low("preemptions") == 2, "both are stopped")
        with held(thread):
            high.release(0)
            wait_until(lambda: of_low("starts") == 5, "both are to be started again")
            occupy(high, 2)
        wait_until(lambda: of_low("starts") == 3, "both starts are taken back")
        assert executor.request("validate")["wrong"] is None
        high.release(2)
        other.sync()
        first, second, seen = struct.unpack("3I", other.read(words, 12))
        assert (first, second, seen) == (LONG_BLOCKS, SHORT_BLOCKS, SHORT_BLOCKS)
        assert executor.request("validate")["wrong"] is None
