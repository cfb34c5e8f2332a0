"""Control groups for the CPU, version 2: found, made in the kernel's order, limits kept.

Most test machines do not let a test change these, so this is a model of the kernel's rules
(Documentation/admin-guide/cgroup-v2.rst).
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tally.daemon import cpu_groups
from tally.daemon.cpu_groups import BEST_EFFORT, HIGH, Groups, Hierarchy, UnusableError


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
