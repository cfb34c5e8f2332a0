"""The job table: its invariants under any order of events, and what it adds up."""

from __future__ import annotations

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tally.daemon import job_stats
from tally.daemon.supervisor.jobs import Job, JobTable, Session, UnknownJobError

KEPT = 3


def start(table: JobTable, pid: int = 10, uid: int = 1000) -> Job:
    return table.start(
        name="n",
        job_class="high",
        priority=0,
        weight=1,
        uid=uid,
        pid=pid,
        argv=("n",),
        cwd="/",
        now_s=1.0,
    )


def launched(count: int) -> job_stats.Stats:
    return {"counters": {"launches": count}, "gauges": {"memory_bytes": count}, "histograms": {}}


def test_what_closed_sessions_counted_stays() -> None:
    table = JobTable(KEPT, "t")
    job = start(table)
    session = table.open_session(job, 11, 1000, 1000, "p")
    session.devices[0] = launched(5)
    session.unsupported["cuFoo"] = 2
    assert job.stats()["counters"] == {"launches": 5}
    table.close_device(session, 0, launched(7))
    table.close_session(session, 2.0)
    assert job.state == "running"
    table.root_ended(job, 3.0)
    assert (job.state, job.ended_s) == ("done", 3.0)
    assert job.stats()["counters"] == {"launches": 7}
    assert job.stats()["gauges"] == {}
    assert job.unsupported() == {"cuFoo": 2}


def test_a_lost_session_marks_its_job() -> None:
    table = JobTable(KEPT, "t")
    job = start(table)
    session = table.open_session(job, 11, 1000, 1000, "p")
    session.devices[0] = launched(5)
    table.close_device(session, 0, None, lost=True)
    assert job.stats()["counters"] == {"launches": 5}
    table.close_session(session, 2.0)
    table.root_ended(job, 3.0)
    assert job.state == "lost"


def test_who_may_join_a_job() -> None:
    table = JobTable(KEPT, "t")
    job = start(table)
    assert table.find(job.id, 1000) is job
    assert table.find(job.id, 0) is job
    with pytest.raises(UnknownJobError, match="another user"):
        table.find(job.id, 1001)
    with pytest.raises(UnknownJobError, match="tally run"):
        table.find("1-other", 1000)


def test_the_nearest_ancestor_decides() -> None:
    table = JobTable(KEPT, "t")
    outer, inner = start(table, 10), start(table, 20)
    assert table.of_process([30, 20, 10, 1], 1000) is inner
    assert table.of_process([30, 10, 1], 1000) is outer
    assert table.of_process([30, 10, 1], 1001) is None
    assert table.of_process([30, 1], 1000) is None


class Machine(RuleBasedStateMachine):
    """Any order of events keeps JobTable.validate true."""

    def __init__(self) -> None:
        super().__init__()
        self.table = JobTable(KEPT, "t")
        self.now_s = 0.0
        self.sessions: list[Session] = []

    def tick(self) -> float:
        self.now_s += 1
        return self.now_s

    @rule()
    def start(self) -> None:
        start(self.table)

    @precondition(lambda self: self.table.jobs)
    @rule(data=strategies.data())
    def open(self, data: strategies.DataObject) -> None:
        job = data.draw(strategies.sampled_from(list(self.table.jobs.values())))
        self.sessions.append(self.table.open_session(job, 11, 1000, 1000, "p"))

    @precondition(lambda self: self.sessions)
    @rule(data=strategies.data(), device=strategies.integers(0, 1))
    def use(self, data: strategies.DataObject, device: int) -> None:
        data.draw(strategies.sampled_from(self.sessions)).devices[device] = launched(1)

    @precondition(lambda self: self.sessions)
    @rule(data=strategies.data(), lost=strategies.booleans())
    def close(self, data: strategies.DataObject, lost: bool) -> None:
        session = data.draw(strategies.sampled_from(self.sessions))
        for device in list(session.devices):
            self.table.close_device(session, device, None, lost)
        self.table.close_session(session, self.tick())
        self.sessions.remove(session)

    @rule(data=strategies.data())
    def end_root(self, data: strategies.DataObject) -> None:
        alive = [job for job in self.table.jobs.values() if job.root_alive]
        if alive:
            self.table.root_ended(data.draw(strategies.sampled_from(alive)), self.tick())

    @invariant()
    def valid(self) -> None:
        self.table.validate()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_quantiles_lie_in_their_bucket() -> None:
    samples = [100, 1_000, 10_000, 100_000, 1_000_000]
    buckets = [0] * 256
    for sample in samples:
        buckets[next(b for b in range(256) if job_stats.floor_ns(b + 1) > sample)] += 1
    histogram = {"count": 5, "sum_ns": sum(samples), "max_ns": max(samples), "buckets": buckets}
    assert job_stats.quantile_ns(histogram, 50) == pytest.approx(10_000, rel=0.125)
    assert job_stats.quantile_ns(histogram, 99) == pytest.approx(1_000_000, rel=0.125)
    doubled = job_stats.merge([{"histograms": {"h": histogram}}] * 2)["histograms"]["h"]
    assert doubled["count"] == 10
    assert job_stats.quantile_ns(doubled, 50) == job_stats.quantile_ns(histogram, 50)
    assert histogram["buckets"] == buckets, "merging must not change its input"
