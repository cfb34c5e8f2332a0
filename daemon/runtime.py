"""The runtime folder: who owns it, one daemon at a time, and what dead ones left behind."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import logging
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from tally.errors import AlreadyRunningError, ConfigError

log = logging.getLogger("tallyd")

# What tallyd and executors make in the folder.
OURS = re.compile(r"lock|control\.sock|executor-\d+\.sock|s\d+-\d+\.(ops|replies|memory)")


def process_start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; with the pid it names one for good.

    None if there is no such process.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # field 22; the name may contain anything


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def instance_id(executor_start: int) -> str:
    """A name from which anyone can tell whether the tallyd that made it still lives."""
    pid = os.getpid()
    return f"{_pid_namespace():x}.{pid}.{process_start_ticks(pid)}.{executor_start}"


def instance_is_dead(instance: str) -> bool:
    """Whether the instance's tallyd is gone. False for another PID namespace's: who knows."""
    pieces = instance.split(".")
    if len(pieces) != 4 or not all(piece.isalnum() for piece in pieces):
        return False
    try:
        if int(pieces[0], 16) != _pid_namespace():
            return False
        return process_start_ticks(int(pieces[1])) != int(pieces[2])
    except ValueError:
        return False


def _remove(paths: Iterable[Path]) -> int:
    count = 0
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
            count += 1
    return count


def remove_session_sockets(folder: Path, device: int) -> int:
    """Unlink the sockets of an executor's sessions. It does so itself, unless it was killed."""
    names = re.compile(rf"s\d+-{device}\.(ops|replies|memory)")
    return _remove([path for path in folder.iterdir() if names.fullmatch(path.name)])


def group_number(group: str) -> int:
    """Of a group's name, or the number itself: containers have groups without names."""
    if group.isascii() and group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f'group: there is no group "{group}"') from None


class RuntimeDir:
    """The folder, made, checked and locked. The lock is held until close or death."""

    def __init__(self, path: Path, group: str = ""):
        self.path = path
        _make(path, group)
        _refuse_obstacles(path)
        try:
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            text = f"runtime_dir: {path}/lock cannot be opened: {error.strerror}"
            raise ConfigError(text) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            os.close(self._lock)
            raise AlreadyRunningError(
                f"another tallyd (pid {pid or 'unknown'}) owns {path}; "
                "stop it, or choose another folder with --runtime-dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self._remove_sockets()

    def _remove_sockets(self) -> None:
        """Only the holder of the lock gets here, so that every socket in the folder is stale."""
        for path in self.path.iterdir():
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()

    def close(self) -> None:
        """Remove the sockets and let go of the lock. The folder stays: systemd may own it."""
        self._remove_sockets()
        os.close(self._lock)


def _refuse_obstacles(folder: Path) -> None:
    """ConfigError if something else lies where a socket or the lock is to be."""
    for path in folder.iterdir():
        mode = path.lstat().st_mode
        wanted = stat.S_ISREG if path.name == "lock" else stat.S_ISSOCK
        if OURS.fullmatch(path.name) and not wanted(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no socket"
            what = "not a file" if path.name == "lock" else what
            raise ConfigError(f"runtime_dir: {path} is in the way: it is {what}; remove it")


def _make(path: Path, group: str) -> None:
    """Make the folder, or check that an existing one is ours. ConfigError if it cannot be used."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.lstat()
    except OSError as error:
        raise ConfigError(f"runtime_dir: {path} cannot be made: {error.strerror}") from None
    if not stat.S_ISDIR(info.st_mode):
        raise ConfigError(f"runtime_dir: {path} is not a folder (symbolic links are refused)")
    if info.st_uid != os.geteuid():
        raise ConfigError(
            f"runtime_dir: {path} belongs to user {info.st_uid}, not to {os.geteuid()}; "
            "remove it or choose another one"
        )
    mode = 0o700
    try:
        if group:
            os.chown(path, -1, group_number(group))
            mode = 0o2750  # sockets made in it belong to the group
        path.chmod(mode)
    except OSError as error:
        raise ConfigError(f"runtime_dir: permissions of {path}: {error.strerror}") from None
