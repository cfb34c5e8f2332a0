"""A session's thread that comes too late with a start: high has come since it was decided."""

from __future__ import annotations

import time

import pytest
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
