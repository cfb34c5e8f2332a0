"""Folders where files should be, and programs that cannot run: one line each, and no traceback."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import plain_environment, script

from tally.client import elf
from tally.daemon.runtime import RuntimeDir
from tally.errors import ConfigError


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for sockets' names."""
    with tempfile.TemporaryDirectory(prefix="tally-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", ["control.sock", "executor-0.sock", "s1-0.memory", "lock"])
def test_a_folder_in_the_place_of_a_socket(tmp_path: Path, name: str) -> None:
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(
        ConfigError, match=rf"runtime_dir: .*/{name} is in the way: it is .*; remove"
    ):
        RuntimeDir(tmp_path / "run")


def test_a_file_in_the_place_of_a_socket(tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("mine")
    with pytest.raises(ConfigError, match="it is no socket"):
        RuntimeDir(tmp_path)
    assert (tmp_path / "control.sock").read_text() == "mine"


def test_what_is_not_ours_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    RuntimeDir(tmp_path).close()


@pytest.mark.parametrize("flag", ["--config", "--runtime-dir", "--state-dir"])
def test_tallyd_says_in_one_line_what_is_wrong_with_a_path(short: Path, flag: str) -> None:
    wrong = short if flag == "--config" else short / "file"
    if wrong != short:
        wrong.write_text("")
    paths = {"--runtime-dir": str(short / "run"), "--state-dir": str(short / "state")}
    flags = [piece for pair in ({**paths, flag: str(wrong)}).items() for piece in pair]
    done = subprocess.run(
        [script("tallyd"), "--device=soft", *flags],
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("tallyd: ") and str(wrong) in done.stderr


def test_the_loader_of_a_program(tmp_path: Path) -> None:
    assert "ld-linux" in elf.interpreter("/bin/sh")
    assert not elf.is_for_musl("/bin/sh")
    program = bytearray(Path("/bin/sh").read_bytes())
    at = program.index(b"/lib64/ld-linux-x86-64.so.2\0")
    musl = b"/lib/ld-musl-x86_64.so.1\0"
    program[at : at + len(musl)] = musl
    alien = tmp_path / "alien"
    alien.write_bytes(program)
    assert elf.is_for_musl(str(alien))
    for content in (b"", b"#!/bin/sh\n", b"\x7fELF", bytes(program[:100])):
        (tmp_path / "other").write_bytes(content)
        assert elf.interpreter(str(tmp_path / "other")) == ""
    alien.chmod(0o755)
    done = subprocess.run(
        [script("tally"), "run", str(alien)],
        capture_output=True,
        text=True,
        env=plain_environment(),
    )
    assert done.returncode == 126 and "musl" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_env_in_its_three_forms(tmp_path: Path) -> None:
    def tally(*argv: str) -> str:
        command = [script("tally"), "--runtime-dir", str(tmp_path), "env", *argv]
        return subprocess.run(
            command, env=plain_environment(), capture_output=True, text=True, check=True
        ).stdout

    plain = subprocess.run(
        ["sh", "-c", tally() + "\nenv"], capture_output=True, text=True, check=True, env={}
    ).stdout
    assert f"TALLY_RUNTIME_DIR={tmp_path}\n" in plain
    assert "LD_PRELOAD" not in plain and "TALLY_JOB" not in plain
    assert "LD_PRELOAD=" in tally("--preload")
    docker = tally("--format", "docker", "--at", "/run/tally").split()
    assert f"--volume={tmp_path}:/run/tally:ro" in docker
    assert "--env=TALLY_RUNTIME_DIR=/run/tally" in docker
    libraries = next(o for o in docker if o.startswith("--env=LD_LIBRARY_PATH="))
    folder = libraries.rpartition("=")[2]
    assert f"--volume={folder}:{folder}:ro" in docker
    assert os.path.exists(f"{folder}/libcuda.so.1")
