"""Jobs that die, starve or refuse to stop while the scheduler holds them back or divides them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.daemon import Daemon, wait_until
from support.jobs import Service, Worker, free_memory, sessions, shared_memory_of
from support.toolchain import Builder
from support.watching import Holdings

pytestmark = pytest.mark.timeout(180)

# A request beside a worker that has to give way: far above noise, far below the worker's kernel.
REQUEST_US_MAX = 4_000_000


@pytest.fixture(scope="module")
def own_daemon() -> Iterator[Daemon]:
    """Two workers: one is left where the other runs a block that does not end."""
    with Daemon("--soft-workers", "2") as daemon:
        yield daemon


@pytest.fixture
def daemon(own_daemon: Daemon) -> Iterator[Daemon]:
    """Without what a failed test would leave running on it."""
    yield own_daemon
    own_daemon.kill_started()


def launch_and_see_it_start(worker: Worker) -> None:
    before = worker.counter("starts")
    worker.launch()
    wait_until(lambda: worker.counter("starts") > before, 5, "the launch starts")


@pytest.mark.parametrize("state", ["held back", "preempted", "running"])
def test_a_job_killed_while_it_is_scheduled(daemon: Daemon, builder: Builder, state: str) -> None:
    """All of it is gone within a second; a service's requests and another job go on as before."""
    with Service(daemon, builder) as service:
        other = Worker(daemon, builder, blocks=30, seconds=0.01)
        before_us = service.median_us()
        (executor,) = daemon.executor_pids()
        memory, shared, holdings = (
            free_memory(daemon, builder), shared_memory_of(daemon), Holdings.of(executor),
        )  # fmt: skip
        victim = Worker(daemon, builder, blocks=1000, seconds=0.04)
        requests: list[int] = []
        asking = threading.Thread(target=lambda: requests.extend(service.ask(300)))
        if state == "held back":
            service.hold()
            victim.launch()
            wait_until(lambda: victim.waiting_ns() > 0, 2, "the victim waits")
        else:
            launch_and_see_it_start(victim)
        if state == "preempted":
            service.hold()
            wait_until(lambda: victim.counter("preemptions") > 0, 5, "the victim is stopped")
        if state == "running":
            asking.start()
            wait_until(lambda: victim.counter("preemptions") > 0, 5, "requests stop the victim")
        else:
            other.launch()
        victim.kill()
        wait_until(
            lambda: sessions(daemon) == 2 and shared_memory_of(daemon) == shared,
            1.0,
            "what the victim had is gone",
        )
        # At most the control block is gone that the other job's first stoppable launch has taken.
        assert 0 <= memory - free_memory(daemon, builder) <= 8192
        if state == "running":
            asking.join()
            assert len(requests) == 300 and max(requests) < REQUEST_US_MAX
            other.launch()
        else:
            service.release()
        other.finish(20)
        assert service.median_us() < 3 * before_us + 5000
        assert daemon.executor_pids() == [executor]
        wait_until(  # but the service's two; those of blocks that waited end later
            lambda: Holdings.of(executor).threads <= holdings.threads + 2, 10, "threads have gone"
        )
        assert Holdings.of(executor).files <= holdings.files


@pytest.mark.parametrize("kind", ["plain", "chain"])
def test_the_executor_killed_between_the_parts_of_a_launch(
    daemon: Daemon, builder: Builder, kind: str
) -> None:
    """Its job gets a CUDA error within two seconds, and the next job has an executor."""
    rounds, restarts = 4, daemon.stats()["devices"][0]["restarts"]
    blocks, seconds = {"plain": (60, 0.02), "chain": (240, 0.005)}[kind]
    worker = Worker(daemon, builder, kind=kind, blocks=blocks, seconds=seconds, rounds=rounds)
    with Service(daemon, builder) as service:
        for _ in range(rounds):
            worker.launch()
        if kind == "plain":
            wait_until(
                lambda: bool(service.ask(1)) and worker.counter("preemptions") > 0,
                10,
                "requests stop the launch",
            )
    # Before it has been measured, it is run whole; from then on a chain is run in waves: 16 blocks
    # for each of two multiprocessors, so eight starts.
    parts = {"plain": 0, "chain": 3}[kind]
    wait_until(
        lambda: worker.counter("starts") > worker.counter("launches") + parts, 20, "parts start"
    )
    (executor,) = daemon.executor_pids()
    os.kill(executor, signal.SIGKILL)
    worker.fail(2.0)
    fresh = Worker(daemon, builder, kind=kind, blocks=20, seconds=0.001)
    fresh.launch()
    fresh.finish(20)
    assert daemon.stats()["devices"][0]["restarts"] == restarts + 1
    assert daemon.executor_pids() not in ([], [executor])


def test_a_high_job_that_is_never_idle(daemon: Daemon, builder: Builder) -> None:
    """Best-effort jobs wait, visibly; they can be killed; they go on once the high job is gone."""
    service = Service(daemon, builder)
    patient = Worker(daemon, builder, blocks=20, seconds=0.005, name="patient")
    tired = Worker(daemon, builder, blocks=20, seconds=0.005, name="tired")
    service.hold()
    starts = patient.counter("starts")
    for worker in (patient, tired):
        worker.launch()
    wait_until(lambda: patient.waiting_ns() > 1_500_000_000, 5, "the launch has waited 1.5 s")
    assert patient.counter("starts") == starts
    assert patient.process.poll() is None
    table = daemon.tally("stats")
    rows = [row.split() for row in table.splitlines()]
    assert [row[1] for row in rows if row[3:4] == ["waiting"]] == ["patient", "tired"], table
    tired.process.terminate()
    assert tired.process.wait(1.0) == -signal.SIGTERM
    wait_until(lambda: tired.job()["state"] == "done", 1.0, "the killed job is gone")
    service.process.kill()
    killed_s = time.monotonic()
    service.process.communicate()
    patient.finish(10)
    assert time.monotonic() - killed_s < 3
    wait_until(lambda: sessions(daemon) == 0, 1.0, "nobody is left")


def test_one_block_that_cannot_be_stopped(builder: Builder) -> None:
    """Requests run beside it; the books call it oversized, and say how wrong they were at first."""
    with Daemon("--soft-workers", "2") as daemon, Service(daemon, builder) as service:

        def schedule() -> dict[str, Any]:
            found: dict[str, Any] = daemon.stats()["devices"][0]["schedule"]
            return found

        def run_beside(worker: Worker) -> list[int]:
            """One round; how the sums of the turnaround went up: count, estimates, errors."""
            names = ("count", "estimated_sum_ns", "error_sum_ns")
            before, ran_ns = schedule()["turnaround"], worker.counter("scheduled_ns")
            launch_and_see_it_start(worker)
            while worker.counter("scheduled_ns") == ran_ns:  # it counts once it is over
                assert max(service.ask(5)) < REQUEST_US_MAX
            after = schedule()["turnaround"]
            return [after[name] - before[name] for name in names]

        worker = Worker(daemon, builder, blocks=1, seconds=1.0, rounds=2)
        wait_until(lambda: worker.counter("rewrites") > 0, 20, "it can be stopped")
        count, estimated_ns, error_ns = run_beside(worker)
        longest_ns = schedule()["turnaround"]["max_ns"]
        assert longest_ns > 0.3e9
        assert estimated_ns < 0.1 * longest_ns * count < error_ns, "nothing was known of it"
        oversized = schedule()["oversized"]
        count, estimated_ns, _ = run_beside(worker)
        assert count > 0
        assert estimated_ns > 0.9 * longest_ns * count, "now it is known"
        assert schedule()["oversized"] > oversized
        assert (schedule()["rescues"], schedule()["rescued"]) == (0, []), "it waits for nobody"
        worker.finish(30)


def test_one_block_of_ten_seconds(daemon: Daemon, builder: Builder) -> None:
    """Neither its program nor the service beside it meets a limit of time, and it is not lost."""
    with Service(daemon, builder) as service:
        worker = Worker(daemon, builder, blocks=1, seconds=10)
        began_s, ran_ns = time.monotonic(), worker.counter("scheduled_ns")
        launch_and_see_it_start(worker)
        asked = 0
        while worker.counter("scheduled_ns") == ran_ns:  # it counts once it is over
            assert max(service.ask(3)) < REQUEST_US_MAX
            asked += 3
            time.sleep(0.05)
        assert time.monotonic() - began_s > 5 and asked > 30
        worker.finish(20)


def test_tallyd_ends_beside_a_block_that_cannot_be_stopped(builder: Builder) -> None:
    with Daemon("--soft-workers", "2") as daemon:
        worker = Worker(daemon, builder, blocks=1, seconds=60)
        launch_and_see_it_start(worker)
        (executor,) = daemon.executor_pids()
        began_s = time.monotonic()
        assert daemon.close() == 0
        assert time.monotonic() - began_s < 5
        worker.fail(5)
        assert not os.path.exists(f"/proc/{executor}")
