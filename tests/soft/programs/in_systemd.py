"""Runs as a service of a systemd of its own (tests/support/systemd.py), beside tallyd.service.

Arguments: the program that is to run on the device, and whose manager this is, system or user.

With --opens it is the unit's ExecStartPre: may the unit open a device that systemd does not know?
"""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from tally.client import paths

TALLY = Path(sys.executable).with_name("tally")
NOBODY = 65534  # the user and the group; the unit's TALLY_GROUP is its name
DEVICE = "/dev/shm/device"  # as a GPU's node: of a major number that no policy names
PROGRAM = "/run/program"
USER = sys.argv[2] == "user"
FOLDER = Path("/run/user/tally" if USER else "/run/tally")
STATE = Path("/var/lib/tally")  # root's, also under a manager of its own


def systemctl(*argv: str) -> str:
    return subprocess.run(
        ["systemctl", *(["--user"] if USER else []), *argv],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()


def show(name: str) -> str:
    return systemctl("show", "--value", "-p", name, "tallyd.service")


def wait_for(pid: str, restarts: str) -> str:
    """Until another process than pid runs; its pid."""
    until_s = time.monotonic() + 20
    while (show("SubState"), show("NRestarts")) != ("running", restarts) or show("MainPID") == pid:
        assert time.monotonic() < until_s, systemctl("status", "tallyd.service")
        time.sleep(0.05)
    return show("MainPID")


def run_program() -> None:
    check_answer([str(TALLY), "run", "--", PROGRAM])


def run_program_as_member() -> None:
    """As `tally run` does, by a user who has nothing but the group. Python itself may lie where
    only root can read it: what it needs is loaded before."""
    code = (
        "import os; from tally.client.api import connect; from pathlib import Path\n"
        f"with connect(Path('{FOLDER}')) as client: client.jobs()\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"with connect(Path('{FOLDER}')) as client:\n"
        f"    job = client.start_job(['{PROGRAM}'], 'member', 'high', 0)\n"
        "    environment = client.environment(job)\n"
        f"os.execve('{PROGRAM}', ['{PROGRAM}'], environment)"
    )
    check_answer([sys.executable, "-c", code])


def check_answer(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def shim_readable_by_others() -> bool:
    return subprocess.run(["test", "-r", str(paths.shim())], user=NOBODY).returncode == 0


def check_folders() -> None:
    until_s = time.monotonic() + 5  # the program's session is only just gone
    while sorted(os.listdir(FOLDER)) != ["control.sock", "executor-0.sock", "lock"]:
        assert time.monotonic() < until_s, os.listdir(FOLDER)
        time.sleep(0.02)
    assert os.stat(STATE).st_mode & 0o077 == 0
    assert os.listdir(STATE), "no state is kept"


def check_hardening(pid: str) -> None:
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    folder = os.stat(FOLDER)
    assert (folder.st_uid, folder.st_gid, folder.st_mode & 0o777) == (0, NOBODY, 0o750)
    if shim_readable_by_others():
        run_program_as_member()


def main() -> None:
    shutil.copy(sys.argv[1], PROGRAM)
    os.mknod(DEVICE, stat.S_IFCHR | 0o600, os.makedev(61, 0))
    systemctl("start", "tallyd.service")  # returns when READY=1 has come
    first = show("MainPID")
    assert (show("ActiveState"), show("SubState")) == ("active", "running")
    assert show("StatusText").startswith("soft"), show("StatusText")
    run_program()
    check_folders()
    if not USER:
        check_hardening(first)

    os.kill(int(first), signal.SIGKILL)
    second = wait_for(first, "1")
    run_program()

    os.kill(int(second), signal.SIGSTOP)  # it feeds the watchdog no more
    wait_for(second, "2")
    run_program()

    systemctl("stop", "tallyd.service")
    assert (show("ActiveState"), show("Result")) == ("inactive", "success")
    assert not FOLDER.exists()
    os.unlink(DEVICE)
    assert os.listdir("/dev/shm") == []
    print("ok")


def may_open(path: str) -> bool:
    """False if forbidden; a node without a driver behind it cannot be opened otherwise either."""
    try:
        os.open(path, os.O_RDWR)
    except OSError as error:
        return error.errno == errno.ENXIO
    return True


if __name__ == "__main__":
    if sys.argv[1] == "--opens":
        sys.exit(0 if may_open(sys.argv[2]) else "the unit forbids devices")
    main()
