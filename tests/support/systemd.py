"""A systemd of a test's own, so that units run as on a machine, hardening and all.

It is process 1 of new namespaces, as in a container: with its own /run, /var/lib, /dev/shm, network
and console, the rest of the root read-only, without the capabilities that reach the kernel, and in
a control group that the test makes and removes. Nothing of the machine's own systemd, if it has
one, is touched.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAM = Path("/lib/systemd/systemd")
TARGETS = ("sysinit", "basic", "shutdown", "multi-user")
TOOLS = ("systemctl", "unshare", "setpriv")
NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--cgroup")
NAMESPACES += ("--uts", "--ipc", "--net")

# The namespaces' first process: $1 the test's folder, $2 the terminal that is the console, $3
# systemd, which it becomes by `exec`. Mounts made before the root becomes read-only stay writable.
SET_UP = """
set -e
mount --make-rprivate /
for folder in /run /var/lib /dev/shm /sys/fs/cgroup; do mount -t tmpfs tmpfs "$folder"; done
chmod 1777 /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind "$1" "$1"
mount --bind "$2" /dev/console
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /
cp -r "$1/units" /run/units
export container=test SYSTEMD_UNIT_PATH=/run/units SYSTEMD_COLORS=0
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog \\
    "$3" --system --unit=driver.service --log-target=console --log-level=info --show-status=0
"""

DRIVER = """
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart={command}
StandardOutput=append:{output}
StandardError=append:{output}
TimeoutStartSec={seconds}
"""

# A user's manager, root's, as a service of the system's: with a home of its own.
USERS_MANAGER = """
Delegate=yes
Environment=XDG_RUNTIME_DIR=/run/user HOME=/run/home SYSTEMD_UNIT_PATH=/run/units/user
Environment=SYSTEMD_LOG_TARGET=console
ExecStartPre=mkdir -p /run/user /run/home
"""


def _own_group() -> Path | None:
    """The cgroup-2 folder of this process; None if there is none, or it may not be changed."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    places = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    paths = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    if not places or not paths:
        return None
    folder = places[0] / paths[0]
    return folder if os.access(folder, os.W_OK) else None


def why_not() -> str:
    """Why this machine cannot run one; empty if it can."""
    if os.geteuid() != 0:
        return "a systemd of the test's own needs root"
    if not PROGRAM.exists():
        return "systemd is not installed"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"without {', '.join(missing)}"
    if _own_group() is None:
        return "no control groups of version 2"
    probe = ["unshare", *NAMESPACES, "sh", "-c", "mount -t cgroup2 cgroup2 /sys/fs/cgroup"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"no namespaces here: {done.stderr.strip()}" if done.returncode else ""


@contextlib.contextmanager
def _group() -> Iterator[Path]:
    parent = _own_group()
    assert parent is not None
    group = parent / f"tally-test-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """With all that is in it; what was killed may take a moment to be gone."""
    until_s = time.monotonic() + 5
    for folder in sorted([group, *group.glob("**/")], key=lambda path: -len(path.parts)):
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.02)


def _write_units(folder: Path, unit: str, command: str, seconds: int, user: bool) -> None:
    """The manager that is to run the unit finds it, and driver.service, which is the command."""

    def driver(command: str, name: str) -> str:
        return DRIVER.format(command=command, output=folder / name, seconds=seconds)

    units = folder / "units"
    of_user = units / "user"
    of_user.mkdir(parents=True)
    for name in TARGETS:
        for place in (units, of_user):
            (place / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    own = of_user if user else units
    (own / "tallyd.service").write_text(unit)
    (own / "driver.service").write_text(driver(command, "output"))
    if user:
        manager = driver(f"{PROGRAM} --user --unit=driver.service", "manager")
        (units / "driver.service").write_text(manager + USERS_MANAGER)


def _read_until_end(process: subprocess.Popen[bytes], master: int, seconds: int) -> str:
    """What comes on the console. AssertionError if the process does not end in time."""
    said, until_s = b"", time.monotonic() + seconds
    while process.poll() is None:
        assert time.monotonic() < until_s, f"not ended in {seconds} s:\n{said[-4000:]!r}"
        if select.select([master], [], [], 0.1)[0]:
            said += os.read(master, 65536)
    while select.select([master], [], [], 0)[0]:
        said += os.read(master, 65536)
    return said.decode(errors="replace").replace("\r\n", "\n")


def run_under_systemd(
    folder: Path, unit: str, command: str, seconds: int, *, user: bool = False
) -> str:
    """The output of a command that finds `unit` as tallyd.service; both are services of the
    system's manager, or of a user's. AssertionError, with systemd's own words, if the command fails
    or takes longer."""
    _write_units(folder, unit, command, seconds, user)
    master, slave = os.openpty()
    arguments = [str(folder), os.ttyname(slave), str(PROGRAM)]
    # In the group before the namespace is made: its root is where its maker is.
    enter = 'echo $$ > "$0"/cgroup.procs && exec "$@"'
    with _group() as group:
        argv = ["sh", "-c", enter, str(group), "unshare", *NAMESPACES, "sh", "-c", SET_UP, "sh"]
        with subprocess.Popen([*argv, *arguments], stdout=slave, stderr=slave) as process:
            try:
                console = _read_until_end(process, master, seconds + 20)
            finally:
                process.kill()  # and with it, by --kill-child, all of the namespace
                os.close(slave)
                os.close(master)
    output, manager = (
        path.read_text() if path.exists() else ""
        for path in (folder / "output", folder / "manager")
    )
    assert process.returncode == 0, f"{output}\n--- console\n{console[-6000:]}{manager[-3000:]}"
    return output
