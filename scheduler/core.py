"""The scheduler core (native/sched) as Python objects: for the tests, the tools and the simulator.

The executor drives the same core from C. Times are integers in nanoseconds throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING

from tally._native import ffi, lib
from tally.scheduler.figures import Histogram, SchedulerStats, SessionStats
from tally.scheduler.instructions import Instruction, Start, decode
from tally.scheduler.limits import Limits
from tally.scheduler.plan import Plan, fill_plan
from tally.scheduler.policies import policies, policy_index

if TYPE_CHECKING:
    from tally._native import SchedEvent, SchedLimits

NEVER: int = 2**64 - 1


class SchedulerError(Exception):
    """The core refused an event."""


class InvalidEventError(SchedulerError):
    """The event does not fit the scheduler's state, which has not changed."""


class SchedulerFullError(SchedulerError):
    """The session has its share of launches outstanding; nothing has changed."""


class JobClass(IntEnum):
    BEST_EFFORT = lib.TALLY_SCHED_BEST_EFFORT
    HIGH = lib.TALLY_SCHED_HIGH


def fill_limits(raw: SchedLimits, limits: Limits) -> None:
    for name in Limits.__annotations__:
        setattr(raw, name, getattr(limits, name))


class Scheduler:
    """One scheduler. Every event returns the instructions that it causes, in order.

    Raises InvalidEventError and SchedulerFullError, after which the state is as before; ValueError
    for a configuration that makes no sense.
    """

    def __init__(
        self,
        policy: str = "tally",
        *,
        limits: Limits | None = None,
        sessions_max: int = 64,
        queues_max: int = 256,
        launches_max: int = 1024,
        session_launches_max: int = 256,
        levels: int = 2,
        room: int = 64,
    ) -> None:
        config = ffi.new("struct tally_sched_config *")
        lib.tally_sched_config_default(config)
        config.sessions_max, config.queues_max = sessions_max, queues_max
        config.launches_max, config.session_launches_max = launches_max, session_launches_max
        config.levels = levels
        config.policy = policy_index(policy)
        if limits is not None:
            fill_limits(config.limits, limits)
        sched = lib.tally_sched_create(config)
        if sched == ffi.NULL:
            raise ValueError("scheduler configuration makes no sense")
        self._sched = ffi.gc(sched, lib.tally_sched_destroy)
        self._room = room
        self._out = ffi.new("struct tally_sched_instruction[]", room)

    def _call(self, event: SchedEvent, now_ns: int) -> Iterator[Instruction]:
        while True:
            count = lib.tally_sched_handle(self._sched, event, now_ns, self._out, self._room)
            if count == lib.TALLY_SCHED_FULL:
                raise SchedulerFullError
            if count < 0:
                raise InvalidEventError
            yield from [decode(self._out[i]) for i in range(count)]
            if count < self._room:
                return
            event = ffi.new("struct tally_sched_event *", {"type": lib.TALLY_SCHED_CONTINUE})

    def _handle(self, now_ns: int, kind: int, **words: int) -> list[Instruction]:
        event = ffi.new("struct tally_sched_event *", {"type": kind, **words})
        return list(self._call(event, now_ns))

    def open(
        self,
        now_ns: int,
        session: int,
        job_class: JobClass,
        *,
        priority: int = 0,
        weight: int = 1,
        job: int = 0,
    ) -> list[Instruction]:
        return self._handle(
            now_ns, lib.TALLY_SCHED_SESSION_OPEN, session=session, class_=int(job_class),
            priority=priority, weight=weight, job=job,
        )  # fmt: skip

    def set_session(
        self, now_ns: int, session: int, job_class: JobClass, *, priority: int = 0, weight: int = 1
    ) -> list[Instruction]:
        return self._handle(
            now_ns, lib.TALLY_SCHED_SESSION_SET, session=session, class_=int(job_class),
            priority=priority, weight=weight,
        )  # fmt: skip

    def close(self, now_ns: int, session: int) -> list[Instruction]:
        return self._handle(now_ns, lib.TALLY_SCHED_SESSION_CLOSE, session=session)

    def launch(
        self,
        now_ns: int,
        session: int,
        queue: int,
        launch: int,
        blocks: int,
        plan: Plan | None = None,
        *,
        started: bool = False,
    ) -> list[Instruction]:
        """A launch has been submitted. started: it is a high one that is on the device already."""
        event = ffi.new("struct tally_sched_event *", {"type": lib.TALLY_SCHED_LAUNCH})
        event.session, event.queue, event.launch = session, queue, launch
        event.blocks, event.started = blocks, started
        fill_plan(event.plan, plan or Plan())
        return list(self._call(event, now_ns))

    def started(self, now_ns: int, launch: int) -> list[Instruction]:
        return self._handle(now_ns, lib.TALLY_SCHED_STARTED, launch=launch)

    def finished(
        self, now_ns: int, launch: int, lo: int, hi: int, gpu_ns: int = 0, **times: int
    ) -> list[Instruction]:
        """times: began_ns and cleared_ns, where the device knows when it began and was out of the
        way of more urgent work."""
        words = {"launch": launch, "lo": lo, "hi": hi, "gpu_ns": gpu_ns, **times}
        return self._handle(now_ns, lib.TALLY_SCHED_FINISHED, **words)

    def preempted(
        self, now_ns: int, launch: int, lo: int, blocks: int, gpu_ns: int = 0, **times: int
    ) -> list[Instruction]:
        """The launch has stopped: all blocks below lo have run, `blocks` of the start's in all.
        times: as of `finished`."""
        words = {"launch": launch, "lo": lo, "blocks": blocks, "gpu_ns": gpu_ns, **times}
        return self._handle(now_ns, lib.TALLY_SCHED_PREEMPTED, **words)

    def failed(self, now_ns: int, launch: int) -> list[Instruction]:
        return self._handle(now_ns, lib.TALLY_SCHED_FAILED, launch=launch)

    def work(self, now_ns: int, session: int, pieces: int = 1) -> list[Instruction]:
        """High work that is counted only is about to go to the device."""
        words = {"session": session, "blocks": pieces}
        return self._handle(now_ns, lib.TALLY_SCHED_WORK, **words)

    def work_ended(self, now_ns: int, session: int, pieces: int = 1) -> list[Instruction]:
        """So many pieces of it have ended."""
        words = {"session": session, "blocks": pieces}
        return self._handle(now_ns, lib.TALLY_SCHED_WORK_ENDED, **words)

    def recalled(self, now_ns: int, launch: int, lo: int) -> list[Instruction]:
        """The launch's starts from block lo on were not made."""
        return self._handle(now_ns, lib.TALLY_SCHED_RECALLED, launch=launch, lo=lo)

    def coming(self, now_ns: int) -> list[Instruction]:
        """A launch of high is about to go to the device, and will be told when it is there."""
        return self._handle(now_ns, lib.TALLY_SCHED_COMING, blocks=1)

    def came(self, now_ns: int) -> list[Instruction]:
        """It is told next, or did not go."""
        return self._handle(now_ns, lib.TALLY_SCHED_CAME, blocks=1)

    def is_stale(self, start: Start) -> bool:
        """Whether high has come since this start was decided, so that it must not be made."""
        words = {"launch": start.launch, "flags": int(start.flags), "epoch": start.epoch}
        raw = ffi.new("struct tally_sched_instruction *", {"type": lib.TALLY_SCHED_START, **words})
        return bool(lib.tally_sched_is_stale(self._sched, raw))

    def timer(self, now_ns: int) -> list[Instruction]:
        return self._handle(now_ns, lib.TALLY_SCHED_TIMER)

    def set_policy(self, now_ns: int, policy: str) -> list[Instruction]:
        return self._handle(now_ns, lib.TALLY_SCHED_SET_POLICY, policy=policy_index(policy))

    def set_limits(self, now_ns: int, limits: Limits) -> list[Instruction]:
        event = ffi.new("struct tally_sched_event *", {"type": lib.TALLY_SCHED_SET_LIMITS})
        fill_limits(event.limits, limits)
        return list(self._call(event, now_ns))

    @property
    def policy(self) -> str:
        return list(policies())[int(lib.tally_sched_policy(self._sched))]

    @property
    def high_at_once(self) -> bool:
        return bool(lib.tally_sched_high_at_once(self._sched))

    def has_room(self, session: int) -> bool:
        return bool(lib.tally_sched_has_room(self._sched, session))

    def stats(self) -> SchedulerStats:
        raw = ffi.new("struct tally_sched_stats *")
        lib.tally_sched_read_stats(self._sched, raw)
        return SchedulerStats.read(raw)

    def session_stats(self, session: int) -> SessionStats:
        """Counters of an open session. Raises InvalidEventError if there is none."""
        raw = ffi.new("struct tally_sched_session_stats *")
        if lib.tally_sched_read_session(self._sched, session, raw) < 0:
            raise InvalidEventError
        return SessionStats.read(raw)

    def session_turnaround(self, session: int) -> Histogram:
        """How long best-effort work was in the way, of an open session; see sched.h. Raises
        InvalidEventError if there is none."""
        raw = ffi.new("struct tally_sched_histogram *")
        if lib.tally_sched_read_turnaround(self._sched, session, raw) < 0:
            raise InvalidEventError
        return Histogram.read(raw)

    def validate(self) -> None:
        """Raises AssertionError with the name of the first invariant that does not hold."""
        wrong = lib.tally_sched_validate(self._sched)
        if wrong != ffi.NULL:
            raise AssertionError(ffi.string(wrong).decode())
