"""A tallyd of one's own in a temporary folder: for the demo, the benchmarks and the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import tally.client
from tally.errors import TallyError

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 15.0


def script(name: str) -> str:
    """The path of a console script of this Python's environment."""
    return str(Path(sys.executable).parent / name)


def plain_environment() -> dict[str, str]:
    """This process's environment without settings of Tally."""
    return {key: value for key, value in os.environ.items() if not key.startswith("TALLY_")}


class LocalDaemon:
    """One running tallyd; use `with`. TallyError, with the end of its log, if it does not start."""

    def __init__(self, *flags: str, device: str = "auto", env: Mapping[str, str] | None = None):
        self.folder = Path(tempfile.mkdtemp(prefix="tally-"))  # short: sockets live in it
        self.runtime_dir = self.folder / "run"
        self.log_path = self.folder / "tallyd.log"
        self.env = {
            **plain_environment(),
            "TALLY_RUNTIME_DIR": str(self.runtime_dir),
            "TALLY_STATE_DIR": str(self.folder / "state"),
            **(env or {}),
        }
        self._argv = [script("tallyd"), "--device", device, *flags]
        try:
            self.process = self._start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        # tallyd tells that it is ready as it tells systemd: no polling, no guessing.
        notify_path = self.folder / "notify"
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
            self.log_path.open("ab") as log,
        ):
            notify.bind(str(notify_path))
            notify.settimeout(0.25)
            process = subprocess.Popen(
                self._argv,
                env={**self.env, "NOTIFY_SOCKET": str(notify_path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
            deadline = time.monotonic() + START_SECONDS_MAX
            while not _is_ready(notify):
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    process.wait()
                    raise TallyError(f"tallyd did not start:\n{self.log()[-4000:]}")
        notify_path.unlink()
        return process

    def log(self) -> str:
        """What tallyd and its executors have logged."""
        return self.log_path.read_text(errors="replace")

    def client(self) -> tally.client.Client:
        """A control connection."""
        return tally.client.connect(self.runtime_dir)

    def command(
        self,
        *argv: str | Path,
        job_class: str = "",
        name: str = "",
        weight: int = 1,
        nice: int | None = None,
    ) -> list[str]:
        """The `tally run` command line for a program; run it with `env`."""
        flags = ["--class", job_class] if job_class else []
        flags += ["--name", name] if name else []
        flags += ["--weight", str(weight)] if weight != 1 else []
        flags += [] if nice is None else ["--nice", str(nice)]
        return [script("tally"), "run", *flags, "--", *(str(arg) for arg in argv)]

    def close(self) -> int:
        """End tallyd by SIGTERM and remove its folder; its exit status. TallyError if it hangs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise TallyError(f"tallyd did not end on SIGTERM:\n{self.log()[-4000:]}") from None
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _is_ready(notify: socket.socket) -> bool:
    try:
        return b"READY=1" in notify.recv(4096)
    except TimeoutError:
        return False
