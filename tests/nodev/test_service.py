"""The systemd unit by systemd's own check, and what tallyd tells the service manager."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import plain_environment, script

from tally.commands.service import unit_text

VERIFY_LEAST = 240  # older ones do not know all keys


def systemd_version() -> int:
    """Of systemd-analyze; 0 where there is none."""
    if shutil.which("systemd-analyze") is None:
        return 0
    said = subprocess.run(
        ["systemd-analyze", "--version"], capture_output=True, text=True, check=False
    ).stdout.split()
    return int(said[1]) if len(said) > 1 and said[1].isdigit() else 0


def verify(folder: Path, text: str, user: bool) -> str:
    """What `systemd-analyze verify` has to say; nothing is well."""
    unit = folder / "tallyd.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", *(["--user"] if user else []), "--man=no", "verify", str(unit)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr + (f"status {done.returncode}" if done.returncode else "")


@pytest.mark.skipif(systemd_version() < VERIFY_LEAST, reason="no systemd-analyze")
@pytest.mark.parametrize("user", [False, True])
def test_systemd_takes_the_unit(tmp_path: Path, user: bool) -> None:
    text = unit_text(script("tallyd"), user)
    assert verify(tmp_path, text, user) == ""
    assert "ProtectSytem" in verify(
        tmp_path, text.replace("[Service]", "[Service]\nProtectSytem=yes"), user
    )
    assert "nowhere" in verify(tmp_path, unit_text("/nowhere/tallyd", user), user)


@pytest.mark.skipif(systemd_version() < VERIFY_LEAST, reason="no systemd-analyze")
def test_a_path_with_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "my own 100%d"
    folder.mkdir()
    tallyd = folder / "tallyd"
    tallyd.symlink_to(script("tallyd"))
    assert verify(tmp_path, unit_text(str(tallyd), user=False), user=False) == ""


def test_the_unit_forbids_nothing_that_a_gpu_needs() -> None:
    """Not even on systemds, or machines, that the other tests do not run on."""
    keys = {line.partition("=")[0] for line in unit_text("tallyd", user=False).splitlines()}
    forbids_devices = {"PrivateDevices", "DeviceAllow", "DevicePolicy", "ProtectClock"}
    assert not keys & {*forbids_devices, "ProtectKernelModules", "MemoryDenyWriteExecute"}


def test_a_users_unit_has_nothing_for_root_and_no_orphaned_comment() -> None:
    text = unit_text("tallyd", user=True)
    assert not any(word in text for word in ("Protect", "LimitMEMLOCK", "StateDirectory"))
    blocks = text.split("[Unit]")[1].strip().split("\n\n")
    assert all(not block.splitlines()[-1].startswith("#") for block in blocks), text


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="tally-") as name:
        yield Path(name)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its name in $NOTIFY_SOCKET."""
    name = str(folder / "notify") if request.param == "path" else f"@tally-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0"))
        listener.settimeout(20)
        yield listener, name


def test_tallyd_reports_as_systemd_expects(
    manager: tuple[socket.socket, str], folder: Path
) -> None:
    listener, name = manager
    settings = {
        "NOTIFY_SOCKET": name,
        "WATCHDOG_USEC": "200000",
        "TALLY_RUNTIME_DIR": str(folder / "run"),
        "TALLY_STATE_DIR": str(folder / "state"),
    }
    with subprocess.Popen(
        [script("tallyd"), "--device", "soft"],
        env=plain_environment() | settings,
    ) as tallyd:
        told: list[str] = []
        while not any("READY=1" in message for message in told):
            told.append(listener.recv(4096).decode())
        assert any("STATUS=soft" in message for message in told), told
        beats: list[float] = []
        while len(beats) < 4:
            if "WATCHDOG=1" in listener.recv(4096).decode():
                beats.append(time.monotonic())
        assert beats[-1] - beats[0] < 3 * 0.2, "slower than the interval that was asked for"
        tallyd.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in (message := listener.recv(4096).decode()):
            assert "READY" not in message
        assert tallyd.wait(20) == 0


def test_a_manager_that_is_gone_harms_nothing(tmp_path: Path) -> None:
    code = "from tally.daemon.supervisor.notify import notify; notify('READY=1')"
    for name in (str(tmp_path / "nobody"), "@nobody-at-all", "/" * 200):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"NOTIFY_SOCKET": name},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
