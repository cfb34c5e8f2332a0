"""A device that carries out the scheduler's instructions and checks them as it goes.

It runs single blocks, in any interleaving that a test chooses, and knows nothing of the scheduler's
state: what it asserts holds for the instructions alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tally.scheduler.core import JobClass, Scheduler
from tally.scheduler.instructions import (
    Closed,
    Complete,
    Dropped,
    Instruction,
    Preempt,
    Rescue,
    SetTimer,
    Start,
    StartFlag,
)
from tally.scheduler.limits import Limits
from tally.scheduler.plan import Plan, PlanKind
from tally.scheduler.policies import PolicyTrait, policy_traits

from .flights import Flight, Job

BYPASS_NS = 50_000_000  # sched/state.h


class Device:
    """Scheduler and device together, with a clock. `mangle` may falsify instructions (canaries)."""

    def __init__(
        self,
        policy: str,
        limits: Limits,
        mangle: Callable[[list[Instruction]], list[Instruction]] = lambda out: out,
        room: int = 64,
    ) -> None:
        self.sched = Scheduler(policy, limits=limits, room=room, session_launches_max=64)
        self.policy, self.limits, self.mangle = policy, limits, mangle
        self.now_ns = 0
        self.timer_ns: int | None = None
        self.jobs: dict[int, Job] = {}
        self.classes: dict[int, JobClass] = {}
        self.counted: dict[int, int] = {}  # pieces of work of each session that are counted only
        self.coming = 0  # launches of high on their way, of which nothing else is known
        self.closing: set[int] = set()
        self.streams: dict[int, deque[Flight]] = {}
        self.owned: dict[int, set[int]] = {}  # queues by session
        self.order = 0
        self.last_finish_ns = 0  # of best-effort work
        self.completed: list[int] = []
        self.rescued: list[int] = []
        self.allowed_ns = 0.0  # by the floor, so far
        self.beside_ns = 0.0  # of best-effort work in flight while high was busy
        self.high_gone_ns = 0  # when the last launch of high went
        self.lenient = False  # after a live change, what was in flight before may be over the bound

    # ---- what the scheduler says ----------------------------------------------------------------

    def obey(self, out: list[Instruction]) -> None:
        high_before = self._high_is_busy()
        for instruction in self.mangle(out):
            match instruction:
                case Start():
                    self._start(instruction)
                case Preempt(launch):
                    flights = [f for f in self._flights() if f.launch == launch]
                    assert len(flights) == 1 and flights[0].guarded, "preempts what it cannot"
                    assert not flights[0].told_to_stop, "preempted twice"
                    stream = list(self.streams[self.jobs[launch].queue])
                    behind = stream[stream.index(flights[0]) + 1 :]
                    assert all(f.told_to_stop for f in behind), (
                        "what is behind it would overtake it"
                    )
                    flights[0].told_to_stop = True
                    flights[0].told_ns = self.now_ns
                case Rescue(launch):
                    self._rescue(launch)
                case Complete(launch):
                    job = self.jobs.pop(launch)
                    assert job.complete, "complete, but not every block has run"
                    older = [j for j in self.jobs.values() if j.queue == job.queue]
                    assert all(j.order > job.order for j in older), "completes out of order"
                    self.completed.append(launch)
                case Dropped(launch):
                    job = self.jobs.pop(launch)
                    assert job.session in self.closing, "dropped, but its session lives"
                case Closed(session):
                    self.closing.remove(session)
                    del self.classes[session]
                case SetTimer(time_ns):
                    self.timer_ns = time_ns
        if high_before and not self._high_is_busy():
            self.high_gone_ns = self.now_ns
        self._check_waits()
        self.sched.validate()

    def _rescue(self, launch: int) -> None:
        flight = next(f for f in self._flights() if f.launch == launch)
        assert flight is self.streams[self.jobs[launch].queue][0], "rescued, but has not begun"
        assert flight.told_to_stop and not flight.rescued, "rescued without a reason, or twice"
        waited_ns = self.now_ns - flight.told_ns
        assert waited_ns >= self.limits.watchdog_ns_min, "rescued too early"
        flight.rescued = True
        self.rescued.append(launch)

    def _account(self, ns: int) -> None:
        """What the floor allows best-effort work, and what it has had beside high."""
        best_effort = [j for j in self.jobs.values() if self.classes[j.session] != JobClass.HIGH]
        if best_effort:
            self.allowed_ns += ns * self.limits.best_effort_permil_min / 1000
        if self._high_is_busy() and self._best_effort():
            self.beside_ns += ns

    def _is(self, trait: PolicyTrait) -> bool:
        return trait in policy_traits(self.policy)

    def _of_high(self) -> list[Job]:
        return [j for j in self.jobs.values() if self.classes[j.session] == JobClass.HIGH]

    def _high_is_busy(self) -> bool:
        counted = any(self.classes[s] == JobClass.HIGH for s, n in self.counted.items() if n)
        return counted or bool(self._of_high())

    def _check_waits(self) -> None:
        """With high gone and nothing on the device, best-effort work is called when high has been
        gone for the longest wait, or earlier."""
        if not self._is(PolicyTrait.GIVES_WAY) or self._high_is_busy() or self._flights():
            return
        if not self.jobs or self.coming:
            return
        longest = max(self.limits.hysteresis_ns, self.limits.gap_wait_ns_max)
        assert self.timer_ns is not None, "nobody will ever call what waits"
        assert self.timer_ns <= self.high_gone_ns + longest, "waits for too long"

    @property
    def bound_ns(self) -> int:
        alone = len(self.classes) == 1
        return max(self.limits.turnaround_ns_max, self.limits.alone_ns_max * alone)

    def _flights(self) -> list[Flight]:
        return [flight for stream in self.streams.values() for flight in stream]

    def _best_effort(self) -> list[Flight]:
        high = JobClass.HIGH
        return [f for f in self._flights() if self.classes[self.jobs[f.launch].session] != high]

    def _start(self, start: Start) -> None:
        job = self.jobs[start.launch]
        flags = start.flags
        guarded = StartFlag.PREEMPTIBLE in flags
        assert 0 <= start.lo < start.hi <= job.blocks, "range outside the grid"
        if StartFlag.RESUMED not in flags:
            assert not any(job.ran[start.lo : start.hi]), "starts blocks that have run"
        for flight in self._flights():
            if flight.launch == start.launch:
                assert flight.hi <= start.lo, "starts blocks that are in flight"
        high_class = self.classes[job.session] == JobClass.HIGH
        if self._is(PolicyTrait.GIVES_WAY) and not high_class:
            self._check_best_effort(start, job, guarded)
        above = high_class and self._is(PolicyTrait.LEVELS)
        assert (start.level >= 1) == above, f"{start.level} is not the policy's level"
        stream, now = self.streams.setdefault(job.queue, deque()), self.now_ns
        stream.append(
            Flight(
                start.launch, start.lo, start.hi, guarded, self._charge(start, job, guarded), now
            )
        )
        job.starts += 1

    def _charge(self, start: Start, job: Job, guarded: bool) -> int:
        if guarded and job.plan.kind == PlanKind.WHOLE:
            return job.plan.stop_ns or job.plan.whole_ns or self.bound_ns
        if guarded:
            return job.plan.stop_ns or self.bound_ns
        if job.plan.kind == PlanKind.SLICED and self._is(PolicyTrait.BOUNDED):
            return job.plan.slice_ns
        if not job.plan.whole_ns:
            return self.bound_ns
        return job.plan.whole_ns * (start.hi - start.lo) // job.blocks

    def _unstoppable(self, flights: list[Flight]) -> int:
        whole: dict[int, int] = {}
        longest: dict[int, int] = {}
        for flight in flights:
            queue = self.jobs[flight.launch].queue
            if flight.guarded:
                longest[queue] = max(longest.get(queue, 0), flight.charge_ns)
            else:
                whole[queue] = whole.get(queue, 0) + flight.charge_ns
        return sum(max(whole.get(q, 0), longest.get(q, 0)) for q in whole.keys() | longest.keys())

    def _goes_beside(self, job: Job) -> bool:
        """One that its own session's launches in other queues may wait for, for long."""
        queues = {self.jobs[f.launch].queue for f in self._flights()}
        others = {q for q in queues if q in self.owned[job.session] and q != job.queue}
        due_ns = job.submitted_ns + BYPASS_NS
        return bool(others) and job.queue not in queues and self.now_ns >= due_ns

    def _check_best_effort(self, start: Start, job: Job, guarded: bool) -> None:
        if self._goes_beside(job):
            self.lenient = True  # until that has ended, others are over the bound beside it
        assert not self.sched.is_stale(start), "stale as soon as it is decided"
        assert not self.coming or self._high_is_busy(), "best-effort starts while high is coming"
        if self._high_is_busy():
            assert self.limits.best_effort_permil_min, "best-effort starts while high is busy"
            assert self.beside_ns <= self.allowed_ns, "best-effort has had its share beside high"
        if self.lenient or not self._is(PolicyTrait.BOUNDED):
            return
        # A queue's starts run one after the other, guarded ones last, and do not begin once told:
        # what is not guarded counts, or the longest that is.
        flights = self._best_effort()
        before = self._unstoppable(flights)
        charge = self._charge(start, job, guarded)
        new = Flight(start.launch, start.lo, start.hi, guarded, charge, self.now_ns)
        total = self._unstoppable([*flights, new])
        adds_nothing = guarded and total == before
        own = flights and {self.jobs[f.launch].queue for f in flights} == {job.queue}
        if own and guarded:
            unguarded = sum(f.charge_ns for f in flights if not f.guarded)
            adds_nothing |= unguarded <= self.bound_ns  # no longer in the way than alone
        if flights and not any(flight.guarded for flight in flights):
            oldest = flights[0]  # of one queue only: see below
            ran = self.now_ns - max(oldest.started_ns, self.last_finish_ns)
            if own:
                total -= min(ran, oldest.charge_ns)
        assert not flights or adds_nothing or total <= self.bound_ns, "over the bound"

    # ---- what the test does ---------------------------------------------------------------------

    def open(self, session: int, job_class: JobClass, **words: int) -> None:
        self.classes[session] = job_class
        self.obey(self.sched.open(self.now_ns, session, job_class, **words))

    def close(self, session: int) -> None:
        self.closing.add(session)
        high_before = self._high_is_busy()
        self.counted.pop(session, None)
        if high_before and not self._high_is_busy():
            self.high_gone_ns = self.now_ns
        self.obey(self.sched.close(self.now_ns, session))

    def change(self, session: int, job_class: JobClass, **words: int) -> None:
        """The session's class becomes this one; what it has in flight goes along."""
        high_before = self._high_is_busy()
        self.classes[session] = job_class
        self.lenient = True
        if high_before and not self._high_is_busy():
            self.high_gone_ns = self.now_ns
        self.obey(self.sched.set_session(self.now_ns, session, job_class, **words))

    def set_limits(self, limits: Limits) -> None:
        self.lenient |= limits.turnaround_ns_max != self.limits.turnaround_ns_max
        self.limits = limits
        self.obey(self.sched.set_limits(self.now_ns, limits))

    def submit(self, session: int, queue: int, launch: int, blocks: int, plan: Plan) -> None:
        job = Job(session, queue, blocks, plan, self.order)
        self.order += 1
        waiting_before = any(j.queue == queue for j in self.jobs.values())
        self.jobs[launch] = job
        job.submitted_ns = self.now_ns
        self.owned.setdefault(session, set()).add(queue)
        out = self.sched.launch(self.now_ns, session, queue, launch, blocks, plan)
        if (
            self.classes[session] == JobClass.HIGH
            and self.sched.high_at_once
            and not waiting_before
        ):
            assert isinstance(out[0], Start) and out[0].launch == launch, "high waits"
        self.obey(out)

    def work(self, session: int) -> None:
        """A piece of high work that is counted only begins."""
        self.counted[session] = self.counted.get(session, 0) + 1
        self.obey(self.sched.work(self.now_ns, session))

    def end_work(self, session: int, pieces: int) -> None:
        high_before = self._high_is_busy()
        self.counted[session] -= pieces
        if high_before and not self._high_is_busy():
            self.high_gone_ns = self.now_ns
        self.obey(self.sched.work_ended(self.now_ns, session, pieces))

    def come(self) -> None:
        """A launch of high is on its way to the device."""
        self.coming += 1
        assert not self.sched.coming(self.now_ns), "decides before it knows"

    def arrive(self) -> None:
        """It did not go after all: who was held back is called by the next event."""
        self.coming -= 1
        self.sched.came(self.now_ns)
        self.timer_ns = None
        self.obey(self.sched.timer(self.now_ns))

    def recall(self, queue: int) -> None:
        """The owner has not made the last starts of the queue's last launch."""
        stream = self.streams[queue]
        launch, taken = stream[-1].launch, []
        while stream and stream[-1].launch == launch and not stream[-1].ran:
            if stream[-1].guarded:
                return
            taken.append(stream.pop())
        self.jobs[launch].starts -= len(taken)
        if taken:
            self.obey(self.sched.recalled(self.now_ns, launch, taken[-1].lo))

    def busy_queues(self) -> list[int]:
        return sorted(queue for queue, stream in self.streams.items() if stream)

    def advance(self, ns: int) -> None:
        """Lets time pass, firing the timer when it is due."""
        self._account(ns)
        self.now_ns += ns
        while self.timer_ns is not None and self.timer_ns <= self.now_ns:
            self.timer_ns = None
            self.obey(self.sched.timer(self.now_ns))

    def run_blocks(self, queue: int, count: int, scattered: bool = False) -> None:
        """Runs up to `count` blocks at the front of a stream, and reports what ends by that."""
        flight = self.streams[queue][0]
        job = self.jobs[flight.launch]
        older = [j for j in self.jobs.values() if j.queue == queue and j.order < job.order]
        if job.waits and flight.told_to_stop and not flight.rescued and flight.ran:
            count = 0  # what has begun waits
        left = [b for b in range(flight.lo, flight.hi) if not job.ran[b]]
        if flight.told_to_stop and older:
            count = 0  # the flag was up before its stream came to it
        todo = left[:count]
        if scattered and count < len(left):
            todo = left[: count // 2] + left[len(left) - (count - count // 2) :]
        for block in todo:
            assert not older, "a block runs before its predecessor in the stream is complete"
            job.ran[block] += 1
            assert job.ran[block] == 1, "a block runs twice"
        flight.ran += len(todo)
        if job.waits and flight.told_to_stop and flight.ran and not flight.rescued:
            return
        stopped = flight.told_to_stop and not flight.rescued
        ended = stopped or all(job.ran[flight.lo : flight.hi])
        if ended and self.classes[job.session] != JobClass.HIGH:
            self.last_finish_ns = self.now_ns
        if all(job.ran[flight.lo : flight.hi]):
            self.streams[queue].popleft()
            self.obey(self.sched.finished(self.now_ns, flight.launch, flight.lo, flight.hi))
        elif stopped:
            self.streams[queue].popleft()
            lo = job.ran.index(0)
            self.obey(self.sched.preempted(self.now_ns, flight.launch, lo, flight.ran))

    def drain(self, step_ns: int = 1000) -> None:
        """Runs everything to its end. Fails if the scheduler leaves work lying (starvation)."""
        while self.coming:
            self.arrive()
        for session, pieces in self.counted.items():
            if pieces:
                self.end_work(session, pieces)
        for _ in range(100_000):
            if not self.jobs and not self.closing:
                return
            queues = self.busy_queues()
            if queues:
                self.advance(step_ns)
                for queue in queues:  # one may wait for the watchdog, which waits for the others
                    if self.streams.get(queue):
                        self.run_blocks(queue, 1 << 20)
            else:
                assert self.timer_ns is not None, f"work is left lying: {sorted(self.jobs)}"
                self.advance(max(0, self.timer_ns - self.now_ns))
        raise AssertionError("does not come to an end")
