"""Random event sequences against a device that checks every instruction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tally.scheduler.core import JobClass
from tally.scheduler.instructions import Complete, Instruction, Start
from tally.scheduler.limits import Limits
from tally.scheduler.plan import Plan, PlanKind
from tally.scheduler.policies import policies

from .device import Device

LIMITS = Limits(
    turnaround_ns_max=30_000,
    alone_ns_max=100_000,
    hysteresis_ns=20_000,
    gap_wait_ns_max=100_000,
    quantum_ns=50_000,
    timeslice_ns=40_000,
    preemptible_depth=1,
    stops_permil_max=20,
    best_effort_permil_min=0,
    watchdog_times=5,
    watchdog_ns_min=300_000,
)

floors = st.sampled_from([0, 100, 1000])
permils = st.sampled_from([0, 20, 1000])

plans = st.one_of(
    st.builds(Plan, st.just(PlanKind.WHOLE), whole_ns=st.sampled_from([0, 1000, 15_000, 90_000])),
    st.builds(
        Plan,
        st.just(PlanKind.WHOLE),
        whole_ns=st.sampled_from([1000, 15_000, 28_000]),
        guardable=st.just(True),
    ),
    st.builds(
        Plan,
        st.just(PlanKind.SLICED),
        slice_blocks=st.integers(1, 8),
        whole_ns=st.just(60_000),
        slice_ns=st.sampled_from([5_000, 14_000, 40_000]),
    ),
    st.builds(
        Plan,
        st.just(PlanKind.PREEMPTIBLE),
        whole_ns=st.just(900_000),
        stop_ns=st.sampled_from([0, 8_000, 29_000, 70_000, 400_000]),
    ),
)


class SchedulerMachine(RuleBasedStateMachine):
    """Sessions come and go, launches of every kind arrive, the device runs at its own pace."""

    @initialize(
        policy=st.sampled_from(list(policies())),
        depth=st.integers(1, 3),
        room=st.sampled_from([8, 64]),
        permil=permils,
        floor=floors,
    )
    def begin(self, policy: str, depth: int, room: int, permil: int, floor: int) -> None:
        limits = replace(
            LIMITS, preemptible_depth=depth, stops_permil_max=permil, best_effort_permil_min=floor
        )
        self.device = Device(policy, limits, room=room)
        self.next_launch = 0

    def sessions(self) -> list[int]:
        return sorted(set(self.device.classes) - self.device.closing)

    @rule(
        session=st.integers(0, 5),
        high=st.booleans(),
        priority=st.integers(-1, 2),
        weight=st.integers(1, 4),
        job=st.integers(0, 2),
    )
    def open(self, session: int, high: bool, priority: int, weight: int, job: int) -> None:
        if session not in self.device.classes:
            self.device.open(session, JobClass(high), priority=priority, weight=weight, job=job)

    @precondition(lambda self: self.sessions())
    @rule(
        pick=st.integers(0, 63),
        stream=st.integers(0, 2),
        blocks=st.integers(1, 20),
        plan=plans,
        repeat=st.integers(1, 4),
        waits=st.booleans(),
    )
    def launch(
        self, pick: int, stream: int, blocks: int, plan: Plan, repeat: int, waits: bool = False
    ) -> None:
        """waits: once the launch was told to stop, only a rescue lets it end."""
        sessions = self.sessions()
        session = sessions[pick % len(sessions)]
        for _ in range(repeat):
            if self.device.sched.has_room(session):
                launch = self.next_launch % 1024
                self.next_launch += 1
                self.device.submit(session, session * 3 + stream, launch, blocks, plan)
                self.device.jobs[launch].waits = waits

    @precondition(lambda self: JobClass.HIGH in map(self.device.classes.get, self.sessions()))
    @rule(
        pick=st.integers(0, 63),
        requests=st.integers(1, 40),
        busy_ns=st.sampled_from([0, 3_000, 90_000]),
        gaps_ns=st.lists(st.sampled_from([1, 5_000, 30_000, 130_000]), min_size=1, max_size=3),
    )
    def serve(self, pick: int, requests: int, busy_ns: int, gaps_ns: list[int]) -> None:
        """A high session at work, with gaps between its launches."""
        classes = self.device.classes
        high = [session for session in self.sessions() if classes[session] == JobClass.HIGH]
        session = high[pick % len(high)]
        for request in range(requests):
            self.launch(self.sessions().index(session), 0, 1, Plan(whole_ns=busy_ns), 1)
            self.device.advance(busy_ns)
            for queue in self.device.busy_queues():
                if self.device.streams[queue]:
                    self.device.run_blocks(queue, 1)
            self.device.advance(gaps_ns[request % len(gaps_ns)])

    @precondition(lambda self: self.sessions())
    @rule(pick=st.integers(0, 63), pieces=st.integers(0, 3))
    def work(self, pick: int, pieces: int) -> None:
        """Counted work of high: a piece begins, or some of what there is ends."""
        sessions = self.sessions()
        session = sessions[pick % len(sessions)]
        counted = self.device.counted.get(session, 0)
        if pieces and counted:
            self.device.end_work(session, min(pieces, counted))
        elif self.device.classes[session] == JobClass.HIGH:
            self.device.work(session)

    @rule(arrives=st.booleans())
    def come(self, arrives: bool) -> None:
        if not arrives:
            self.device.come()
        elif self.device.coming:
            self.device.arrive()

    @rule(pick=st.integers(0, 63))
    def recall(self, pick: int) -> None:
        queues = self.device.busy_queues()
        if queues:
            self.device.recall(queues[pick % len(queues)])

    @rule(pick=st.integers(0, 63), count=st.integers(0, 30), scattered=st.booleans())
    def run(self, pick: int, count: int, scattered: bool) -> None:
        queues = self.device.busy_queues()
        if queues:
            self.device.run_blocks(queues[pick % len(queues)], count, scattered)

    @rule(ns=st.sampled_from([1, 500, 10_000, 60_000, 1_000_000, 60_000_000]))
    def advance(self, ns: int) -> None:
        self.device.advance(ns)

    @precondition(lambda self: self.sessions())
    @rule(pick=st.integers(0, 63))
    def close(self, pick: int) -> None:
        sessions = self.sessions()
        self.device.close(sessions[pick % len(sessions)])

    @precondition(lambda self: self.sessions())
    @rule(pick=st.integers(0, 63), high=st.booleans(), weight=st.integers(1, 4))
    def change(self, pick: int, high: bool, weight: int) -> None:
        sessions = self.sessions()
        self.device.change(sessions[pick % len(sessions)], JobClass(high), weight=weight)

    @rule(
        hysteresis_ns=st.sampled_from([0, 20_000, 700_000]),
        gap_wait_ns_max=st.sampled_from([0, 100_000, 10_000_000]),
        permil=permils,
        floor=floors,
    )
    def set_limits(self, hysteresis_ns: int, gap_wait_ns_max: int, permil: int, floor: int) -> None:
        words = {"hysteresis_ns": hysteresis_ns, "gap_wait_ns_max": gap_wait_ns_max}
        words |= {"stops_permil_max": permil, "best_effort_permil_min": floor}
        self.device.set_limits(replace(self.device.limits, **words))

    @rule(policy=st.sampled_from(list(policies())))
    def set_policy(self, policy: str) -> None:
        self.device.policy = policy
        self.device.lenient = True
        self.device.obey(self.device.sched.set_policy(self.device.now_ns, policy))

    def teardown(self) -> None:
        if hasattr(self, "device"):
            self.device.drain()
            for session in self.sessions():
                self.device.close(session)
            self.device.drain()


SchedulerMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestScheduler = SchedulerMachine.TestCase


def busy_device(mangle, policy: str = "tally") -> Device:  # type: ignore[no-untyped-def]
    """A high and two best-effort jobs, all with work."""
    device = Device(policy, LIMITS, mangle)
    device.open(0, JobClass.HIGH)
    device.open(1, JobClass.BEST_EFFORT)
    device.open(2, JobClass.BEST_EFFORT)
    guarded = Plan(PlanKind.PREEMPTIBLE, whole_ns=900_000, stop_ns=8_000)
    for i in range(4):
        device.submit(1, 1, i, 10, guarded)
        device.submit(2, 2, 10 + i, 10, Plan(whole_ns=10_000))
    device.run_blocks(1, 3)
    device.submit(0, 0, 20, 5, Plan(whole_ns=5_000))
    return device


def test_the_device_accepts_what_the_scheduler_says() -> None:
    busy_device(lambda out: out).drain()


def falsify_twice(out: list[Instruction]) -> list[Instruction]:
    return [*out, *(i for i in out if isinstance(i, Start))]


def falsify_early_completion(out: list[Instruction]) -> list[Instruction]:
    started = [i for i in out if isinstance(i, Start)]
    return [*out, *(Complete(i.launch) for i in started)]


def falsify_lost_start(out: list[Instruction]) -> list[Instruction]:
    return [i for i in out if not (isinstance(i, Start) and i.launch == 12)]


def falsify_no_preemption(out: list[Instruction]) -> list[Instruction]:
    return [i for i in out if isinstance(i, Start | Complete)]


@pytest.mark.parametrize(
    "mangle",
    [falsify_twice, falsify_early_completion, falsify_lost_start, falsify_no_preemption],
)
def test_canary_the_device_sees_a_broken_scheduler(mangle) -> None:  # type: ignore[no-untyped-def]
    """Each falsified instruction stream must be noticed, or the checks above check nothing."""
    with pytest.raises((AssertionError, KeyError, IndexError)):
        device = busy_device(mangle)
        device.drain()
        assert len(device.completed) == 9


def test_canary_starting_everything_is_seen_as_over_the_bound() -> None:
    """`fifo` held against the rules of `tally`."""
    device = Device("fifo", LIMITS)
    device.policy = "tally"
    device.open(1, JobClass.BEST_EFFORT)
    device.open(2, JobClass.HIGH)
    with pytest.raises(AssertionError, match="over the bound"):
        for i in range(9):
            device.submit(1, 1, i, 4, Plan(whole_ns=10_000))


@given(st.lists(st.integers(1, 200_000), min_size=2, max_size=40), st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_nobody_starves_while_high_is_idle(times: list[int], jobs: int) -> None:
    device = Device("tally", LIMITS)
    for session in range(jobs):
        device.open(session, JobClass.BEST_EFFORT, weight=session + 1)
    for launch, whole_ns in enumerate(times):
        session = launch % jobs
        device.submit(session, session, launch, 3, Plan(whole_ns=whole_ns))
    device.drain()
    assert sorted(device.completed) == list(range(len(times)))
