"""A high-priority service and best-effort workers, led step by step; what tallyd says of them."""

from __future__ import annotations

import statistics
from types import TracebackType
from typing import Any, Self

from .daemon import Daemon, read_line
from .executor import shared_memory_of as of_process
from .toolchain import Builder


class Service:
    """programs/service.cu as a high job; use `with`. It must end well."""

    def __init__(self, daemon: Daemon, builder: Builder) -> None:
        self.process = daemon.start(builder.get("service"), job_class="high", name="service")
        read_line(self.process, "ready")

    def _tell(self, line: str, answer: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return read_line(self.process, answer)

    def ask(self, count: int) -> list[int]:
        """Serve so many requests; each one's time in microseconds. Every result is checked."""
        return [int(word) for word in self._tell(f"ask {count}", "asked").split()[1:]]

    def median_us(self, count: int = 30) -> float:
        return statistics.median(self.ask(count))

    def talk(self, pauses: int) -> None:
        """Serve one request: kernels of 4 ms with so many pauses of 0.5 ms between them."""
        self._tell(f"talk {pauses}", "talked")

    def hold(self) -> None:
        """Begin a kernel that keeps the device busy."""
        self._tell("hold", "held")

    def release(self) -> None:
        """Let that kernel end."""
        self._tell("release", "released")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.process.kill()
        output, _ = self.process.communicate(timeout=20)
        if error is None:
            assert self.process.returncode == 0, output


class Worker:
    """programs/worker.cu as a best-effort job, ready for its first round."""

    def __init__(
        self,
        daemon: Daemon,
        builder: Builder,
        *,
        blocks: int,
        seconds: float,
        rounds: int = 1,
        kind: str = "plain",
        name: str = "worker",
        weight: int = 1,
    ) -> None:
        """seconds: of one block."""
        program = builder.get("worker")
        self.daemon = daemon
        self.process = daemon.start(
            *(program, kind, blocks, seconds, rounds),
            job_class="best-effort",
            name=name,
            weight=weight,
        )
        read_line(self.process, "ready")

    def launch(self) -> None:
        """Submit one round."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        read_line(self.process, "launched")

    def job(self) -> dict[str, Any]:
        """What tallyd says of it: a job's root is the process that `tally run` became."""
        pid = self.process.pid
        (found,) = [entry for entry in self.daemon.stats()["jobs"] if entry["pid"] == pid]
        return dict(found)

    def stats(self) -> dict[str, Any]:
        return dict(self.job()["stats"])

    def counter(self, name: str) -> int:
        return int(self.stats()["counters"].get(name, 0))

    def waiting_ns(self) -> int:
        """How long the launch that is held back now has waited."""
        return int(self.stats()["gauges"].get("waiting_ns", 0))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def finish(self, seconds_max: float) -> None:
        """To its end, which must be right."""
        output, _ = self.process.communicate(timeout=seconds_max)
        assert (self.process.returncode, output) == (0, "ok\n")

    def fail(self, seconds_max: float) -> str:
        """To its end by a CUDA error; its output."""
        output, _ = self.process.communicate(timeout=seconds_max)
        assert self.process.returncode == 2, (self.process.returncode, output)
        assert " gave " in output
        return output


def sessions(daemon: Daemon) -> int:
    """Open ones, of all jobs."""
    return sum(int(entry["sessions"]) for entry in daemon.stats()["jobs"])


def shared_memory_of(daemon: Daemon) -> set[str]:
    """Names of what this tallyd's executors share with programs."""
    return {name for pid in daemon.executor_pids() for name in of_process(pid)}


def free_memory(daemon: Daemon, builder: Builder) -> int:
    """Free device memory in bytes, as a new program sees it."""
    return int(daemon.ok(builder.get("free_memory")).split()[0])
