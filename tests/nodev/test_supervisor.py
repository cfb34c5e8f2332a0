"""Executors that die, refuse or never start; and what a killed tallyd leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.daemon import wait_until
from support.supervised import Supervised, elsewhere, session_of, stub_command

from tally.client.environment import clean_environment, run_environment
from tally.client.protocol import Status
from tally.config import executor_values
from tally.daemon import runtime
from tally.daemon.assignment import Assignment
from tally.daemon.runtime import RuntimeDir
from tally.daemon.supervisor import executor_process, notify
from tally.daemon.supervisor.devices import Devices
from tally.errors import AlreadyRunningError, ConfigError, NoDeviceError

OPEN = "print(peer.open(struct.unpack_from('<Q', peer.hello(job)[1])[0]))"


def executor(running: Supervised) -> executor_process.ExecutorProcess:
    return running.supervisor.executors[0]


def test_a_killed_executor_is_replaced() -> None:
    with Supervised() as running, running.raw() as peer:
        session = session_of(peer.hello()[1])
        assert peer.open(session)[0] is Status.OK
        first = executor(running).pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: executor(running).restarts == 1, 2, "the death is noticed")
        table = running.supervisor.sessions.table
        assert running.call(lambda: session in table.sessions) is False
        (job,) = table.jobs.values()
        assert job.lost_sessions == 1
        status, body = peer.hello()
        assert status is Status.OK, "hello waits for the new one"
        assert peer.open(session_of(body))[0] is Status.OK
        with running.client() as client:
            device = client.stats()["devices"][0]
        assert device["state"] == "ready"
        assert device["restarts"] == 1
        assert device["last_failure"] == "it was ended by SIGKILL"
        assert device["pid"] != first


def test_the_open_that_kills_an_executor_fails() -> None:
    with Supervised() as running:
        said = elsewhere(running, OPEN, "die")
        assert "UNAVAILABLE" in said and "asked to die" in said
        assert "(<Status.OK" in elsewhere(running, OPEN, "sound")


def test_the_session_that_lost_the_device_is_named() -> None:
    with Supervised() as running:
        assert "UNAVAILABLE" in elsewhere(running, OPEN, "lose")
        with running.client() as client:
            failure = client.doctor()["devices"][0]["last_failure"]
        assert "(lose), pid" in failure and "the context is lost" in failure


def test_nonsense_from_an_executor_is_dropped() -> None:
    with Supervised() as running:
        assert "(<Status.OK" in elsewhere(running, OPEN, "garbage")
        assert executor(running).restarts == 0


def test_an_executor_that_never_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_process, "BACKOFF_SECONDS_MIN", 0.01)

    def broken(_assignment: Assignment) -> Sequence[str]:
        return [sys.executable, "-c", "raise SystemExit(9)"]

    with Supervised(command=broken) as running, running.raw() as peer:
        status, text = peer.hello()
        assert status is Status.UNAVAILABLE
        assert b"device 0 is not ready: it exited with status 9" in text
        with running.client() as client:
            assert client.doctor()["devices"][0]["last_failure"] == "it exited with status 9"


def test_an_executor_that_is_slow_to_start() -> None:
    def slow(_assignment: Assignment) -> Sequence[str]:
        return [sys.executable, "-c", "import time; time.sleep(60)"]

    with Supervised(command=slow, executor_ready_seconds_max=1) as running, running.raw() as peer:
        began = time.monotonic()
        status, text = peer.hello()
        assert status is Status.UNAVAILABLE
        assert b"still starting" in text
        assert 0.9 < time.monotonic() - began < 3
        running.call(lambda: executor(running)._life.process.kill())  # type: ignore[union-attr]


def test_several_devices() -> None:
    with Supervised(count=2) as running, running.raw() as peer:
        session = session_of(peer.hello()[1])
        assert peer.open(session, 0)[0] is Status.OK
        assert peer.open(session, 1)[0] is Status.OK
        with running.client() as client:
            client.stats()
            (job,) = client.jobs()
        assert job.stats["counters"]["launches"] == 2000, "1000 on each"


def test_executors_end_with_the_supervisor() -> None:
    with Supervised() as running, running.raw() as peer:
        peer.hello()
        pid = executor(running).pid
    assert pid is not None
    assert not os.path.exists(f"/proc/{pid}")


# ---- the runtime folder ------------------------------------------------------------------------


def test_one_daemon_per_folder(tmp_path: Path) -> None:
    first = RuntimeDir(tmp_path / "run")
    with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}"):
        RuntimeDir(tmp_path / "run")
    first.close()
    RuntimeDir(tmp_path / "run").close()


def test_stale_sockets_are_removed(short_path: Path) -> None:
    import socket

    folder = short_path / "run"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "control.sock"))
    (folder / "keep").touch()
    opened = RuntimeDir(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["keep", "lock"]
    assert folder.stat().st_mode & 0o777 == 0o700
    opened.close()


def test_folders_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "file/below", "link"):
        with pytest.raises(ConfigError, match="runtime_dir"):
            RuntimeDir(tmp_path / name)
    with pytest.raises(ConfigError, match='no group "nonesuch"'):
        RuntimeDir(tmp_path / "real", "nonesuch")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a folder away")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 12345, -1)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        RuntimeDir(tmp_path / "run")


def test_an_instance_says_whether_its_tallyd_lives() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    mine = runtime.instance_id(1)
    namespace = mine.split(".")[0]
    dead = f"{namespace}.{ended.pid}.1.1"
    reused = f"{namespace}.{os.getpid()}.1.1"
    foreign = f"abc.{ended.pid}.1.1"
    assert [runtime.instance_is_dead(i) for i in (mine, dead, reused, foreign, "x", "")] == [
        *(False, True, True, False),
        *(False, False),
    ]


def test_a_dead_executors_leavings_are_removed_and_no_others() -> None:
    with Supervised(count=2) as supervised, supervised.raw() as peer:
        _, body = peer.hello()
        peer.open(session_of(body))
        first, _ = supervised.supervisor.executors
        assert first._life
        folder = supervised.runtime_dir
        names = ("s1-0.ops", "s1-0.replies", "s1-0.memory", "s12-0.ops")
        theirs = [folder / name for name in names]
        names = ("s1-1.ops", "s1-10.replies", "s1-10.memory", "sessions-0.ops.txt")
        others = [folder / name for name in names]
        try:
            for path in (*theirs, *others):
                path.touch()
            first._life.process.kill()
            wait_until(lambda: first.restarts == 1, 10, "the death is noticed")
            assert [path for path in theirs if path.exists()] == []
            assert [path for path in others if not path.exists()] == []
        finally:
            for path in (*theirs, *others):
                path.unlink(missing_ok=True)


# ---- environment, systemd, devices --------------------------------------------------------------


def test_executors_do_not_see_the_shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "lib" / "libcuda.so.1"
    monkeypatch.setattr("tally.client.paths.shim", lambda: shim)
    before = {"PATH": "/bin", "LD_LIBRARY_PATH": "/theirs", "LD_PRELOAD": "/their.so"}
    inside = run_environment(before, "1-a", tmp_path, Path("/libzmq.so.5"))
    assert inside["LD_PRELOAD"] == f"/their.so:{shim}"
    assert inside["LD_LIBRARY_PATH"] == f"{shim.parent}:/theirs"
    assert inside["TRITON_LIBCUDA_PATH"] == str(shim.parent)
    twice = run_environment(inside, "2-a", tmp_path, Path("/libzmq.so.5"))
    assert twice == inside | {"TALLY_JOB": "2-a"}
    assert clean_environment(inside) == before | {"TALLY_LIBZMQ": "/libzmq.so.5"}
    assert "LD_PRELOAD" not in clean_environment({"LD_PRELOAD": str(shim)})


def test_watchdog_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert notify.watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    assert notify.watchdog_seconds() == 1.5
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert notify.watchdog_seconds() is None
    notify.notify("READY=1")  # without $NOTIFY_SOCKET nothing happens


def test_choice_of_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tally.daemon.supervisor import devices
    from tally.daemon.supervisor.probe import Driver

    working = Driver(("H100", "H100"), 13000, "/lib/libcuda.so.1", "")
    broken = Driver((), 0, "", "cuInit: CUDA_ERROR_NO_DEVICE")
    monkeypatch.setattr("tally.client.paths.softgpu_library", lambda: tmp_path)
    monkeypatch.setattr(devices, "probe", lambda: working)
    assert devices.choose("auto").kind == devices.choose("cuda").kind == "cuda"
    assert devices.choose("auto").count == 2
    assert devices.choose("soft:3") == Devices("soft", 3, "asked for", None)
    monkeypatch.setattr(devices, "probe", lambda: broken)
    chosen = devices.choose("auto")
    assert (chosen.kind, chosen.count) == ("soft", 1)
    assert "CUDA_ERROR_NO_DEVICE" in chosen.reason
    with pytest.raises(NoDeviceError, match="--device soft"):
        devices.choose("cuda")
    monkeypatch.setattr("tally.client.paths.softgpu_library", lambda: None)
    with pytest.raises(NoDeviceError, match="missing from the package"):
        devices.choose("auto")


def test_the_probe_survives_what_the_driver_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tally.daemon.supervisor import probe

    source = tmp_path / "driver.c"
    library = tmp_path / "libcuda.so.1"
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    for body, seconds_max, wanted in (
        ("return 100;", 20.0, "cuInit: CUDA_ERROR_TEST"),
        ("*(volatile int *)0 = 1; return 0;", 20.0, "ended the probing process"),
        ("for (;;) pause();", 1.0, "did not answer within"),
    ):
        source.write_text(
            "#include <unistd.h>\n"
            f"int cuInit(unsigned flags) {{ {body} }}\n"
            "int cuDriverGetVersion(int *version) { *version = 13000; return 0; }\n"
            'int cuGetErrorName(int e, const char **n) { *n = "CUDA_ERROR_TEST"; return 0; }\n'
        )
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-w", str(source), "-o", str(library)], check=True
        )
        monkeypatch.setattr(probe, "TIMEOUT_SECONDS", seconds_max)
        found = probe.probe()
        assert found.devices == ()
        assert wanted in found.reason


def test_config_of_executors() -> None:
    told: list[Assignment] = []

    def remember(assignment: Assignment) -> Sequence[str]:
        told.append(assignment)
        return stub_command(assignment)

    with Supervised(command=remember, soft_dry=True, policy="kernel"):
        pass
    read = Assignment.from_json(told[0].to_json())
    assert (read.kind, read.index, read.keeps) == ("soft", 0, True)
    assert (read.config.policy, read.config.soft_dry) == ("kernel", True)
    assert executor_values(read.config) == executor_values(told[0].config)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "not an executor's assignment"),
        ("[]", "not an executor's assignment"),
        ('{"kind": "soft", "index": 0}', "KeyError('config')"),
        ('{"kind": "soft", "index": 0, "config": {}, "else": 1}', "unexpected keyword"),
        ('{"kind": "tpu", "index": 0, "config": {}}', "there is no kind of device 'tpu'"),
        ('{"kind": "soft", "index": 0, "config": {"polciy": "x"}}', 'did you mean "policy"'),
        ('{"kind": "soft", "index": 0, "config": {"watchdog_times": -1}}', "use a number from"),
    ],
)
def test_an_executor_says_what_is_wrong_with_its_argument(text: str, wanted: str) -> None:
    command = [sys.executable, "-m", "tally.daemon.executor", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and wanted in done.stderr and done.stderr.count("\n") == 1
