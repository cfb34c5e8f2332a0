"""What is seen of the scheduler from outside: policies, profiles and numbers, on a real tallyd."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon, wait_until
from support.jobs import Service, Worker
from support.toolchain import Builder

from tally.daemon.executor.main import SOFT_TURNAROUND_US
from tally.scheduler.profiles import FILE_NAME

pytestmark = pytest.mark.timeout(180)


def policies_in_force(daemon: Daemon) -> list[str]:
    """What the executors themselves say."""
    schedules = [device["schedule"] for device in daemon.stats()["devices"]]
    return [schedule["policy"] for schedule in schedules if schedule]


def test_policy_is_switched_live_and_outlives_an_executor() -> None:
    with Daemon(device="soft:2") as daemon:
        assert policies_in_force(daemon) == ["tally", "tally"]
        daemon.tally("policy", "kernel")
        assert policies_in_force(daemon) == ["kernel", "kernel"]
        first = daemon.executor_pids()[0]
        os.kill(first, signal.SIGKILL)
        wait_until(
            lambda: first not in daemon.executor_pids() and len(policies_in_force(daemon)) == 2,
            30,
            "the executor is replaced",
        )
        wait_until(lambda: policies_in_force(daemon) == ["kernel"] * 2, 10, "the policy is kept")
        marked = [line for line in daemon.tally("policy").splitlines() if line.startswith("*")]
        assert [line.split()[1] for line in marked] == ["kernel"]


def profiles(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """What `tally profile show` lists, by signature."""
    return {
        entry["signature"]: entry for entry in json.loads(daemon.tally("profile", "show", "--json"))
    }


def test_profiles_outlive_tallyd(builder: Builder, tmp_path: Path) -> None:
    environment = {"TALLY_STATE_DIR": str(tmp_path)}
    with Daemon(env=environment) as daemon:
        daemon.ok(builder.get("matmul"))
    with Daemon(env=environment) as daemon:
        first = profiles(daemon)
        assert first, "saved when tallyd ended"
        (entry,) = first.values()
        assert "multiply" in entry["kernel"] and entry["shape"] == "6x5 of 16x16"
        assert len(entry["code_hash"]) == 16
        assert entry["turnaround_ns_max"] == SOFT_TURNAROUND_US * 1000
        row = next(line for line in daemon.tally("profile", "show").splitlines() if "6x5" in line)
        assert "multiply" in row
        daemon.ok(builder.get("matmul"))
        wait_until(lambda: runs(profiles(daemon)) > runs(first), 60, "saved while tallyd runs")
        second = profiles(daemon)
        assert second.keys() == first.keys(), "the same kernels have the same signatures"
        for signature, entry in first.items():
            assert runs({signature: second[signature]}) >= runs({signature: entry}), "it counts on"
    assert "forgotten" in daemon.tally("profile", "clear")
    assert profiles(daemon) == {}


def runs(listed: dict[str, dict[str, Any]]) -> int:
    """Measurements in all."""
    kinds = ("whole", "guarded", "slice")
    return sum(entry[f"{kind}_runs"] for entry in listed.values() for kind in kinds)


def test_a_store_that_cannot_be_written_stops_nothing(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with Daemon(env={"TALLY_STATE_DIR": str(tmp_path)}) as daemon:
        daemon.ok(builder.get("matmul"))
        assert daemon.stats()["devices"][0]["restarts"] == 0
        wait_until(lambda: "profiles are not kept" in daemon.log(), 20, "it is said")


def test_best_effort_jobs_share_the_device_by_weight(builder: Builder) -> None:
    with Daemon() as daemon:
        jobs = [
            Worker(daemon, builder, blocks=20_000, seconds=0.002, name=f"w{weight}", weight=weight)
            for weight in (3, 1)
        ]
        for job in jobs:
            job.launch()

        def ran() -> list[int]:
            return [job.counter("scheduled_ns") for job in jobs]

        wait_until(lambda: min(ran()) > 0, 30, "both have had a turn")
        before = ran()
        wait_until(lambda: sum(ran()) - sum(before) > 4e9, 60, "some rounds of turns")
        three, one = (now - then for now, then in zip(ran(), before, strict=True))
        assert 2.2 < three / one < 4, (three, one)
        daemon.kill_started()
        assert [job["weight"] for job in daemon.stats()["jobs"]] == [3, 1]


def test_turnaround_of_each_job(builder: Builder) -> None:
    with Daemon() as daemon, Service(daemon, builder) as service:
        worker = Worker(daemon, builder, blocks=1000, seconds=0.005)
        worker.launch()
        wait_until(lambda: worker.counter("starts") > 0, 10, "it runs")

        def turnarounds() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
            """The device's, the service's and the worker's, at one time."""
            snapshot = daemon.stats()
            jobs = {job["name"]: job["stats"]["histograms"] for job in snapshot["jobs"]}
            (schedule,) = [device["schedule"] for device in snapshot["devices"]]
            return schedule["turnaround"], *(
                jobs[name]["turnaround"] for name in ("service", "worker")
            )

        def arrivals() -> int:
            return sum(turnarounds()[0][key] for key in ("count", "unmet"))

        before = arrivals()
        service.ask(20)
        worker.kill()
        # All requests may have come during one block, which runs on for a while.
        wait_until(lambda: arrivals() >= before + 20, 10, "every turnaround is known")
        of_all, of_service, of_worker = turnarounds()
        for key in ("count", "sum_ns", "max_ns", "p50_ns", "p99_ns"):
            assert of_service[key] == of_all[key] > 0, "there is no other high job"
        assert 0 < of_worker["count"] <= of_service["count"]
        table = daemon.tally("stats", "--schedule")
        row = next(line.split() for line in table.splitlines() if "service" in line)
        assert "-" not in row[-3:]


def test_the_schedulers_numbers(builder: Builder, tmp_path: Path) -> None:
    with Daemon(env={"TALLY_STATE_DIR": str(tmp_path)}) as daemon:
        daemon.ok(builder.get("matmul"), name="harvest")
        (job,) = daemon.stats()["jobs"]
        counters = job["stats"]["counters"]
        assert counters["starts"] >= counters["launches"] > 0
        assert counters["scheduled_ns"] > 0
        assert counters["rewrites_refused"] == 0
        table = daemon.tally("stats", "--schedule")
        assert "policy tally" in table
        row = next(line.split() for line in table.splitlines() if "harvest" in line)
        assert row[4:6] == [str(counters["launches"]), str(counters["starts"])]
        assert row[-4] == row[-5] != "-", "a best-effort job's device time is harvested"
        assert row[-3:] == ["-"] * 3, "nobody had to wait for it"
        report = daemon.run_tally("doctor").stdout
        assert "launches and " in report and "of device time can be stopped" in report
