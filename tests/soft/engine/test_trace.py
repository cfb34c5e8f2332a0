"""Recording in an engine: every launch once, its times in order; nothing while it is off."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from support.client import Client, wait_until
from support.executor import ExecutorProcess
from support.sessions import Busy, Recording, counters, counting

from tally._native import lib
from tally.scheduler.sim.recording import GUARDED

BLOCKS = 300


def count_blocks(client: Client, function: int, data: int, loops: int, grid: int) -> None:
    client.launch(function, struct.pack("QI", data, loops), grid=(grid, 1, 1), block=(2, 1, 1))


@pytest.mark.parametrize("kind", ["high", "best-effort"])
def test_every_launch_is_recorded_once(executor: ExecutorProcess, kind: str) -> None:
    with executor.client(kind=kind, name="web") as client:
        count, data = counting(client)
        count_blocks(client, count, data, 10, 4)
        client.sync()
        recording = Recording(executor)
        began_ns = time.monotonic_ns()
        for turn in range(60):
            count_blocks(client, count, data, 10, 4 if turn % 3 else 6)
        client.sync()
        ended_ns = time.monotonic_ns()
        recording.wait_launches(60)
        launches = recording.launches
        assert len(launches) == 60
        (session,) = recording.sessions.values()
        assert (session["name"], session["class"], session["id"]) == ("web", kind, "j1")
        assert set(launches["session"]) == {session["session"]}
        for earlier, later in (
            ("submit_ns", "issue_ns"),
            ("submit_ns", "start_ns"),
            ("start_ns", "end_ns"),
        ):
            assert (launches[earlier] <= launches[later]).all(), (earlier, later)
        assert (launches["submit_ns"] >= began_ns).all()
        if recording.times == "reported":  # else an end counts when it is noticed
            assert (launches["end_ns"] <= ended_ns).all()
        assert (np.diff(np.sort(launches["submit_ns"]).astype(np.int64)) > 0).all()
        assert (launches["device_ns"] > 0).all()
        shapes = {
            tuple(recording.kernels[int(signature)]["grid"]): int(number)
            for signature, number in zip(
                *np.unique(launches["signature"], return_counts=True), strict=True
            )
        }
        assert shapes == {(4, 1, 1): 40, (6, 1, 1): 20}
        for kernel in recording.kernels.values():
            assert kernel["name"] == "count" and kernel["block"] == [2, 1, 1]
            assert kernel["blocks_per_sm"] == 1, "as softgpu says"
            assert (kernel["abilities"] != 0) == (kind == "best-effort"), "high is not rewritten"
        recording.stop()
        count_blocks(client, count, data, 10, 4)
        client.sync()
        again = Recording(executor)
        again.read()
        assert len(again.records) == 0, "what ran while nobody recorded is not there"


def test_requests_are_from_the_first_work_to_the_return_of_the_wait(
    executor: ExecutorProcess,
) -> None:
    with executor.client(kind="high") as client:
        count, data = counting(client)
        recording = Recording(executor)
        spans = []
        for _ in range(5):
            began_ns = time.monotonic_ns()
            for _ in range(3):
                count_blocks(client, count, data, 10, 4)
            client.sync()
            spans.append((began_ns, time.monotonic_ns()))
        recording.wait_launches(15)
        requests = recording.of(lib.TALLY_TRACE_REQUEST)
        assert len(requests) == 5
        for request, (began_ns, ended_ns) in zip(requests, spans, strict=True):
            assert began_ns <= request["submit_ns"] < request["end_ns"] <= ended_ns
            inside = [
                request["submit_ns"] <= launch["submit_ns"] <= request["end_ns"]
                for launch in recording.launches
            ]
            assert sum(inside) == 3


def test_a_preempted_launch_is_one_launch(executor: ExecutorProcess) -> None:
    with executor.client(kind="high") as high:
        busy = Busy(high)
        opened = executor.open()
        client = Client(opened)
        count, data = counting(client)
        wait_until(lambda: counters(executor, opened["session"])["rewrites"] == 1, "the forms")
        recording = Recording(executor)
        count_blocks(client, count, data, 3000000, BLOCKS)
        wait_until(lambda: counters(executor, opened["session"])["starts"] >= 1, "the start")
        time.sleep(0.05)
        busy.hold()
        wait_until(lambda: counters(executor, opened["session"])["preemptions"] >= 1, "the stop")
        paused_ns = time.monotonic_ns()
        time.sleep(0.2)
        busy.release()
        client.sync()
        recording.wait_launches(2)
        (launch,) = recording.launches[recording.launches["session"] == opened["session"]]
        assert launch["flags"] == GUARDED
        assert launch["starts"] >= 2 and launch["preemptions"] >= 1
        assert launch["start_ns"] < paused_ns < launch["end_ns"]
        assert launch["device_ns"] <= launch["end_ns"] - launch["start_ns"] - 0.2e9
        client.close()
        executor.wait_event("closed", opened["session"])


def test_a_launch_behind_a_wait_for_a_value_is_recorded(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        count, data = counting(client)
        flag = client.alloc(4)
        client.write(flag, bytes(4))
        client.sync()
        recording = Recording(executor)
        waiting, other = client.stream(1), client.stream(1)
        client.value(waiting, flag, 1, wait=True)
        client.launch(count, struct.pack("QI", data, 1), grid=(8, 1, 1), stream=waiting)
        client.value(other, flag, 1)
        client.sync_all()
        recording.wait_launches(1)
        (launch,) = recording.launches
        assert launch["flags"] == 0
        assert launch["submit_ns"] <= launch["issue_ns"] <= launch["end_ns"] < time.monotonic_ns()
        assert launch["start_ns"] <= launch["end_ns"]
        assert recording.kernels[int(launch["signature"])]["name"] == "count"


def test_sessions_end_while_they_are_recorded(executor: ExecutorProcess) -> None:
    recording = Recording(executor)
    for _ in range(3):
        with executor.client(kind="high") as client:
            count, data = counting(client)
            count_blocks(client, count, data, 10, 4)
            client.sync()
    recording.wait_launches(3)
    assert set(recording.launches["session"]) == set(recording.sessions), "told, though closed"


def test_recordings_of_others_are_left_alone(executor: ExecutorProcess) -> None:
    recording = Recording(executor)
    assert "going on" in executor.request("trace_start")["error"]
    assert "no such" in executor.request("trace_read", recording=recording.number + 1)["error"]
    assert not executor.request("trace_stop")["ok"]
    recording.read()
