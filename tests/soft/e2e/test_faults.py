"""Deaths and absences: no daemon, killed clients and executors. Each test has its own tallyd."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon, plain_environment, read_line, script, wait_until
from support.jobs import free_memory, sessions, shared_memory_of
from support.toolchain import Builder
from support.watching import Holdings

pytestmark = pytest.mark.timeout(180)

SEED = int(os.environ.get("SEED", "1"))


@pytest.fixture
def own_daemon() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


def test_no_daemon(builder: Builder, tmp_path: object) -> None:
    """`tally run` says so in one line; a program on the bare shim gets CUDA's error, at once."""
    env = {**plain_environment(), "TALLY_RUNTIME_DIR": f"{tmp_path}/run"}
    done = subprocess.run(
        [script("tally"), "run", "--", "true"], env=env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "tallyd" in done.stderr

    from tally.client import paths

    shim = paths.shim()
    assert shim is not None
    began = time.monotonic()
    done = subprocess.run(
        [str(builder.get("driver_api"))],
        env={**env, "LD_LIBRARY_PATH": str(shim.parent)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2, done.stderr
    assert "cuInit(0) gave" in done.stderr
    assert time.monotonic() - began < 5


def test_a_client_that_is_killed_before_its_kernels_are_rewritten(
    builder: Builder, tmp_path: Path
) -> None:
    """It ran meanwhile; its session is gone at once, and tallyd's end does not wait either."""
    site = Path(__file__).parents[2] / "support" / "gated_site"
    gate, waits = tmp_path / "rewriting", tmp_path / "rewriting.waits"
    gate.touch()
    env = {"TALLY_TEST_GATE": str(tmp_path), "PYTHONPATH": str(site)}
    with Daemon(env=env) as daemon:
        (executor,) = daemon.executor_pids()
        victim = daemon.start(builder.get("busy"), job_class="best-effort")
        read_line(victim, "ready")  # it has computed
        wait_until(waits.exists, 10, "its kernels are being rewritten")
        victim.kill()
        victim.communicate()
        wait_until(lambda: sessions(daemon) == 0, 1.0, "its session is gone")
        daemon.ok(builder.get("vector_add"), job_class="best-effort")
        gate.unlink()
        daemon.ok(builder.get("matmul"), job_class="best-effort")
        gate.touch()
        waits.unlink(missing_ok=True)
        daemon.ok(builder.get("histogram"), job_class="best-effort")
        wait_until(waits.exists, 10, "its kernels are being rewritten")
        assert daemon.executor_pids() == [executor]
        daemon.process.terminate()
        assert daemon.process.wait(3) == 0
        assert "does not end" not in daemon.log()


def test_killed_clients_leave_nothing(own_daemon: Daemon, builder: Builder) -> None:
    """SIGKILL at random moments: sessions, memory and shared memory are gone within a second."""
    daemon, chance = own_daemon, random.Random(SEED)
    program = builder.get("busy")
    daemon.ok(program, 3)
    (executor,) = daemon.executor_pids()
    wait_until(lambda: sessions(daemon) == 0, 2, "the first program's session ends")
    before, free_before = Holdings.of(executor), free_memory(daemon, builder)
    for turn in range(8):
        victim = daemon.start(program, name=f"victim-{turn}")
        if turn % 4:
            read_line(victim, "ready")
        time.sleep(chance.uniform(0, 0.3))
        victim.kill()
        victim.communicate()
        wait_until(
            lambda: sessions(daemon) == 0 and not shared_memory_of(daemon),
            1.0,
            f"victim {turn} (seed {SEED}) is gone: {sessions(daemon)} sessions, "
            f"{shared_memory_of(daemon)}",
        )
    assert free_memory(daemon, builder) == free_before
    assert daemon.executor_pids() == [executor]
    after = Holdings.of(executor)
    assert after.files <= before.files + 2
    assert after.threads <= before.threads + 2
    assert after.resident_bytes < before.resident_bytes + (96 << 20)


def test_endless_kernel_dies_with_its_program(own_daemon: Daemon, builder: Builder) -> None:
    daemon = own_daemon
    victim = daemon.start(builder.get("endless"))
    read_line(victim, "ready")
    time.sleep(0.2)
    victim.kill()
    victim.communicate()
    wait_until(lambda: sessions(daemon) == 0, 1.0, "the session of the endless kernel ends")
    assert daemon.ok(builder.get("vector_add")) == "ok\n"


def test_killed_executor_is_replaced(own_daemon: Daemon, builder: Builder) -> None:
    """Its clients get CUDA errors within two seconds, and new programs run."""
    daemon = own_daemon
    # In this order: nothing of a best-effort job starts beside a kernel that cannot be stopped.
    working = daemon.start(builder.get("busy"), name="working")
    read_line(working, "ready")
    waiting = daemon.start(builder.get("endless"), name="waiting")
    read_line(waiting, "ready")
    (executor,) = daemon.executor_pids()
    os.kill(executor, signal.SIGKILL)
    killed = time.monotonic()
    waiting_output, _ = waiting.communicate(timeout=10)
    working_output, _ = working.communicate(timeout=10)
    assert time.monotonic() - killed < 2.0
    assert waiting.returncode == 0
    assert "error " in waiting_output
    assert working.returncode == 2, working_output
    assert " gave " in working_output
    assert daemon.ok(builder.get("vector_add")) == "ok\n"
    assert daemon.process.poll() is None
    assert daemon.executor_pids() not in ([], [executor])
    assert daemon.stats()["devices"][0]["restarts"] == 1
    assert not {n for n in shared_memory_of(daemon) if n.endswith("-s1")}


def test_daemon_ends_cleanly(builder: Builder) -> None:
    """SIGTERM with programs running: tallyd ends, programs get errors, nothing stays behind."""
    with Daemon() as daemon:
        client = daemon.start(builder.get("busy"))
        read_line(client, "ready")
        executors = daemon.executor_pids()
        assert daemon.close() == 0
        output, _ = client.communicate(timeout=10)
        assert client.returncode == 2, output
        assert not any(os.path.exists(f"/proc/{pid}") for pid in executors)


def test_a_second_daemon_leaves_the_first_alone(own_daemon: Daemon, builder: Builder) -> None:
    """It says in one line who owns the folder, and the owner's jobs go on."""
    client = own_daemon.start(builder.get("busy"))
    read_line(client, "ready")
    done = subprocess.run(
        [script("tallyd"), "--device", "soft"],
        env=own_daemon.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert f"another tallyd (pid {own_daemon.process.pid})" in line
    assert "--runtime-dir" in line
    assert client.poll() is None
    client.kill()
    client.communicate()
    assert own_daemon.ok(builder.get("vector_add")) == "ok\n"
