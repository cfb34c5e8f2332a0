"""A session's thread that comes too late with a start: high has come since it was decided."""

from __future__ import annotations

import time

import pytest
from support.client import Client, ExecutorProcess, wait_until
from support.ptrace import held, threads
from support.sessions import Words, counters

WARM_UP = 20  # launches, until the kernel is known to be too short to be worth stopping


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
        for _ in range(WARM_UP):
            low.launch(low.add, 8)
            other.sync()
        before = counters(executor, other)
        (thread,) = threads(executor.process.pid, f"tally-s{other.session}")
        occupy(high, 0)
        low.launch(low.add, 9)
        wait_until(lambda: waits(executor, other), "the launch waits for its turn")
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
        assert (low.word(8), low.word(9)) == (WARM_UP, 1)
        assert (of_low("starts"), of_low("launches")) == (1, 1)
        assert executor.request("validate")["wrong"] is None
