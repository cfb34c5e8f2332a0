"""Host memory that programs pin: limited for a process, a job and the device, and said so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import Client, CudaError
from support.executor import ExecutorProcess

from tally._native import lib

MIB = 1 << 20
OUT_OF_MEMORY = 2
LIMITS = {"session": 64 * MIB, "job": 100 * MIB, "all": 150 * MIB}


@pytest.fixture
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess(
        f"--pinned-bytes-max={LIMITS['all']}",
        f"--pinned-bytes-job-max={LIMITS['job']}",
        f"--pinned-bytes-session-max={LIMITS['session']}",
    ) as process:
        process.wait_event("ready")
        yield process


def refused(client: Client, size: int) -> bool:
    try:
        client.host_alloc(size)[1].close()
    except CudaError as error:
        assert error.result == OUT_OF_MEMORY
        return True
    return False


def test_a_session_has_its_limit(executor: ExecutorProcess) -> None:
    with executor.client() as client:
        assert refused(client, LIMITS["session"])
        event = executor.wait_event("notice", client.session)
        assert f"`pinned_bytes_session_max` in tallyd's config is {64 * MIB}" in event["text"]
        assert b"pinned_bytes_session_max" in client.stderr
        address, area = client.host_alloc(50 * MIB)
        area.close()
        assert refused(client, 20 * MIB)
        client.send("HOST_FREE", "tally_op_host_free", address=address)
        client.sync_all()
        assert not refused(client, 50 * MIB)
    assert not [event for event in executor.events if event["event"] == "notice"]  # told once


def test_a_jobs_processes_share_one(executor: ExecutorProcess) -> None:
    with (
        executor.client(id="a") as first,
        executor.client(id="a") as second,
        executor.client(id="b") as other,
        executor.client(id="c") as third,
    ):
        assert not refused(first, 50 * MIB)
        assert refused(second, 55 * MIB)
        text = executor.wait_event("notice", second.session)["text"]
        assert "`pinned_bytes_job_max`" in text
        assert not refused(other, 55 * MIB)
        assert not refused(second, 30 * MIB)
        assert refused(third, 20 * MIB)
        assert "`pinned_bytes_max`" in executor.wait_event("notice", third.session)["text"]


def test_sessions_beyond_it_are_refused(executor: ExecutorProcess) -> None:
    """Their segments count: a crowd of processes does not take what the limit keeps."""
    opened: list[int] = []
    answer: dict[str, object] = {"ok": True}
    while answer["ok"]:
        number = 100 + len(opened)
        answer = executor.request(
            "open", session=number, pid=1, uid=0, gid=0, job={"id": "", "class": "high"}
        )
        opened.append(number)
    as_many_as_can_be = len(opened) > min(100, lib.TALLY_SESSIONS_MAX - 1)
    assert as_many_as_can_be or "pinned_bytes_max" in str(answer["error"]), answer
    for number in opened[:-1]:
        executor.request("close", session=number, reason="enough")
        executor.wait_event("closed", number)
    assert not executor.shared_memory()


def test_names_do_not_stand_in_the_way(executor: ExecutorProcess) -> None:
    """Nothing is made under a name that others could have taken before."""
    taken = [Path(f"/dev/shm/tally-{executor.instance}-d0-s{number}") for number in range(1, 4)]
    try:
        for path in taken:
            path.touch()
        with executor.client() as client:
            assert not refused(client, MIB)
        assert set(Path("/dev/shm").glob(f"*{executor.instance}*")) == set(taken)
    finally:
        for path in taken:
            path.unlink()
