"""The Makefile: when it installs anew, and into which environment; what is said meanwhile."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("editable", "installs"), [(True, False), (False, True), (None, True)])
def test_an_install_that_is_not_makes_own_is_replaced(
    tmp_path: Path, editable: bool | None, installs: bool
) -> None:
    """As README's `pip install .` leaves one in the environment that `make demo` has made."""
    info = tmp_path / "lib" / "python3.11" / "site-packages" / "tally_gpu-0.1.0.dist-info"
    for folder in (tmp_path / "bin", info):
        folder.mkdir(parents=True)
    for name in ("bin/python", "stamp-tools", "stamp-workloads"):  # in the order of their making
        (tmp_path / name).touch()
    if editable is not None:
        flag = ' "editable": true' if editable else ""
        (info / "direct_url.json").write_text(f'{{"dir_info": {{{flag}}}, "url": "file:///x"}}')
    done = subprocess.run(
        ["make", "--dry-run", "demo", f"VENV={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("--editable" in done.stdout) == installs
    assert "tally.workloads.demo" in done.stdout


def test_a_wheel_says_where_its_shim_loads() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "wheel"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "platform.libc_ver()" in done.stdout
    assert "`make release`, which is for glibc 2.17" in done.stdout


def make(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--dry-run", "demo", *argv],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def fake_python(folder: Path, version: str) -> Path:
    """An interpreter that says it is of `version`, and does no more."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def test_another_python_has_its_own_environment(tmp_path: Path) -> None:
    done = make(f"PYTHON={fake_python(tmp_path, '3.99')}")
    assert "-m venv .venv-3.99" in done.stdout
    assert ".venv/bin" not in done.stdout


def test_an_environment_of_another_python_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.98.1\n")
    python = fake_python(tmp_path, "3.99")
    done = make(f"PYTHON={python}", f"VENV={tmp_path}")
    assert done.returncode != 0
    assert f"{tmp_path} has Python 3.98, not 3.99" in done.stderr
    assert make(f"PYTHON={fake_python(tmp_path, '3.98')}", f"VENV={tmp_path}").returncode == 0


def step(log: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / ".ci" / "step", log, "install things", *command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_step_is_one_line_and_its_noise_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = step(log, "sh", "-c", "echo noise; echo WARNING: noise >&2")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"install things \.* ?\d+ s\n", done.stdout)
    assert log.read_text().endswith("noise\nWARNING: noise\n")


def test_a_step_that_fails_shows_why(tmp_path: Path) -> None:
    done = step(tmp_path / "log", "sh", "-c", "echo no such wheel; exit 3")
    assert done.returncode == 3
    assert done.stdout.endswith("failed\n")
    assert "no such wheel" in done.stderr
    assert str(tmp_path / "log") in done.stderr


def test_a_step_ends_with_ctrl_c(tmp_path: Path) -> None:
    """Nothing of it goes on: make's prompt comes back, and no pip writes behind it."""
    command = [
        str(ROOT / ".ci" / "step"),
        str(tmp_path / "log"),
        "wait",
        "sh",
        "-c",
        "echo $$; exec sleep 99",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        while "\n" not in (text := log_tail(tmp_path / "log")):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(text), 0)


def log_tail(path: Path) -> str:
    """What came after the command's own line."""
    return path.read_text().partition("$ ")[2].partition("\n")[2] if path.exists() else ""


def needs(env: dict[str, str], *python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(python or (sys.executable,)), ROOT / ".ci" / "needs.py"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    assert needs(dict(os.environ)).returncode == 0
    done = needs({"PATH": str(tmp_path)})
    assert done.returncode == 1
    words = "a C compiler (no cc, gcc, clang) (on Debian: apt-get install gcc libc6-dev)"
    assert done.stderr == f"make: this needs {words}\n"
