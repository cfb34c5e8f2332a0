"""Control groups for the CPU: found, made, limits kept, cleaned up.

Version 1 is the kernel's own, where a test may make groups there; for version 2 see
test_cpu_groups_second.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tally.daemon import cpu_groups
from tally.daemon.cpu_groups import BEST_EFFORT, HIGH, Groups, Hierarchy, find
from tally.daemon.supervisor import politeness
from tally.errors import ConfigError

FIRST = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
SECOND = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
OTHER = "33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        (OTHER + FIRST + SECOND, Hierarchy(1, Path("/sys/fs/cgroup/cpu"), "/")),
        (SECOND + FIRST, Hierarchy(1, Path("/sys/fs/cgroup/cpu"), "/")),
        (OTHER + SECOND, Hierarchy(2, Path("/sys/fs/cgroup/unified"), "/")),
        (OTHER, None),
        (
            "32 31 0:29 /docker/ab /cgroup/cpu ro master:9 - cgroup cgroup rw,cpuacct,cpu\n",
            Hierarchy(1, Path("/cgroup/cpu"), "/docker/ab"),
        ),
    ],
)
def test_the_controllers_hierarchy(mountinfo: str, expected: Hierarchy | None) -> None:
    assert find(mountinfo, lambda _mount, _device: True) == expected


def test_a_mount_under_another_one_is_not_used(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    line = "1 0 {} / {} rw - cgroup2 cgroup2 rw\n"
    assert find(line.format(device, tmp_path)) == Hierarchy(2, tmp_path, "/")
    assert find(line.format("0:12345", tmp_path)) is None
    assert find(line.format(device, tmp_path / "gone")) is None


@pytest.mark.parametrize(
    ("root", "group", "expected"),
    [
        ("/", "/", "/m"),
        ("/", "/user.slice/session-3.scope", "/m/user.slice/session-3.scope"),
        ("/docker/ab", "/docker/ab", "/m"),
        ("/docker/ab", "/docker/ab/inner", "/m/inner"),
        ("/docker/ab", "/docker/other", None),
        ("/", "/../host", None),
    ],
)
def test_a_groups_folder(root: str, group: str, expected: str | None) -> None:
    folder = Hierarchy(2, Path("/m"), root).folder(group)
    assert folder == (expected and Path(expected))


# ---- version 1, the kernel's own -----------------------------------------------------------------


def home_here() -> tuple[Hierarchy, Path] | None:
    """Of this process, where groups of version 1 may be made; else None."""
    hierarchy = find()
    home = hierarchy.folder_of("self") if hierarchy and hierarchy.version == 1 else None
    return (hierarchy, home) if hierarchy and home and os.access(home, os.W_OK) else None


needs_groups = pytest.mark.skipif(home_here() is None, reason="no cpu cgroups of version 1 to make")


@pytest.fixture
def groups() -> Iterator[Groups]:
    here = home_here()
    assert here is not None
    made = Groups(*here, f"test.{os.getpid()}", cpus=2)
    yield made
    made.close()
    assert not made.path.exists()
    assert here[0].folder_of("self") == here[1]


@contextlib.contextmanager
def sleeper(*prefix: str) -> Iterator[int]:
    with subprocess.Popen(
        [*prefix, "sh", "-c", "echo; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def group_of(pid: int) -> Path | None:
    here = home_here()
    assert here is not None
    return here[0].folder_of(pid)


def need_namespace(flag: str) -> None:
    """Skip the test where no such namespace may be made."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", flag, "true"]).returncode:
        pytest.skip(f"no unshare {flag}")


@needs_groups
def test_first_version(groups: Groups) -> None:
    idle = groups.folder(BEST_EFFORT) / "cpu.idle"
    assert idle.read_text() == "1\n" if idle.exists() else True
    assert int((groups.folder(BEST_EFFORT) / "cpu.shares").read_text()) <= 3
    assert (groups.path / "cpu.shares").read_text() == "2048\n"
    assert group_of(os.getpid()) == groups.folder(HIGH)
    with sleeper() as pid:  # its group is tallyd's when it starts: nothing to go back to
        assert groups.put(pid, BEST_EFFORT) == ""
        assert group_of(pid) == groups.folder(BEST_EFFORT)
        groups.close()
        assert group_of(pid) == groups.path.parent
        assert not groups.path.exists()


@needs_groups
def test_a_limit_is_not_left_behind(groups: Groups) -> None:
    limited = groups.path.parent / f"limited-{os.getpid()}"
    limited.mkdir()
    try:
        (limited / "cpu.cfs_quota_us").write_text("50000")
        with sleeper() as pid:
            (limited / "cgroup.procs").write_text(str(pid))
            assert "cpu.cfs_quota_us" in groups.put(pid, BEST_EFFORT)
            assert group_of(pid) == limited
    finally:
        limited.rmdir()


@needs_groups
def test_a_containers_groups_are_the_containers(groups: Groups) -> None:
    need_namespace("--cgroup")
    with sleeper("unshare", "--cgroup") as pid:
        assert "container" in groups.put(pid, BEST_EFFORT)
        assert group_of(pid) != groups.folder(BEST_EFFORT)


@needs_groups
def test_what_a_dead_tallyd_left_is_taken_over() -> None:
    here = home_here()
    assert here is not None
    code = (
        "import os, sys; from pathlib import Path; from tally.daemon.supervisor import politeness\n"
        "made = politeness.choose('groups')\n"
        "made.place(int(sys.argv[1]), 'best-effort')\n"
        "print(made.groups.path, flush=True); os.kill(os.getpid(), 9)"
    )
    with sleeper() as pid:
        done = subprocess.run(
            [sys.executable, "-c", code, str(pid)], capture_output=True, text=True, check=False
        )
        left = Path(done.stdout.strip())
        assert group_of(pid) == left / BEST_EFFORT, done.stderr
        groups = Groups(*here, f"test.{os.getpid()}")
        try:
            assert not left.exists()
            assert group_of(pid) == groups.folder(BEST_EFFORT)
        finally:
            groups.close()
        assert group_of(pid) == here[1]


# ---- the choice ----------------------------------------------------------------------------------


def choose(before: str, setting: str = "auto", *prefix: str) -> subprocess.CompletedProcess[str]:
    """What a process of its own chooses after some code."""
    code = (
        "import os; from tally.daemon.supervisor import politeness\n"
        f"{before}\nmade = politeness.choose({setting!r})\nprint(made.text, made.remedy, sep='|')\n"
        "made.close()"
    )
    return subprocess.run(
        [*prefix, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_plain_user() -> None:
    """Not allowed to make groups: every program gives way by itself, and it is said why."""
    done = choose("os.setgroups([]); os.setgid(65534); os.setuid(65534)")
    text, remedy = done.stdout.strip().split("|")
    assert text.startswith("best-effort programs run 10 nicer"), done.stderr
    assert "no control groups: " in text
    assert remedy


@needs_groups
def test_groups_that_cannot_be_written() -> None:
    """As in a container."""
    need_namespace("--mount")
    here = home_here()
    assert here is not None
    read_only = f'mount -o remount,bind,ro {here[0].mount} && exec "$@"'
    done = choose("", "auto", "unshare", "--mount", "sh", "-c", read_only, "sh")
    assert "Read-only file system" in done.stdout, done.stderr
    done = choose("", "groups", "unshare", "--mount", "sh", "-c", read_only, "sh")
    assert "cpu_politeness: no control groups: " in done.stderr


def test_no_groups_when_told_so() -> None:
    chosen = politeness.choose("policy")
    assert chosen.groups is None
    assert chosen.place(os.getpid(), "best-effort") == ""
    assert chosen.to_json()["way"] == "policy"


def test_groups_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_groups, "find", lambda: None)
    with pytest.raises(ConfigError, match="no control groups are mounted; mount"):
        politeness.choose("groups")
    assert "no control groups are mounted" in politeness.choose("auto").text


# ---- what works for an executor ------------------------------------------------------------------


def gave_way(best_effort: bool, group: Path | None) -> tuple[int, str]:
    """The niceness that a process of an executor ends up with, and what it is a member of."""
    code = (
        "import os; from tally.client.politeness import give_way\n"
        f"give_way({best_effort}); print(os.nice(0)); print(open('/proc/self/cgroup').read())"
    )
    variable = {"TALLY_CPU_GROUP": str(group)} if group else {}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variable},
        capture_output=True,
        text=True,
        check=True,
    )
    nice, _, rest = done.stdout.partition("\n")
    return int(nice), rest


@needs_groups
def test_compiling_and_rewriting_give_way(groups: Groups) -> None:
    """To programs and the executor's own threads; for best-effort jobs, to high jobs' work too."""
    nice = min(19, os.nice(0) + 10)
    folder = groups.folder(BEST_EFFORT)
    for best_effort in (False, True):
        for group in (folder, None):
            got, member = gave_way(best_effort, group)
            assert got == nice
            assert (f"/{groups.path.name}/{BEST_EFFORT}" in member) == bool(best_effort and group)
    gave_way(True, groups.path / "gone")  # its tallyd has ended: no reason to fail
