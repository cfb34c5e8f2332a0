"""`tally trace record` beside programs that run, and their replay in the simulator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon, script, wait_until

from tally.scheduler.sim import recording

pytestmark = pytest.mark.timeout(180)

PROGRAM = (sys.executable, "-m", "tally.workloads.bench.isolation")
REQUESTS_MIN = 20


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


@contextmanager
def recorded(daemon: Daemon, file: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Record for as long as the body runs; it ends by Ctrl-C."""
    process = subprocess.Popen(
        [script("tally"), "trace", "record", *words, str(file)],
        env=daemon.env,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: under_way(file) or process.poll() is not None, 20, "it begins")
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def under_way(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def serve(daemon: Daemon, *words: str) -> None:
    subprocess.run(
        daemon.command(*PROGRAM, "serve", *words, job_class="high", name="web"),
        env=daemon.env,
        stdout=subprocess.DEVNULL,
        timeout=90,
        check=True,
    )


@pytest.fixture(scope="module")
def web(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service alone: some 40 requests a second, for two seconds."""
    file = tmp_path_factory.mktemp("trace") / "web.jsonl"
    with recorded(daemon, file, "--job", "web") as process:
        serve(daemon, "500", "40", "2", "1")
    assert process.returncode == 0
    assert process.stderr is not None
    last = process.stderr.read().splitlines()[-1]
    assert "launches" in last and "lost" not in last
    return file


@pytest.fixture(scope="module")
def train(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trainer that is under way before it is recorded, for a second."""
    file = tmp_path_factory.mktemp("trace") / "train.jsonl.gz"
    trainer = subprocess.Popen(
        daemon.command(*PROGRAM, "train", "2000", name="train"),
        env=daemon.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert trainer.stdout is not None
        assert all(trainer.stdout.readline() for _ in range(3))
        done = daemon.run_tally("trace", "record", "--seconds", "1", str(file))
        assert done.returncode == 0, done.stderr
    finally:
        trainer.kill()
        trainer.communicate()
    return file


def shown(daemon: Daemon, file: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(daemon.tally("trace", "show", "--json", str(file)))
    return data


def test_what_is_recorded(daemon: Daemon, web: Path, train: Path) -> None:
    data = shown(daemon, web)
    assert data["complete"] and data["lost"] == 0
    (kernel,) = data["kernels"]
    assert (kernel["job"], kernel["job_class"], kernel["kernel"]) == ("web", "high", "churn")
    assert kernel["shape"] == "64 of 64"
    (requests,) = data["requests"]
    assert requests["requests"] > REQUESTS_MIN
    assert kernel["launches"] == 3 * requests["requests"], "three a request"
    assert 0 < kernel["p50_ns"] <= kernel["p99_ns"] < requests["p99_ns"]
    (kernel,) = shown(daemon, train)["kernels"]
    assert (kernel["job"], kernel["job_class"], kernel["shape"]) == (
        "train",
        "best-effort",
        "1024 of 64",
    )
    table = daemon.tally("trace", "show", str(web))
    assert "churn" in table and "web (high): " in table


def test_recordings_are_replayed_under_every_policy(
    daemon: Daemon, web: Path, train: Path, tmp_path: Path
) -> None:
    words = ["--trace", str(web), "--trace", str(train)]
    data = json.loads(daemon.tally("simulate", *words, "--json"))
    assert data["simulated"] is True
    rows = {row["policy"]: row["clients"] for row in data["policies"]}
    assert list(rows) == ["tally", "kernel", "timeslice", "priority", "fifo"]
    for clients in rows.values():
        assert [client["name"] for client in clients] == ["web", "train"]
    service, trainer = rows["tally"]
    assert service["programs"] > REQUESTS_MIN and trainer["throughput"] > 0
    assert service["p99_overhead"] < rows["fifo"][0]["p99_overhead"], "the recording decides"
    limits = recording.load(web).limits
    assert data["limits"]["turnaround_ns_max"] == limits.turnaround_ns_max, "as they were then"


def test_alone_the_replay_is_as_fast_as_the_recording(daemon: Daemon, web: Path) -> None:
    (requests,) = shown(daemon, web)["requests"]
    data = json.loads(daemon.tally("simulate", "--trace", str(web), "--policy", "fifo", "--json"))
    (service,) = data["policies"][0]["clients"]
    assert 0.5 < service["p50_ns"] / requests["p50_ns"] < 1.5


def test_who_may_record_what(daemon: Daemon, tmp_path: Path) -> None:
    file = str(tmp_path / "r.jsonl")
    done = daemon.run_tally("trace", "record", "--device", "7", file)
    assert done.returncode == 1 and "there is no device 7" in done.stderr
    done = daemon.run_tally("trace", "record", "--seconds", "0.1", "--job", "nobody", file)
    assert done.returncode == 1 and 'no job of the id or name "nobody"' in done.stderr
    with recorded(daemon, tmp_path / "first.jsonl"):
        done = daemon.run_tally("trace", "record", "--seconds", "0.1", file)
        assert done.returncode == 1 and "going on already" in done.stderr
    done = daemon.run_tally("trace", "record", "--seconds", "0.1", str(tmp_path / "no" / "r"))
    assert done.returncode == 1 and "cannot write" in done.stderr


def test_an_executor_that_dies_ends_the_recording(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    with recorded(daemon, file) as process:
        os.kill(daemon.executor_pids()[0], signal.SIGKILL)
        process.wait(20)
    assert process.returncode == 1
    assert process.stderr is not None and "device 0" in process.stderr.read()
    wait_until(lambda: len(daemon.executor_pids()) == 1, 20, "another executor")
    wait_until(lambda: daemon.stats()["devices"][0]["state"] == "ready", 20, "it is ready")
