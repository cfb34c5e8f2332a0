"""How a process gives way on the CPU by itself, where it is in no control group for it.

Only what needs no right is done here: a greater niceness, and the policy SCHED_IDLE, whose threads
run when no other thread of the same session wants to. See docs/cpu.md.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# What each class's commands are nicer by. The service's own thread must get a CPU when it wakes, or
# its latency is lost before the first launch; a command that is alone on its CPUs loses nothing.
NICE = {"high": 0, "best-effort": 10}
AUTOGROUP_ENABLED = Path("/proc/sys/kernel/sched_autogroup_enabled")
AUTOGROUP_NICE = 19
# In an executor: the folder of the control group of best-effort work, if there is one.
GROUP_VARIABLE = "TALLY_CPU_GROUP"


def autogroup_enabled(path: Path = AUTOGROUP_ENABLED) -> bool:
    """Whether the kernel shares the CPU between sessions, and counts niceness only inside one."""
    try:
        return path.read_text().strip() == "1"
    except OSError:
        return False


def become(job_class: str, nice: int | None, in_group: bool) -> None:
    """Give way as a class's programs do: this process, and what it starts or becomes.

    nice: what the user asked for, and then all that is done. in_group: tallyd has put the process
    into a control group, which does more than this can.
    """
    os.nice(NICE[job_class] if nice is None else nice)
    if nice is not None or in_group or job_class == "high":
        return
    with contextlib.suppress(OSError):  # a container's filter of system calls may forbid it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Between sessions only the session's own niceness counts. It is ours to set if nobody else is
    # in it: a terminal's shell must not become slow.
    if autogroup_enabled() and os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(AUTOGROUP_NICE))


def give_way(best_effort: bool = False) -> None:
    """For a process that works for an executor, before its first thread: compiling, rewriting.

    It is as nice as softgpu's workers then: programs and the executor's own threads go first.
    best_effort: what it does is for best-effort jobs alone; then high jobs' work goes first too.
    """
    if best_effort and (group := os.environ.get(GROUP_VARIABLE)):
        with contextlib.suppress(OSError):
            (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    os.nice(NICE["best-effort"])
