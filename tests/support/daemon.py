"""A tallyd of the test's own, on softgpu unless told otherwise, and programs under `tally run`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import tally.client

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 15.0


def command(name: str) -> str:
    """A console script of this Python's environment."""
    return str(Path(sys.executable).parent / name)


def wait_until(condition: Callable[[], bool], seconds_max: float, what: str) -> float:
    """Poll until the condition holds; how long that took, in seconds. AssertionError after seconds_max."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds_max:
            raise AssertionError(f"not within {seconds_max:g} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - began


def plain_environment() -> dict[str, str]:
    """This process's environment without settings of Tally: tests decide those."""
    return {key: value for key, value in os.environ.items() if not key.startswith("TALLY_")}


class Daemon:
    """One running tallyd in a runtime folder of its own; use `with`."""

    def __init__(self, *flags: str, device: str = "soft", env: Mapping[str, str] | None = None):
        self.folder = Path(tempfile.mkdtemp(prefix="tally-t-"))  # short: sockets live in it
        self.runtime_dir = self.folder / "run"
        self.log_path = self.folder / "tallyd.log"
        self.env = {
            **plain_environment(),
            "TALLY_RUNTIME_DIR": str(self.runtime_dir),
            **(env or {}),
        }
        self._flags = ["--device", device, "--state-dir", str(self.folder / "state"), *flags]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # tallyd tells readiness as it tells systemd: no polling, no guessing.
        notify_path = self.folder / "notify"
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
            self.log_path.open("ab") as log,
        ):
            notify.bind(str(notify_path))
            process = subprocess.Popen(
                [command("tallyd"), *self._flags],
                env={**self.env, "NOTIFY_SOCKET": str(notify_path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
            notify.settimeout(0.25)
            deadline = time.monotonic() + START_SECONDS_MAX
            while True:
                try:
                    if b"READY=1" in notify.recv(4096):
                        break
                except TimeoutError:
                    pass
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    raise AssertionError(f"tallyd did not start:\n{self.log()}")
        notify_path.unlink()
        return process

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def client(self) -> tally.client.Client:
        return tally.client.connect(self.runtime_dir)

    def stats(self) -> dict[str, Any]:
        with self.client() as client:
            return client.stats()

    def command(self, *argv: str | Path, job_class: str = "", name: str = "") -> list[str]:
        """The `tally run` command line for a program."""
        flags = ["--class", job_class] if job_class else []
        flags += ["--name", name] if name else []
        return [command("tally"), "run", *flags, "--", *(str(arg) for arg in argv)]

    def run(
        self,
        *argv: str | Path,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        job_class: str = "",
        name: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end under `tally run`."""
        return subprocess.run(
            self.command(*argv, job_class=job_class, name=name),
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def ok(self, *argv: str | Path, **options: Any) -> str:
        """Run a program that must succeed; its standard output."""
        done = self.run(*argv, **options)
        assert done.returncode == 0, (
            f"{[str(a) for a in argv]} ended with {done.returncode}\n"
            f"--- stdout\n{done.stdout[-4000:]}\n--- stderr\n{done.stderr[-4000:]}\n"
            f"--- tallyd\n{self.log()[-4000:]}"
        )
        return done.stdout

    def start(
        self, *argv: str | Path, env: Mapping[str, str] | None = None, name: str = ""
    ) -> subprocess.Popen[str]:
        """Start a program under `tally run`, its standard output a pipe."""
        return subprocess.Popen(
            self.command(*argv, name=name),
            env={**self.env, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def executor_pids(self) -> list[int]:
        """Process ids of the live executors."""
        return [int(e["pid"]) for e in self.stats()["executors"] if e.get("pid")]

    def close(self) -> int:
        """End tallyd by SIGTERM; its exit status. The folder is removed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"tallyd did not end on SIGTERM:\n{self.log()[-4000:]}") from None
        remove_tree(self.folder)
        return status

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def remove_tree(folder: Path) -> None:
    """Remove a folder that sockets may still be vanishing from."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    folder.rmdir()


def read_line(process: Sequence[Any] | Any, wanted: str, seconds_max: float = 30.0) -> str:
    """Read the program's output up to a line that holds `wanted`."""
    began = time.monotonic()
    seen = []
    while time.monotonic() - began < seconds_max:
        line = process.stdout.readline()
        if not line:
            break
        seen.append(line)
        if wanted in line:
            return str(line)
    raise AssertionError(f"no '{wanted}' in the output: {''.join(seen)[-2000:]}")
