"""What containers are made of: namespaces, groups without names, folders at other places."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import toolchain
from support.daemon import Daemon, script
from support.toolchain import Builder

import tally

GROUP = 54321
USER = 54322


def can_unshare() -> bool:
    if os.getuid() != 0 or shutil.which("unshare") is None:
        return False
    done = subprocess.run(
        ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "true"], capture_output=True
    )
    return done.returncode == 0


pytestmark = [
    pytest.mark.skipif(not can_unshare(), reason="needs root, and namespaces"),
    pytest.mark.skipif(toolchain.toolkit() is None, reason="needs the compilers of the tests"),
]


@pytest.fixture(scope="module")
def program(builder: Builder) -> Path:
    return builder.get("vector_add")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("--soft-workers=1") as running:
        yield running


def inside(*namespaces: str, shell: str = 'exec "$@"') -> list[str]:
    """The beginning of a command that runs the rest in new namespaces, after `shell`."""
    return ["unshare", *namespaces, "--fork", "--kill-child", "sh", "-ec", shell, "sh"]


def run(daemon: Daemon, *argv: str, **env: str) -> str:
    done = subprocess.run(
        argv, env={**daemon.env, **env}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr, daemon.log()[-2000:])
    return done.stdout


def test_a_program_with_a_dev_shm_of_its_own(daemon: Daemon, program: Path) -> None:
    hide = 'mount -t tmpfs -o size=64k tmpfs /dev/shm; exec "$@"'
    command = inside("--mount", "--ipc", shell=hide)
    assert run(daemon, *command, *daemon.command(str(program))) == "ok\n"


def test_the_runtime_folder_at_another_place(daemon: Daemon, program: Path) -> None:
    """As a container that mounts it at /run/tally: its real path does not exist there."""
    with tempfile.TemporaryDirectory(prefix="tally-c-") as place:
        folder = daemon.runtime_dir
        move = f'mount --bind {folder} {place}; mount -t tmpfs tmpfs {folder}; exec "$@"'
        command = inside("--mount", shell=move)
        tally = [script("tally"), "--runtime-dir", place, "run", str(program)]
        assert run(daemon, *command, *tally, TALLY_RUNTIME_DIR=place) == "ok\n"


def test_a_program_in_a_pid_namespace_below(daemon: Daemon, program: Path) -> None:
    command = inside("--pid", "--mount-proc")
    assert run(daemon, *command, *daemon.command(str(program))) == "ok\n"


def test_an_image_of_the_same_name_is_not_read_from_the_hosts_file(
    daemon: Daemon, program: Path, tmp_path: Path
) -> None:
    """The program's kernels are in its file; on tallyd's side that path is another one."""
    hidden = tmp_path / "program"
    shutil.copy(program, hidden)
    decoy = tmp_path / "decoy"
    decoy.write_bytes(b"\0" * hidden.stat().st_size)
    other = tmp_path / "other"
    shutil.copy(decoy, other)
    swap = f'cp {program} {decoy}; mount --bind {decoy} {other}; exec "$@"'
    decoy.unlink()
    decoy.touch(mode=0o755)
    command = inside("--mount", shell=swap)
    assert run(daemon, *command, *daemon.command(str(other))) == "ok\n"


@pytest.fixture(scope="module")
def contained() -> Iterator[Daemon]:
    """A tallyd in a PID namespace of its own, which sees none of the host's processes."""

    class Contained(Daemon):
        def _start(self) -> subprocess.Popen[bytes]:
            self._argv = [*inside("--pid", "--mount-proc"), *self._argv]
            return super()._start()

        def close(self) -> int:
            pid = self.process.pid  # unshare's, which waits for tallyd and takes no signal itself
            (tallyd,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            os.kill(int(tallyd), signal.SIGTERM)
            return super().close()

    with Contained("--soft-workers=1") as running:
        yield running


def test_tallyd_in_a_pid_namespace_serves_the_host(contained: Daemon, program: Path) -> None:
    assert run(contained, *contained.command(str(program))) == "ok\n"
    assert run(contained, *inside("--pid", "--mount-proc"), *contained.command(str(program)))
    (first, second) = contained.stats()["jobs"]
    assert first["id"] != second["id"]
    assert [job["lost_sessions"] for job in (first, second)] == [0, 0]


def test_its_programs_ends_are_noticed(contained: Daemon, program: Path) -> None:
    before = len(contained.stats()["jobs"])
    run(contained, *contained.command("true"))
    jobs = contained.stats()["jobs"]
    assert len(jobs) == before + 1
    assert jobs[-1]["state"] == "done"


AS_USER = """
import os, sys
import tally.client, tally.client.api
folder, gid, *groups = sys.argv[1:]
os.setgroups([int(group) for group in groups])
os.setgid(int(gid))
os.setuid(USER)
with tally.client.connect(folder) as client:
    print(client.ping()["version"])
""".replace("USER", str(USER))


@pytest.mark.parametrize("how", ["supplementary", "primary", "neither"])
def test_groups_of_users_that_the_machine_does_not_know(how: str) -> None:
    """A container's user has any number, and its group perhaps only as a supplementary one."""
    with Daemon("--soft-workers=1", f"--group={GROUP}") as daemon:
        os.chmod(daemon.folder, 0o755)
        if how == "neither":  # may come in as far as the socket, and is refused there
            os.chmod(daemon.runtime_dir, 0o755)
            os.chmod(daemon.runtime_dir / "control.sock", 0o666)
        groups = {"supplementary": [USER, GROUP], "primary": [GROUP], "neither": [USER]}[how]
        argv = [sys.executable, "-c", AS_USER, str(daemon.runtime_dir), *map(str, groups)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        if how == "neither":
            assert f"user {USER} may not use this tallyd" in done.stderr
        else:
            assert (done.returncode, done.stdout) == (0, f"{tally.__version__}\n"), done.stderr
