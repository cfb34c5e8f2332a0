"""Control groups for the CPU: found, made in the kernel's order, limits kept, cleaned up.

Version 1 is the kernel's own where a test may make groups there; version 2, which most test
machines do not let a test change, is a model of the kernel's rules
(Documentation/admin-guide/cgroup-v2.rst).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tally.daemon import cpu_groups
from tally.daemon.cpu_groups import BEST_EFFORT, HIGH, Groups, Hierarchy, UnusableError, find
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


# ---- version 2, on a model of the kernel ---------------------------------------------------------


class Model:
    """A version-2 hierarchy in a temporary folder, with the kernel's rules about writing to it."""

    def __init__(self, top: Path, patch: pytest.MonkeyPatch, idle: bool = True):
        self.top, self.idle = top, idle
        top.mkdir()
        self._fill(top, "cpu memory")
        (top / "cgroup.type").unlink()
        for name in ("make", "write", "remove"):
            patch.setattr(cpu_groups, f"_{name}", getattr(self, name))
        patch.setattr(cpu_groups, "_same_namespace", lambda _pid: True)
        patch.setattr(Hierarchy, "folder_of", lambda _self, pid: self.group_of(int(pid)))

    def _fill(self, folder: Path, controllers: str) -> None:
        for name in ("cgroup.procs", "cgroup.subtree_control"):
            (folder / name).write_text("")
        (folder / "cgroup.type").write_text("domain\n")
        (folder / "cgroup.controllers").write_text(controllers)

    def _switch(self, folder: Path, on: bool) -> None:
        for name in ("cpu.weight", *(["cpu.idle"] if self.idle else [])):
            if on:
                (folder / name).write_text("100" if name == "cpu.weight" else "0")
            else:
                (folder / name).unlink(missing_ok=True)

    def make(self, folder: Path) -> None:
        folder.mkdir()
        on = (folder.parent / "cgroup.subtree_control").read_text()
        self._fill(folder, on)
        self._switch(folder, "cpu" in on)

    def remove(self, folder: Path) -> None:
        for group in (folder / HIGH, folder / BEST_EFFORT, folder):
            if group.exists() and not (group / "cgroup.procs").read_text():
                shutil.rmtree(group)

    def group_of(self, pid: int) -> Path | None:
        groups = [self.top, *(path for path in self.top.rglob("*") if path.is_dir())]
        return next((g for g in groups if str(pid) in self.pids(g)), None)

    def pids(self, folder: Path) -> list[str]:
        return (folder / "cgroup.procs").read_text().split()

    def enter(self, folder: Path, *pids: int) -> None:
        for pid in map(str, pids):
            if old := self.group_of(int(pid)):
                left = [other for other in self.pids(old) if other != pid]
                (old / "cgroup.procs").write_text("\n".join(left))
            (folder / "cgroup.procs").write_text("\n".join([*self.pids(folder), pid]))

    def write(self, path: Path, text: str) -> None:
        folder, name = path.parent, path.name
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        inner = folder != self.top
        if name == "cgroup.procs":
            if inner and (folder / "cgroup.subtree_control").read_text():
                raise OSError(errno.EBUSY, "Device or resource busy")
            self.enter(folder, int(text))
        elif name == "cgroup.subtree_control":
            self._control(folder, text, inner)
        else:
            path.write_text(text)

    def _control(self, folder: Path, text: str, inner: bool) -> None:
        children = [child for child in folder.iterdir() if child.is_dir()]
        if text == "+cpu":
            if "cpu" not in (folder / "cgroup.controllers").read_text():
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
            if inner and self.pids(folder):
                raise OSError(errno.EBUSY, "Device or resource busy")
        elif any((child / "cgroup.subtree_control").read_text() for child in children):
            raise OSError(errno.EBUSY, "Device or resource busy")
        on = text == "+cpu"
        (folder / "cgroup.subtree_control").write_text("cpu" if on else "")
        for child in children:
            (child / "cgroup.controllers").write_text("cpu" if on else "")
            self._switch(child, on)


@pytest.fixture(params=[True, False], ids=["idle", "before-idle"])
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Model:
    return Model(tmp_path / "cgroup", monkeypatch, request.param)


def unit(model: Model, *pids: int, controllers: str = "cpu") -> Path:
    """A service's group with processes in it."""
    (model.top / "cgroup.subtree_control").write_text(controllers)
    folder = model.top / "tallyd.service"
    model.make(folder)
    model.enter(folder, *pids)
    return folder


def test_second_version_in_a_delegated_unit(model: Model) -> None:
    home = unit(model, os.getpid())
    groups = Groups(Hierarchy(2, model.top, "/"), home, "i")
    assert model.group_of(os.getpid()) == groups.folder(HIGH)
    polite = groups.folder(BEST_EFFORT)
    if model.idle:
        assert (polite / "cpu.idle").read_text() == "1"
    else:
        assert (polite / "cpu.weight").read_text() == "1"

    session = model.top / "session-3.scope"
    model.make(session)
    model.enter(session, 70, 71, 72)
    assert groups.put(70, BEST_EFFORT) == groups.put(71, HIGH) == ""
    assert [model.group_of(pid) for pid in (70, 71, 72)] == [polite, groups.folder(HIGH), session]

    groups.close()
    assert [model.group_of(pid) for pid in (70, 71, os.getpid())] == [session, session, home]
    assert not groups.path.exists()


def test_second_version_in_the_machines_root(model: Model) -> None:
    """Where processes and controllers may be in one group: no systemd."""
    model.enter(model.top, os.getpid(), 80)
    groups = Groups(Hierarchy(2, model.top, "/"), model.top, "i")
    assert groups.put(80, BEST_EFFORT) == ""
    groups.close()
    assert model.group_of(80) == model.top
    assert (model.top / "cgroup.subtree_control").read_text() == "cpu"  # others may count on it


@pytest.mark.parametrize(
    ("pids", "controllers", "reason"),
    [((81,), "cpu", "1 other processes are in it"), ((), "memory", "no cpu controller")],
)
def test_second_version_where_it_cannot_be(
    model: Model, pids: tuple[int, ...], controllers: str, reason: str
) -> None:
    home = unit(model, os.getpid(), *pids, controllers=controllers)
    with pytest.raises(UnusableError, match=reason) as caught:
        Groups(Hierarchy(2, model.top, "/"), home, "i")
    assert "Delegate=yes" in caught.value.remedy
    assert model.group_of(os.getpid()) == home
    assert [path.name for path in home.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("web.service", {}, "CPUWeight="),
        ("job.scope", {"memory.max": "1000000"}, "memory.max"),
        ("job.scope", {"cpu.max": "50000 100000"}, "cpu.max"),
        ("job.scope", {"cpuset.cpus": "0-1"}, "cpuset.cpus"),
        ("job.scope", {"memory.max": "max", "cpu.max": "max 100000", "cpuset.cpus": ""}, ""),
    ],
)
def test_who_stays_where_it_is(
    model: Model, name: str, limits: dict[str, str], reason: str
) -> None:
    groups = Groups(Hierarchy(2, model.top, "/"), unit(model, os.getpid()), "i")
    outer = model.top / name
    model.make(outer)
    inner = outer / "inner.service" if name.endswith(".service") else outer / "inner"
    model.make(inner)
    for file, text in limits.items():
        (outer / file).write_text(text)
    model.enter(inner, 90)
    said = groups.put(90, BEST_EFFORT)
    assert (reason in said) if reason else (said == "")
    assert model.group_of(90) == (inner if reason else groups.folder(BEST_EFFORT))


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
