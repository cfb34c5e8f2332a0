"""CPU politeness by its effect: who gets a CPU that two programs want, and what is left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.toolchain import Builder

from tally.daemon import cpu_groups, cpus

pytestmark = pytest.mark.timeout(120)

TICKS = os.sysconf("SC_CLK_TCK")
# Both burn one CPU, the same, until they are killed; a line says that the program itself runs.
BURN = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(flush=True)\n"
BURN += "while True: pass"


def groups_can_be_made() -> bool:
    hierarchy = cpu_groups.find()
    home = hierarchy.folder_of("self") if hierarchy else None
    return hierarchy is not None and hierarchy.version == 1 and os.access(str(home), os.W_OK)


needs_groups = pytest.mark.skipif(not groups_can_be_made(), reason="no cpu cgroups to make")
WAYS = [pytest.param("groups", marks=needs_groups), "policy"]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def burner(daemon: Daemon, own_session: bool, *flags: str) -> Iterator[int]:
    argv = [*daemon.command("true")[:2], *flags, "--", sys.executable, "-c", BURN]
    with subprocess.Popen(
        argv, env=daemon.env, stdout=subprocess.PIPE, start_new_session=own_session
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            yield process.pid
        finally:
            process.kill()


def shares(daemon: Daemon, own_sessions: bool, *flags: str) -> float:
    """CPU time of a best-effort program with these flags, in that of a high one beside it.

    It is the CPU's own time that is compared, so that what else the machine does cancels out."""
    with (
        burner(daemon, own_sessions, *flags) as polite,
        burner(daemon, own_sessions, "--class", "high") as high,
    ):
        polite_s, high_s = cpu_seconds(polite), cpu_seconds(high)
        while cpu_seconds(high) + cpu_seconds(polite) < high_s + polite_s + 1.5:
            time.sleep(0.05)
        return (cpu_seconds(polite) - polite_s) / max(cpu_seconds(high) - high_s, 1 / TICKS)


@pytest.mark.parametrize("own_sessions", [False, True], ids=["one-session", "own-sessions"])
@pytest.mark.parametrize("way", WAYS)
def test_best_effort_programs_leave_the_cpu_to_high_ones(way: str, own_sessions: bool) -> None:
    with Daemon("--cpu-politeness", way) as daemon:
        assert shares(daemon, own_sessions) < 0.2


@pytest.mark.parametrize("way", WAYS)
def test_unless_told_not_to(way: str) -> None:
    """The counterpart: by the same measure, programs of equal rights are equal."""
    with Daemon("--cpu-politeness", way) as daemon:
        assert 0.4 < shares(daemon, False, "--nice", "0") < 2.5


@needs_groups
def test_tallyd_and_executors_are_with_the_high_jobs() -> None:
    with Daemon("--cpu-politeness", "groups") as daemon:
        hierarchy = cpu_groups.find()
        assert hierarchy is not None
        ours = [daemon.process.pid, *daemon.executor_pids()]
        assert len(ours) == 2
        assert (
            {hierarchy.folder_of(pid) for pid in ours}
            == {
                hierarchy.folder_of("self") / folder / "high"  # type: ignore[operator]
                for folder in os.listdir(hierarchy.folder_of("self"))
                if folder.split(".")[1:2] == [str(daemon.process.pid)]
            }
        )
        with burner(daemon, True) as pid:
            folder = hierarchy.folder_of(pid)
            assert folder is not None
            assert folder.name == "best-effort"
            outside = daemon.client().doctor()["cpu"]
            assert outside["way"] == "groups"
            assert outside["outside"] == []
    assert not folder.parent.exists()


def test_executors_are_in_tallyds_session() -> None:
    """Or niceness would not count between them, where the kernel shares the CPU by sessions."""
    with Daemon() as daemon:
        (executor,) = daemon.executor_pids()
        assert os.getsid(executor) == os.getsid(daemon.process.pid)
        assert os.getpgid(executor) != os.getpgid(daemon.process.pid)  # Ctrl-C is for tallyd


def test_softgpu_leaves_a_cpu(builder: Builder) -> None:
    builder.start("vector_add")
    with Daemon() as daemon:
        assert daemon.ok(builder.get("vector_add")) == "ok\n"
        (executor,) = daemon.executor_pids()
        names = [path.read_text() for path in Path(f"/proc/{executor}/task").glob("*/comm")]
        workers = sum(name.startswith("soft-sm-") for name in names)
        assert workers == cpus.soft_workers(cpus.available())
