"""How jobs give way on the CPU: the best way that this machine allows, chosen when tallyd starts.

First choice are control groups (cpu_groups.py): tallyd owns them, and puts each job's process into
its class's when the job is registered, before `tally run` becomes the command. Where there can be
none, the programs do it themselves (client/politeness.py). docs/cpu.md has the whole picture, and
why real-time priorities are not among the ways.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from tally.client.politeness import autogroup_enabled
from tally.errors import ConfigError

from .. import cpu_groups, cpus, runtime
from ..cpu_groups import BEST_EFFORT, Groups, UnusableError

log = logging.getLogger("tallyd.cpu")

IN_GROUP = "group"  # what Job.cpu says of a job in its class's control group


@dataclass(slots=True)
class Politeness:
    """The way in force. `place` is called for each new job."""

    text: str  # for a log or a report
    remedy: str = ""  # what would be better; empty where nothing would
    groups: Groups | None = field(default=None, repr=False)

    def place(self, pid: int, job_class: str) -> str:
        """Order a job's first process by its class: IN_GROUP, or why its own niceness has to do."""
        if self.groups is None:
            return ""
        why_not = self.groups.put(pid, job_class)
        if why_not:
            log.info("pid %d (%s) stays out of the cpu groups: %s", pid, job_class, why_not)
        return why_not or IN_GROUP

    def best_effort_folder(self) -> Path | None:
        """The group for processes that work for best-effort jobs."""
        return self.groups.folder(BEST_EFFORT) if self.groups else None

    def to_json(self) -> dict[str, str]:
        """For `tally doctor`."""
        way = "groups" if self.groups else "policy"
        return {"way": way, "text": self.text, "remedy": self.remedy}

    def close(self) -> None:
        """Undo what was made. Harmless when called twice."""
        if self.groups:
            self.groups.close()
            self.groups = None


def by_policy(reason: str = "", remedy: str = "") -> Politeness:
    """Every program gives way by itself; reason: why there are no control groups."""
    text = "best-effort programs run 10 nicer and with the idle policy"
    if _autogrouped():
        text += ", which counts among programs of one session only (sched_autogroup_enabled is 1)"
        remedy = remedy or "start tallyd and jobs in one session"
    if reason:
        text += f"; no control groups: {reason}"
    return Politeness(text, remedy)


def _autogrouped() -> bool:
    """Whether sessions compete as wholes here: only in the root group of the cpu controller."""
    hierarchy = cpu_groups.find()
    return autogroup_enabled() and (hierarchy is None or hierarchy.in_root_group())


def choose(setting: str) -> Politeness:
    """auto: the best way; groups: that or ConfigError; policy: no control groups."""
    if setting == "policy":
        return by_policy("cpu_politeness is policy")
    try:
        groups = _groups()
    except UnusableError as error:
        if setting == "groups":
            hint = f"; {error.remedy}" if error.remedy else ""
            raise ConfigError(f"cpu_politeness: no control groups: {error}{hint}") from None
        return by_policy(str(error), error.remedy)
    return Politeness(
        f"best-effort programs give way as a control group, {groups.path}", "", groups
    )


def _groups() -> Groups:
    hierarchy = cpu_groups.find()
    if hierarchy is None:
        raise UnusableError("no control groups are mounted", "mount cgroup2 on /sys/fs/cgroup")
    home = hierarchy.folder_of("self")
    if home is None:
        raise UnusableError("tallyd's own control group is not visible in this namespace")
    return Groups(hierarchy, home, runtime.instance_id(0), cpus.available())
