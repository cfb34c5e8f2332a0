"""Control groups of the cpu controller, versions 1 and 2: a high and a best-effort one.

    HOME/tally-INSTANCE/high          tallyd, executors and high jobs
    HOME/tally-INSTANCE/best-effort   idle: its processes run when no other process of ours wants to

HOME is the group that tallyd was started in. Processes in a group of their own are compared by
niceness with each other, whichever sessions they belong to: sched_autogroup_enabled concerns those
of the root group alone. A child is in its parent's group, so one write covers a whole job.

Only the kernel's files are read and written here; supervisor/politeness.py decides what they are
for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import runtime

HIGH, BEST_EFFORT = "high", "best-effort"
PREFIX = "tally-"
# Limits that a process would leave behind by moving: file, and what is in it if there is none.
LIMITS = {
    1: (("cpu.cfs_quota_us", ("-1", "")),),
    2: (
        ("cpu.max", ("max", "")),
        ("memory.max", ("max", "")),
        ("memory.high", ("max", "")),
        ("memory.swap.max", ("max", "")),
        ("io.max", ("",)),
        ("cpuset.cpus", ("",)),
    ),
}
SHARES_LEAST = "2"  # version 1, where there is no cpu.idle (before Linux 5.15)
WEIGHT_LEAST = "1"  # version 2, likewise
SHARES_OF_A_PROCESS = 1024
REMEMBERED_MAX = 1024  # processes of which it is known where they came from, before a look at all


class UnusableError(Exception):
    """There can be no groups. The text says why, `remedy` what would help."""

    def __init__(self, text: str, remedy: str = ""):
        super().__init__(text)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where the cpu controller's groups are: its mount, and which part of it is mounted."""

    version: int
    mount: Path
    root: str

    def folder(self, group: str) -> Path | None:
        """The folder of a group, named as in /proc/PID/cgroup. None if it is not in the mount."""
        if not group.startswith("/") or "/.." in group:
            return None  # in a part of the hierarchy that this namespace does not see
        inside = group if self.root == "/" else group.removeprefix(self.root)
        if inside == group and self.root != "/":
            return None
        return self.mount / inside.lstrip("/")

    def folder_of(self, pid: int | str, proc: Path = Path("/proc")) -> Path | None:
        """The folder of the group that a process is in."""
        try:
            lines = (proc / str(pid) / "cgroup").read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            number, controllers, group = line.split(":", 2)
            if "cpu" in controllers.split(",") if self.version == 1 else number == "0":
                return self.folder(group)
        return None

    def in_root_group(self) -> bool:
        """Whether this process is in the machine's root group as far as the CPU is concerned: a
        version-2 group whose controller is off is a part of the next one above whose is on."""
        folder = self.folder_of("self")
        while folder is not None and folder.is_relative_to(self.mount):
            if (folder / "cpu.weight").exists():
                return False
            if self.version == 1:
                return (folder / "release_agent").exists()  # in the root's folder only
            folder = folder.parent
        return True


def _is_uncovered(mount: Path, device: str) -> bool:
    """Whether a mount's folder shows it, and not one that was made over it later."""
    try:
        number = mount.stat().st_dev
    except OSError:
        return False
    return device == f"{os.major(number)}:{os.minor(number)}"


def find(
    mountinfo: str | None = None, is_uncovered: Callable[[Path, str], bool] = _is_uncovered
) -> Hierarchy | None:
    """The cpu controller's hierarchy, from the text of /proc/self/mountinfo: the version-1 mount
    that has it, else the version-2 mount."""
    if mountinfo is None:
        mountinfo = Path("/proc/self/mountinfo").read_text()
    second = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _source, options) = left.split(), right.split(" ", 2)
        device, root, mount = fields[2], fields[3], Path(fields[4])
        if not kind.startswith("cgroup") or not is_uncovered(mount, device):
            continue
        if kind == "cgroup" and "cpu" in options.split(","):
            return Hierarchy(1, mount, root)
        if kind == "cgroup2":
            second = second or Hierarchy(2, mount, root)
    return second


class Groups:
    """The two groups, and this process in the high one. UnusableError if there can be none."""

    def __init__(self, hierarchy: Hierarchy, home: Path, instance: str, cpus: int = 1):
        self._hierarchy = hierarchy
        self._home = home
        self.path = home / f"{PREFIX}{instance}"
        self._enabled_at_home = False
        self._came_from: dict[int, Path] = {}  # where a process was before it was put here
        try:
            if hierarchy.version == 1:
                self._make_first(cpus)
            else:
                self._make_second()
        except OSError as error:
            self.close()
            raise UnusableError(f"{home}: {error.strerror}", _remedy(hierarchy)) from None
        except UnusableError:
            self.close()
            raise
        self._adopt()

    def folder(self, job_class: str) -> Path:
        """Of a class."""
        return self.path / job_class

    def _make_first(self, cpus: int) -> None:
        for folder in (self.path, self.folder(HIGH), self.folder(BEST_EFFORT)):
            _make(folder)
        # A service of many threads must not count as one process against the rest of the machine.
        _write(self.path / "cpu.shares", str(cpus * SHARES_OF_A_PROCESS))
        _make_idle(self.folder(BEST_EFFORT), "cpu.shares", SHARES_LEAST)
        self._move(os.getpid(), HIGH)

    def _make_second(self) -> None:
        """A group with children of which some controller is on has no processes itself; the root of
        the machine is the exception."""
        home = self._home
        if "cpu" not in _read(home / "cgroup.controllers").split():
            raise UnusableError(f"{home} has no cpu controller", _remedy(self._hierarchy))
        is_root = not (home / "cgroup.type").exists()
        others = [pid for pid in _pids(home) if pid != os.getpid()]
        if others and not is_root:
            text = f"{home} is not tallyd's own: {len(others)} other processes are in it"
            raise UnusableError(text, _remedy(self._hierarchy))
        _make(self.path)
        _make(self.folder(HIGH))
        self._move(os.getpid(), HIGH)
        if "cpu" not in _read(home / "cgroup.subtree_control").split():
            _write(home / "cgroup.subtree_control", "+cpu")
            self._enabled_at_home = not is_root
        _write(self.path / "cgroup.subtree_control", "+cpu")
        _make(self.folder(BEST_EFFORT))
        _make_idle(self.folder(BEST_EFFORT), "cpu.weight", WEIGHT_LEAST)

    def _adopt(self) -> None:
        """Take over what a dead tallyd left at the same place: its jobs' processes and groups."""
        for other in self._home.glob(f"{PREFIX}*"):
            if runtime.instance_is_dead(other.name.removeprefix(PREFIX)):
                for job_class in (HIGH, BEST_EFFORT):
                    for pid in _pids(other / job_class):
                        with contextlib.suppress(OSError):
                            self._move(pid, job_class)
                _remove(other)

    def put(self, pid: int, job_class: str) -> str:
        """Put a process, and what it will start, into its class's group. Empty, or why not."""
        old = self._hierarchy.folder_of(pid)
        if old is None or not _same_namespace(pid):
            return "it is in a container, whose groups are the container's"
        if self._hierarchy.version == 2 and old.name.endswith(".service"):
            return f"it belongs to {old.name}, whose weight is for systemd to set (CPUWeight=)"
        if limit := self._limit_left(old):
            return f"it would leave a limit behind, {limit}"
        try:
            self._move(pid, job_class)
        except OSError as error:
            return f"it may not leave {old}: {error.strerror}"
        if not old.is_relative_to(self.path):
            self._remember(pid, old)
        return ""

    def _remember(self, pid: int, old: Path) -> None:
        """Where to put it, and what it starts, back. The dead have no children to be found by."""
        if len(self._came_from) >= REMEMBERED_MAX:
            alive = [pid for pid in self._came_from if Path(f"/proc/{pid}").exists()]
            self._came_from = {pid: self._came_from[pid] for pid in alive}
        self._came_from[pid] = old

    def _limit_left(self, folder: Path) -> str:
        """A limit between the process's group and what it has in common with ours; empty if none.

        Groups are no way out of what an administrator has allowed."""
        shared = {self.path, *self.path.parents}
        while folder not in shared and folder != folder.parent:
            for name, none in LIMITS[self._hierarchy.version]:
                if (_first_word(folder / name)) not in none:
                    return str(folder / name)
            folder = folder.parent
        return ""

    def _move(self, pid: int, job_class: str) -> None:
        _write(self.folder(job_class) / "cgroup.procs", str(pid))

    def close(self) -> None:
        """Put everybody who is left back, and remove the groups. What cannot be is left."""
        left = [pid for job_class in (HIGH, BEST_EFFORT) for pid in _pids(self.folder(job_class))]
        if self._hierarchy.version == 2 and self.path.exists():
            with contextlib.suppress(OSError):
                _write(self.path / "cgroup.subtree_control", "-cpu")
            if self._enabled_at_home:
                with contextlib.suppress(OSError):
                    _write(self._home / "cgroup.subtree_control", "-cpu")
        for pid in left:
            for folder in (self._origin(pid), self._home):
                with contextlib.suppress(OSError):
                    _write(folder / "cgroup.procs", str(pid))
                    break
        _remove(self.path)

    def _origin(self, pid: int) -> Path:
        """Where the process, or the ancestor that was put here, came from."""
        while pid > 1:
            if origin := self._came_from.get(pid):
                return origin
            pid = _parent(pid)
        return self._home


def _make_idle(group: Path, weight_file: str, least: str) -> None:
    """Idle: woken processes of other groups run at once, not when the running one's turn ends."""
    try:
        _write(group / "cpu.idle", "1")
    except OSError:
        _write(group / weight_file, least)


def _remedy(hierarchy: Hierarchy) -> str:
    if hierarchy.version == 1:
        return "run tallyd as root, or let its user write there"
    return (
        "run tallyd as a service (`tally service`, or `tally service --user`), or in a scope of "
        "its own: systemd-run --scope -p Delegate=yes tallyd (--user for a user's)"
    )


def _same_namespace(pid: int) -> bool:
    """Whether the process sees the same groups as we do. Where the kernel does not say (another
    user's process), it is told by the process being in a group that we see."""
    try:
        return os.stat(f"/proc/{pid}/ns/cgroup").st_ino == os.stat("/proc/self/ns/cgroup").st_ino
    except OSError:
        return True


def _parent(pid: int) -> int:
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1]
        )
    except (OSError, IndexError, ValueError):
        return 0


def _pids(group: Path) -> Iterator[int]:
    """The group's processes, once each; none if there is no group."""
    try:
        text = _read(group / "cgroup.procs")
    except OSError:
        return
    yield from dict.fromkeys(int(word) for word in text.split() if int(word) > 0)


def _make(path: Path) -> None:
    path.mkdir()


def _read(path: Path) -> str:
    return path.read_text()


def _first_word(path: Path) -> str:
    """Empty also where there is no such file: the controller is off."""
    try:
        return next(iter(path.read_text().split()), "")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """In one write, and without making the file: a control file is there, or it is an error."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def _remove(path: Path) -> None:
    folders: Iterable[Path] = (path / HIGH, path / BEST_EFFORT, path)
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
