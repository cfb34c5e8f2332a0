"""High work is seen for as long as it is with the device, however much of it there is; no
best-effort launch goes beside it by having many streams or by waiting for one of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support import kernels
from support.client import LEGACY, Client, wait_until
from support.executor import ExecutorProcess
from support.sessions import Words, counters

PTX = kernels.image("hold", "add")
STARTS_MAX_S = 0.1  # what would start does so within a millisecond


def never_starts(executor: ExecutorProcess, client: Client) -> None:
    deadline_s = time.monotonic() + STARTS_MAX_S
    while time.monotonic() < deadline_s:
        assert counters(executor, client)["starts"] == 0, "best-effort work started beside high's"
        time.sleep(0.01)


def many_launches(high: Words) -> int:
    for _ in range(1100):  # SESSION_LAUNCHES_MAX and some
        high.launch(high.add, 8)
    return LEGACY


def many_streams(high: Words) -> int:
    streams = [high.client.stream(1) for _ in range(300)]  # SESSION_QUEUES_MAX and some
    for stream in streams:
        high.client.value(stream, high.words + 16, 1, wait=True)
        high.launch(high.add, 8, stream)
    return streams[-1]


def a_waiting_stream(high: Words) -> int:
    waiting, other = high.client.stream(1), high.client.stream(1)
    high.client.value(waiting, high.words + 64, 1, wait=True)
    return other


@pytest.mark.parametrize("beyond", [many_launches, many_streams, a_waiting_stream])
def test_high_work_is_seen_to_its_end(
    executor: ExecutorProcess, beyond: Callable[[Words], int]
) -> None:
    with executor.client(kind="high") as client, executor.client() as other:
        high, low = Words(client), Words(other)
        before = counters(executor, other)["starts"]
        assert before == 0, "nothing was launched yet"
        high.launch(high.hold, 0)
        stream = beyond(high)
        high.launch(high.hold, 2, stream)  # behind it all
        high.release(0)
        high.release(4)
        wait_until(lambda: high.word(3) == 1, "the last launch runs")
        low.launch(low.add, 8)
        never_starts(executor, other)
        high.release(2)
        high.release(16)
        other.sync()
        assert low.word(8) == 1
        client.sync_all()
        wait_until(lambda: idle(executor, client), "everything is counted to its end")


def idle(executor: ExecutorProcess, client: Client) -> bool:
    """Whether the scheduler has nothing of the session: its launches have all been started."""
    return counters(executor, client)["starts"] == counters(executor, client)["launches"]


def test_launches_of_many_streams_have_their_turn(executor: ExecutorProcess) -> None:
    with executor.client(kind="high") as client, executor.client() as other:
        high, low = Words(client), Words(other)
        high.launch(high.hold, 0)
        wait_until(lambda: high.word(1) == 1, "high runs")
        streams = [other.stream(1) for _ in range(300)]
        for stream in streams:
            low.launch(low.add, 8, stream)
        never_starts(executor, other)
        high.release(0)
        other.sync_all()
        assert low.word(8) == 300
        assert counters(executor, other)["starts"] == 300, "and all are accounted for"


def test_a_launch_that_another_stream_waits_for_is_in_the_books(executor: ExecutorProcess) -> None:
    """A kernel that waits for one behind it in another stream: held back at first, then let go."""
    with executor.client(kind="high") as client, executor.client() as other:
        high, low = Words(client), Words(other)
        first, second = other.stream(1), other.stream(1)
        low.launch(low.hold, 0, first)
        wait_until(lambda: counters(executor, other)["starts"] == 1, "it is with the device")
        high.launch(high.hold, 0)
        low.launch(low.add, 0, second)  # releases it
        time.sleep(STARTS_MAX_S)
        assert counters(executor, other)["starts"] == 1, "not while high runs"
        high.release(0)
        other.sync_all()
        assert counters(executor, other)["starts"] == 2


def test_what_waits_for_a_value_has_its_turn_too(executor: ExecutorProcess) -> None:
    """Launches and copies of a session that waits for a value: none beside high, all in the end."""
    with executor.client(kind="high") as client, executor.client() as other:
        high, low = Words(client), Words(other)
        waiting, free = other.stream(1), other.stream(1)
        high.launch(high.hold, 0)
        wait_until(lambda: high.word(1) == 1, "high runs")
        other.value(waiting, low.words + 64, 1, wait=True)
        for stream in (waiting, free, waiting, LEGACY):
            low.launch(low.add, 8, stream)
        other.send("MEMSET", "tally_op_memset", stream=waiting, dst=low.words + 128, height=1,
                   width=4, element_bytes=1, value=1)  # fmt: skip
        never_starts(executor, other)
        assert executor.request("validate")["wrong"] is None
        other.value(other.stream(1), low.words + 64, 1)
        never_starts(executor, other)
        high.release(0)
        other.sync_all()
        assert (low.word(8), low.word(32)) == (4, 0x01010101)
        assert counters(executor, other)["starts"] == 4, "and all are accounted for"
        low.launch(low.add, 8, free)  # as ever
        other.sync_all()
        assert low.word(8) == 5
        assert executor.request("validate")["wrong"] is None


def test_a_session_that_dies_behind_a_wait_leaves_nothing(executor: ExecutorProcess) -> None:
    with executor.client() as other:
        low = Words(other)
        doomed = Client(executor.open())
        its = Words(doomed)
        stream = doomed.stream(1)
        doomed.value(stream, its.words + 64, 1, wait=True)
        for _ in range(20):
            its.launch(its.add, 8, stream)
        doomed.function(doomed.load(PTX), "add")  # answered once they are with the device
        doomed.close(bye=False)
        executor.wait_event("closed", doomed.session)
        assert executor.request("validate")["wrong"] is None
        low.launch(low.add, 8)
        other.sync()
        assert low.word(8) == 1


def test_there_is_a_limit_of_what_may_wait_and_it_is_told(executor: ExecutorProcess) -> None:
    with executor.client() as other:
        low = Words(other)
        stream = other.stream(1)
        other.value(stream, low.words + 64, 1, wait=True)
        for _ in range(4100):  # GATES_MAX and some
            low.launch(low.add, 8, stream)
        other.value(low.side, low.words + 64, 1)
        other.sync(low.side)
        other.sync(stream)
        assert set(other.async_errors) == {2}
        assert low.word(8) == 4096
        assert b"cuStreamWaitValue" in other.stderr
