"""Jobs and their sessions: plain state, no sockets, no clock. The supervisor's event loop owns it.

A job runs while the process that `tally run` became is alive or one of its sessions is connected.
What a closed session counted is merged into its job, so that an ended job keeps its statistics.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tally.client.records import CLASSES
from tally.config import default_of

from .. import job_stats

NOTICES_MAX = 64  # different ones per job
SYMBOLS_MAX = 1024  # distinct unsupported symbols per job; the driver API has about 700


class UnknownJobError(Exception):
    """A session names a job that tallyd does not know, or that belongs to another user."""


@dataclass(slots=True)
class Session:
    """One client process's connection. Session ids are never reused."""

    id: int
    pid: int
    uid: int
    gid: int
    program: str
    job: Job
    number: int = 0  # names the process where its pid does not: Peer's
    devices: dict[int, dict[str, Any]] = field(default_factory=dict)  # open ones: latest stats
    unsupported: dict[str, int] = field(default_factory=dict)  # the process's count so far
    exited: bool = False  # the process is gone; open devices are being closed


@dataclass(slots=True)
class Job:
    """What one `tally run` started."""

    id: str
    name: str
    job_class: str
    priority: int
    weight: int
    memory_max: int  # bytes that it may have of each device's memory; 0: all
    uid: int
    pid: int
    argv: tuple[str, ...]
    cwd: str
    started_s: float  # of a clock that is never set, as all times here but wall_s
    wall_s: float = 0.0  # when it started, in seconds since the epoch: for people
    cpu: str = ""  # how it gives way on the CPU: Politeness.place
    number: int = 0  # of its root process, as a session's
    ended_s: float | None = None
    root_alive: bool = True
    lost_sessions: int = 0
    sessions: dict[int, Session] = field(default_factory=dict)
    closed_stats: dict[str, Any] = field(default_factory=job_stats.empty)
    closed_unsupported: dict[str, int] = field(default_factory=dict)
    notices: dict[str, int] = field(
        default_factory=dict
    )  # what its user was told: sessions, by text

    @property
    def running(self) -> bool:
        """Whether anything of it is left."""
        return self.root_alive or bool(self.sessions)

    @property
    def state(self) -> str:
        """`running`, `done`, or `lost`: it has ended, and an executor died under it."""
        if self.ended_s is None:
            return "running"
        return "lost" if self.lost_sessions else "done"

    def stats(self) -> dict[str, Any]:
        """Of all sessions there ever were."""
        live = [latest for session in self.sessions.values() for latest in session.devices.values()]
        return job_stats.merge([self.closed_stats, *live])

    def note(self, notice: str) -> None:
        """One of its sessions was told this."""
        if notice in self.notices or len(self.notices) < NOTICES_MAX:
            self.notices[notice] = self.notices.get(notice, 0) + 1

    def unsupported(self) -> dict[str, int]:
        """Unsupported calls by symbol, most frequent first."""
        total = dict(self.closed_unsupported)
        for session in self.sessions.values():
            _add_counts(total, session.unsupported)
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    def for_executor(self) -> dict[str, Any]:
        """What the executor is told about it."""
        return {
            "id": self.id,
            "name": self.name,
            "class": self.job_class,
            "priority": self.priority,
            "weight": self.weight,
            "memory_max": self.memory_max,
        }

    def to_json(self, processes: list[int], now_s: float) -> dict[str, Any]:
        """What clients are told about it: JobRecord.from_json."""
        seconds = (now_s if self.ended_s is None else self.ended_s) - self.started_s
        return {
            "id": self.id,
            "name": self.name,
            "class": self.job_class,
            "priority": self.priority,
            "weight": self.weight,
            "memory_max": self.memory_max,
            "state": self.state,
            "pid": self.pid,
            "uid": self.uid,
            "argv": list(self.argv),
            "cwd": self.cwd,
            "started_s": self.wall_s,
            "ended_s": None if self.ended_s is None else self.wall_s + seconds,
            "ended_ago_s": None if self.ended_s is None else now_s - self.ended_s,
            "seconds": seconds,
            "processes": processes,
            "sessions": len(self.sessions),
            "lost_sessions": self.lost_sessions,
            "stats": job_stats.summarize(self.stats()),
            "unsupported": self.unsupported(),
        }


def _add_counts(total: dict[str, int], counts: dict[str, int]) -> None:
    for symbol, count in counts.items():
        if symbol in total or len(total) < SYMBOLS_MAX:
            total[symbol] = total.get(symbol, 0) + count


@dataclass(slots=True)
class Totals:
    """What jobs of one class have counted that are remembered no more; all that were started."""

    jobs: int = 0
    lost_sessions: int = 0
    unsupported_calls: int = 0
    stats: dict[str, Any] = field(default_factory=job_stats.empty)

    def add(self, jobs: Sequence[Job]) -> None:
        """Jobs that are being forgotten, or looked at in a copy of this."""
        self.lost_sessions += sum(job.lost_sessions for job in jobs)
        self.unsupported_calls += sum(sum(job.unsupported().values()) for job in jobs)
        self.stats = job_stats.merge([self.stats, *(job.stats() for job in jobs)])

    def to_json(self, running: int) -> dict[str, Any]:
        """As clients see them. Peaks of different jobs are no sum of anything."""
        gauges = self.stats["gauges"].items()
        amounts = {name: value for name, value in gauges if job_stats.PEAK not in name}
        return {
            "jobs": self.jobs,
            "running": running,
            "lost_sessions": self.lost_sessions,
            "unsupported_calls": self.unsupported_calls,
            "stats": job_stats.summarize({**self.stats, "gauges": amounts}),
        }


class JobTable:
    """All jobs, running and remembered."""

    def __init__(self, kept_max: int, token: str, jobs_max: int = default_of("jobs_max")):
        """token: this tallyd's own, in every job id, so that a program which outlived another
        tallyd is not taken for one of ours."""
        self._kept_max = kept_max
        self._jobs_max = jobs_max  # that run at a time
        self._token = token
        self._job_count = 0
        self._session_count = 0
        self._totals = {job_class: Totals() for job_class in CLASSES}
        self.jobs: OrderedDict[str, Job] = OrderedDict()
        self.sessions: dict[int, Session] = {}

    def start(
        self,
        *,
        name: str,
        job_class: str,
        priority: int,
        weight: int,
        memory_max: int = 0,
        uid: int,
        pid: int,
        argv: tuple[str, ...],
        cwd: str,
        now_s: float,
        wall_s: float = 0.0,
        number: int = 0,
    ) -> Job:
        """A new running job. OverflowError if there are too many."""
        if sum(job.running for job in self.jobs.values()) >= self._jobs_max:
            raise OverflowError(
                f"`jobs_max` in tallyd's config lets {self._jobs_max} jobs run at a time"
            )
        self._job_count += 1
        job = Job(
            f"{self._job_count}-{self._token}",
            name,
            job_class,
            priority,
            weight,
            memory_max,
            uid,
            pid,
            argv,
            cwd,
            now_s,
            wall_s,
            number=number,
        )
        self.jobs[job.id] = job
        self._totals[job_class].jobs += 1
        return job

    def totals(self) -> dict[str, Any]:
        """By class, over all jobs there ever were: numbers that never fall when jobs leave."""
        result = {}
        for job_class, forgotten in self._totals.items():
            total = replace(forgotten)
            jobs = [job for job in self.jobs.values() if job.job_class == job_class]
            total.add(jobs)
            result[job_class] = total.to_json(sum(job.running for job in jobs))
        return result

    def is_of_another(self, job_id: str) -> bool:
        """Whether the id looks like one that another tallyd has given a job."""
        number, _, token = job_id.partition("-")
        return number.isdigit() and len(token) == len(self._token) and token != self._token

    def find(self, job_id: str, uid: int) -> Job:
        """The job that a session of user uid names. UnknownJobError if it may not have it."""
        job = self.jobs.get(job_id)
        if job is None:
            raise UnknownJobError(
                f'tallyd does not know job "{job_id}"; start the program with `tally run` again'
            )
        if uid not in (job.uid, 0):
            raise UnknownJobError(f'job "{job_id}" belongs to another user')
        return job

    def of_process(self, pids: list[int], uid: int, number: int = 0) -> Job | None:
        """The running job that one of the processes (nearest first) belongs to.

        number: the nearest one's, which may have no pid."""
        by_number = {job.number: job for job in self.jobs.values() if job.root_alive}
        by_number |= {session.number: session.job for session in self.sessions.values()}
        if number and (job := by_number.get(number)) and job.uid == uid:
            return job
        by_pid = {session.pid: session.job for session in self.sessions.values()}
        by_pid |= {job.pid: job for job in self.jobs.values() if job.root_alive}
        for pid in pids:
            if (job := by_pid.get(pid)) and job.uid == uid:
                return job
        return None

    def open_session(
        self, job: Job, pid: int, uid: int, gid: int, program: str, number: int = 0
    ) -> Session:
        """A new session of the job, which runs again if it had ended."""
        self._session_count += 1
        session = Session(self._session_count, pid, uid, gid, program, job, number)
        self.sessions[session.id] = job.sessions[session.id] = session
        job.ended_s = None
        return session

    def close_device(
        self, session: Session, device: int, final: dict[str, Any] | None, lost: bool = False
    ) -> None:
        """The executor has ended the session, or died; final is what it counted, if known."""
        latest = session.devices.pop(device, None)
        if latest is not None:
            job = session.job
            job.closed_stats = job_stats.merge(
                [job.closed_stats, job_stats.closed(final or latest)]
            )
            job.lost_sessions += lost

    def close_session(self, session: Session, now_s: float) -> None:
        """The process is gone and nothing of it is open any more."""
        assert not session.devices
        del self.sessions[session.id]
        del session.job.sessions[session.id]
        _add_counts(session.job.closed_unsupported, session.unsupported)
        self._settle(session.job, now_s)

    def root_ended(self, job: Job, now_s: float) -> None:
        """The process that `tally run` became is gone."""
        job.root_alive = False
        self._settle(job, now_s)

    def _settle(self, job: Job, now_s: float) -> None:
        """Note the job's end, if it has ended; forget the oldest ended ones beyond the limit."""
        if job.running:
            return
        job.ended_s = now_s
        self.jobs.move_to_end(job.id)
        ended = [other for other in self.jobs.values() if not other.running]
        for other in ended[: max(0, len(ended) - self._kept_max)]:
            del self.jobs[other.id]
            self._totals[other.job_class].add([other])

    def validate(self) -> None:
        """Assert what must hold between any two events."""
        for session in self.sessions.values():
            assert session.job.sessions[session.id] is session
            assert self.jobs[session.job.id] is session.job
            assert session.devices or not session.exited
        for job in self.jobs.values():
            assert (job.ended_s is None) == job.running
            assert all(self.sessions[number] is session for number, session in job.sessions.items())
        assert sum(not job.running for job in self.jobs.values()) <= self._kept_max
