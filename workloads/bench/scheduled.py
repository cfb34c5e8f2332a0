"""A high-priority launch under the policy tally, and with scheduling switched off (policy fifo).

One program launches kernels that do nothing (scheduled.c) while the policy is switched to and fro
every few milliseconds, so that both see the same moments of the machine; the ratios are medians
over these pairs. The figures are what the client waits for one kernel, and what a launch costs the
executor. The engine keeps its books of launches under every policy: the ratios say what the policy
adds, the absolute costs have the books in them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from tally.client import Client
from tally.errors import TallyError
from tally.workloads.local import LocalDaemon

from .compile_c import compile_c
from .result import Figure, Spread

POLICIES = ("tally", "fifo")
TARGET = 1.05
LAUNCHES = 3_000  # in one go
REQUESTS = 50  # launches with a synchronisation each
ENGINE_THREAD = "tally-s"  # names of sessions' threads begin so (engine/session/session.c)


def cpu_ns(pid: int) -> tuple[int, int]:
    """CPU time that a process has used so far: of its session threads, and of all."""
    ours = total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            used = int((task / "schedstat").read_text().split()[0])
            ours += used if (task / "comm").read_text().startswith(ENGINE_THREAD) else 0
        except OSError:  # the thread has ended
            continue
        total += used
    return ours, total


class Launcher:
    """The program, and what it is told to do."""

    def __init__(self, daemon: LocalDaemon, folder: Path, client: Client) -> None:
        self.client = client
        self.program = subprocess.Popen(
            daemon.command(
                compile_c("scheduled", folder), job_class="high", name="bench-scheduled"
            ),
            env=daemon.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.run("launches", LAUNCHES)
        self.executor = int(client.doctor()["devices"][0]["pid"])
        self.samples: dict[tuple[str, str], list[float]] = {}

    def run(self, what: str, count: int) -> float:
        """Nanoseconds for one."""
        assert self.program.stdin is not None and self.program.stdout is not None
        self.program.stdin.write(f"{what} {count}\n")
        self.program.stdin.flush()
        answer = self.program.stdout.readline()
        if not answer:
            raise TallyError(f"scheduled ended with {self.program.wait()}")
        return float(answer)

    def measure(self, policy: str) -> None:
        self.client.policy(policy)
        self.run("launches", LAUNCHES // 10)  # what the switch itself cost is over
        before = cpu_ns(self.executor)
        self.run("launches", LAUNCHES)
        after = cpu_ns(self.executor)
        figures = {
            "thread": (after[0] - before[0]) / LAUNCHES,
            "executor": (after[1] - before[1]) / LAUNCHES,
            "request": self.run("requests", REQUESTS),
        }
        for name, value in figures.items():
            self.samples.setdefault((name, policy), []).append(value)

    def close(self) -> None:
        assert self.program.stdin is not None
        self.program.stdin.close()
        self.program.wait(30)


def measure(daemon: LocalDaemon, folder: Path, repetitions: int) -> list[Figure]:
    with daemon.client() as client:
        began_with = client.policy()
        launcher = Launcher(daemon, folder, client)
        try:
            for turn in range(repetitions):
                for policy in POLICIES if turn % 2 else POLICIES[::-1]:
                    launcher.measure(policy)
        finally:
            launcher.close()
            client.policy(began_with)
    samples = launcher.samples

    def figure(name: str, what: str, note: str) -> Figure:
        ours, off = (samples[what, policy] for policy in POLICIES)
        ratio = float(np.median(np.asarray(ours) / np.asarray(off)))
        return Figure(name, "ns", Spread.of(ours), Spread.of(off), ratio, TARGET, note=note)

    return [
        figure("high launch and its end, tally / fifo", "request", "launch and synchronize"),
        figure("executor's CPU per high launch, tally / fifo", "executor", "all threads"),
        figure("the same, engine's thread", "thread", "the one that takes the launches"),
    ]
