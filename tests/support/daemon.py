"""A tallyd of the test's own, on softgpu unless told otherwise, and programs under `tally run`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tally.workloads.local import LocalDaemon, plain_environment, script

__all__ = ["Daemon", "plain_environment", "read_line", "script", "wait_until"]


def wait_until(condition: Callable[[], bool], seconds_max: float, what: str) -> float:
    """Poll until the condition holds; how long that took in seconds. AssertionError if longer."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds_max:
            raise AssertionError(f"not within {seconds_max:g} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - began


class Daemon(LocalDaemon):
    """A tallyd whose programs are run to their end, and asserted to succeed."""

    def __init__(self, *flags: str, device: str = "soft", env: Mapping[str, str] | None = None):
        self.started: list[subprocess.Popen[str]] = []
        super().__init__(*flags, device=device, env=env)

    def stats(self) -> dict[str, Any]:
        """One snapshot, as `tally stats --json` prints it."""
        with self.client() as client:
            return client.stats()

    def run(
        self,
        *argv: str | Path | int,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        job_class: str = "",
        name: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end under `tally run`."""
        return subprocess.run(
            self.command(*map(str, argv), job_class=job_class, name=name),
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def ok(self, *argv: str | Path | int, **options: Any) -> str:
        """Run a program that must succeed; its standard output."""
        done = self.run(*argv, **options)
        assert done.returncode == 0, (
            f"{[str(a) for a in argv]} ended with {done.returncode}\n"
            f"--- stdout\n{done.stdout[-4000:]}\n--- stderr\n{done.stderr[-4000:]}\n"
            f"--- tallyd\n{self.log()[-4000:]}"
        )
        return done.stdout

    def start(
        self,
        *argv: str | Path | int,
        env: Mapping[str, str] | None = None,
        job_class: str = "",
        name: str = "",
        weight: int = 1,
    ) -> subprocess.Popen[str]:
        """Start a program under `tally run`, its output a pipe."""
        process = subprocess.Popen(
            self.command(*map(str, argv), job_class=job_class, name=name, weight=weight),
            env={**self.env, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.started.append(process)
        return process

    def kill_started(self) -> None:
        """End what a failed test has left running."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.started.clear()

    def tally(self, *argv: str) -> str:
        """A command of `tally` that must succeed; its standard output."""
        done = self.run_tally(*argv)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run_tally(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A command of `tally` to its end."""
        return subprocess.run(
            [script("tally"), *argv],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def executor_pids(self) -> list[int]:
        """Process ids of the live executors."""
        return [int(device["pid"]) for device in self.stats()["devices"] if device["pid"]]


def read_line(process: subprocess.Popen[str], wanted: str) -> str:
    """Read the program's output up to a line that holds `wanted`, and give that line."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if wanted in line:
            return line
    raise AssertionError(f"no '{wanted}' in the output: {''.join(seen)[-2000:]}")
