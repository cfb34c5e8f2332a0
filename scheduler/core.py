"""The scheduler core (native/sched) as Python objects: for the tests, the tools and the simulator.

The executor drives the same core from C. Times are integers in nanoseconds throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

from tally._native import ffi, lib
from tally.scheduler.limits import Limits

if TYPE_CHECKING:
    from tally._native import (
        SchedEvent,
        SchedHistogram,
        SchedInstruction,
        SchedLimits,
        SchedPlan,
        SchedSessionStats,
        SchedStats,
    )

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


class PlanKind(IntEnum):
    WHOLE = lib.TALLY_SCHED_WHOLE
    SLICED = lib.TALLY_SCHED_SLICED
    PREEMPTIBLE = lib.TALLY_SCHED_PREEMPTIBLE


class StartFlag(IntFlag):
    NONE = 0
    PREEMPTIBLE = lib.TALLY_SCHED_START_PREEMPTIBLE
    FINAL = lib.TALLY_SCHED_START_FINAL
    RESUMED = lib.TALLY_SCHED_START_RESUMED


@dataclass(frozen=True)
class Plan:
    """How launches of one signature are run. Times are estimates in ns; 0: not known."""

    kind: PlanKind = PlanKind.WHOLE
    slice_blocks: int = 0
    whole_ns: int = 0
    slice_ns: int = 0
    stop_ns: int = 0
    guardable: bool = False


@dataclass(frozen=True)
class Start:
    launch: int
    lo: int
    hi: int
    level: int = 0
    flags: StartFlag = StartFlag.FINAL
    epoch: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Preempt:
    launch: int


@dataclass(frozen=True)
class Complete:
    launch: int


@dataclass(frozen=True)
class Dropped:
    launch: int


@dataclass(frozen=True)
class Closed:
    session: int


@dataclass(frozen=True)
class SetTimer:
    time_ns: int


@dataclass(frozen=True)
class Rescue:
    launch: int


Instruction = Start | Preempt | Complete | Dropped | Closed | SetTimer | Rescue


def _decode(raw: SchedInstruction) -> Instruction:
    match int(raw.type):
        case lib.TALLY_SCHED_START:
            return Start(raw.launch, raw.lo, raw.hi, raw.level, StartFlag(raw.flags), raw.epoch)
        case lib.TALLY_SCHED_PREEMPT:
            return Preempt(raw.launch)
        case lib.TALLY_SCHED_COMPLETE:
            return Complete(raw.launch)
        case lib.TALLY_SCHED_DROPPED:
            return Dropped(raw.launch)
        case lib.TALLY_SCHED_CLOSED:
            return Closed(raw.session)
        case lib.TALLY_SCHED_SET_TIMER:
            return SetTimer(raw.time_ns)
        case lib.TALLY_SCHED_RESCUE:
            return Rescue(raw.launch)
        case other:
            raise AssertionError(f"instruction of unknown type {other}")


@dataclass(frozen=True)
class Histogram:
    """A log-scaled histogram: a value is known to one eighth of its power of two."""

    count: int
    sum: int
    max: int
    buckets: tuple[int, ...]

    @classmethod
    def read(cls, raw: SchedHistogram) -> Histogram:
        return cls(raw.count, raw.sum, raw.max, tuple(raw.buckets))

    def quantile(self, q: float) -> int:
        """Upper end of the bucket that holds the q-quantile, at most max; 0 if empty."""
        rank, seen = max(1, -int(-q * self.count // 1)), 0
        for bucket, count in enumerate(self.buckets):
            seen += count
            if seen >= rank and count:
                ceiling = int(lib.tally_sched_bucket_floor(bucket + 1)) - 1
                return min(ceiling, self.max)
        return 0


@dataclass(frozen=True)
class SchedulerStats:
    turnaround_ns: Histogram
    turnaround_unmet: int
    turnaround_missed: int
    turnaround_estimated_ns: int
    turnaround_error_ns: int
    oversized: int
    rescues: int

    @classmethod
    def read(cls, raw: SchedStats) -> SchedulerStats:
        return cls(
            Histogram.read(raw.turnaround_ns),
            raw.turnaround_unmet,
            raw.turnaround_missed,
            raw.turnaround_estimated_ns,
            raw.turnaround_error_ns,
            raw.oversized,
            raw.rescues,
        )


@dataclass(frozen=True)
class SessionStats:
    launches: int
    completed: int
    starts: int
    preemptions: int
    waited_ns: int
    gpu_ns: int

    @classmethod
    def read(cls, raw: SchedSessionStats) -> SessionStats:
        return cls(**{name: int(getattr(raw, name)) for name in cls.__annotations__})


def policies() -> dict[str, str]:
    """Name and one line of explanation of every policy, in the order of the table."""
    return {
        ffi.string(lib.tally_sched_policy_name(i)).decode(): ffi.string(
            lib.tally_sched_policy_text(i)
        ).decode()
        for i in range(lib.tally_sched_policy_count())
    }


class PolicyTrait(IntFlag):
    """What a policy is like; see native/include/tally/sched.h."""

    HIGH_AT_ONCE = lib.TALLY_SCHED_HIGH_AT_ONCE
    LEVELS = lib.TALLY_SCHED_LEVELS
    GIVES_WAY = lib.TALLY_SCHED_GIVES_WAY
    BOUNDED = lib.TALLY_SCHED_BOUNDED


def policy_traits(name: str) -> PolicyTrait:
    """Of the policy of that name. Raises KeyError for a name that is not in the table."""
    return PolicyTrait(lib.tally_sched_policy_traits(policy_index(name)))


def policy_index(name: str) -> int:
    """Place of a policy in the table. Raises KeyError for a name that is not in it."""
    return {known: i for i, known in enumerate(policies())}[name]


def fill_limits(raw: SchedLimits, limits: Limits) -> None:
    for name in Limits.__annotations__:
        setattr(raw, name, getattr(limits, name))


def fill_plan(raw: SchedPlan, plan: Plan) -> None:
    for name in Plan.__annotations__:
        setattr(raw, name, int(getattr(plan, name)))


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
            yield from [_decode(self._out[i]) for i in range(count)]
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
