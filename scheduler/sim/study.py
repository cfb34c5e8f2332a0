"""The published setting in the simulator: services and trainers in pairs, under every policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tally.scheduler.core import JobClass, Limits
from tally.scheduler.sim.arrivals import bursty
from tally.scheduler.sim.mixes import Mix, Mixes
from tally.scheduler.sim.model import Client, Scenario
from tally.scheduler.sim.run import ClientResult, Result, simulate


@dataclass(frozen=True)
class Alone:
    """What a job does with the device to itself and no scheduler (policy fifo)."""

    p50_ns: float
    p99_ns: float
    response_p99_ns: float
    launches: int
    ops: int
    requests: int
    gpu_share: float


@dataclass(frozen=True)
class Pair:
    """One service beside one trainer under one policy. Overheads: 0.05 is 5% over alone."""

    service: str
    trainer: str
    policy: str
    requests: int
    p50_ns: float
    p99_ns: float
    response_p99_ns: float
    p99_overhead: float
    response_p99_overhead: float
    service_throughput: float
    trainer_throughput: float
    turnaround_p50_ns: int
    turnaround_p99_ns: int
    turnaround_max_ns: int
    preemptions: int
    launches: int
    wall_seconds: float

    @property
    def system_throughput(self) -> float:
        return self.service_throughput + self.trainer_throughput


@dataclass(frozen=True)
class Setting:
    """How a study is run. load: share of the time that the service's requests take up alone."""

    load: float = 0.5
    seconds: float = 60.0
    seed: int = 1
    limits: Limits | None = None


def _quantile(times: object, q: float) -> float:
    values = np.asarray(times)
    return float(np.quantile(values, q)) if values.size else float("nan")


def _run(mixes: Mixes, clients: Sequence[tuple[Mix, Client]], policy: str, how: Setting) -> Result:
    kernels = [kernel for mix, _ in clients for kernel in mix.kernels]
    placed, offset = [], 0
    for mix, client in clients:
        placed.append(replace(client, programs=[mix.program(offset)]))
        offset += len(mix.kernels)
    return simulate(Scenario(kernels, placed, mixes.device), policy, how.seconds, limits=how.limits)


def _service(mix: Mix, arrivals: Sequence[int] | None, seed: int) -> Client:
    return Client(mix.name, JobClass.HIGH, [], arrivals, seed=seed)


def _trainer(mix: Mix, seed: int) -> Client:
    return Client(mix.name, JobClass.BEST_EFFORT, [], seed=seed)


def _alone(result: ClientResult, how: Setting) -> Alone:
    return Alone(
        _quantile(result.service_ns, 0.5),
        _quantile(result.service_ns, 0.99),
        _quantile(result.response_ns, 0.99),
        result.launches,
        result.ops_done,
        result.programs,
        result.stats.gpu_ns / (how.seconds * 1e9),
    )


class Study:
    """Runs pairs of a set of mixes; what each job does alone is computed once."""

    def __init__(self, mixes: Mixes, how: Setting) -> None:
        self.mixes, self.how = mixes, how
        self._arrivals: dict[str, Sequence[int]] = {}
        self.services: dict[str, Alone] = {}
        self.trainers: dict[str, Alone] = {}

    def prepare_service(self, name: str) -> None:
        """Its time alone fixes the arrivals that make up the load; the same for every policy."""
        if name in self.services:
            return
        mix, how = self.mixes.services[name], self.how
        back_to_back = _run(self.mixes, [(mix, _service(mix, None, how.seed))], "fifo", how)
        mean_ns = int(np.mean(back_to_back.clients[0].service_ns))
        self._arrivals[name] = bursty(how.seconds, mean_ns, how.load, how.seed).tolist()
        client = _service(mix, self._arrivals[name], how.seed)
        result = _run(self.mixes, [(mix, client)], "fifo", how)
        self.services[name] = _alone(result.clients[0], how)

    def prepare_trainer(self, name: str) -> None:
        if name in self.trainers:
            return
        mix = self.mixes.trainers[name]
        result = _run(self.mixes, [(mix, _trainer(mix, self.how.seed + 1))], "fifo", self.how)
        self.trainers[name] = _alone(result.clients[0], self.how)

    def pair(self, service: str, trainer: str, policy: str) -> Pair:
        self.prepare_service(service)
        self.prepare_trainer(trainer)
        high, low = self.mixes.services[service], self.mixes.trainers[trainer]
        clients = [
            (high, _service(high, self._arrivals[service], self.how.seed)),
            (low, _trainer(low, self.how.seed + 1)),
        ]
        result = _run(self.mixes, clients, policy, self.how)
        of_service, of_trainer = result.clients
        alone, trainer_alone = self.services[service], self.trainers[trainer]
        p99 = _quantile(of_service.service_ns, 0.99)
        response = _quantile(of_service.response_ns, 0.99)
        turnaround = result.stats.turnaround_ns
        return Pair(
            service=service,
            trainer=trainer,
            policy=policy,
            requests=of_service.programs,
            p50_ns=_quantile(of_service.service_ns, 0.5),
            p99_ns=p99,
            response_p99_ns=response,
            p99_overhead=p99 / alone.p99_ns - 1,
            response_p99_overhead=response / alone.response_p99_ns - 1,
            service_throughput=of_service.programs / max(1, alone.requests),
            trainer_throughput=of_trainer.ops_done / max(1, trainer_alone.ops),
            turnaround_p50_ns=turnaround.quantile(0.5),
            turnaround_p99_ns=turnaround.quantile(0.99),
            turnaround_max_ns=turnaround.max,
            preemptions=of_trainer.stats.preemptions,
            launches=result.launches,
            wall_seconds=result.wall_seconds,
        )

    def pairs(self, policies: Sequence[str]) -> Iterator[Pair]:
        for service in self.mixes.services:
            for trainer in self.mixes.trainers:
                for policy in policies:
                    yield self.pair(service, trainer, policy)


@dataclass(frozen=True)
class Summary:
    policy: str
    mean_p99_overhead: float
    worst_p99_overhead: float
    mean_response_p99_overhead: float
    mean_system_throughput: float
    turnaround_p99_ns: int


def summarise(pairs: Sequence[Pair]) -> list[Summary]:
    """One row per policy, in order of appearance."""
    rows = []
    for policy in dict.fromkeys(pair.policy for pair in pairs):
        mine = [pair for pair in pairs if pair.policy == policy]
        rows.append(
            Summary(
                policy,
                float(np.mean([p.p99_overhead for p in mine])),
                max(p.p99_overhead for p in mine),
                float(np.mean([p.response_p99_overhead for p in mine])),
                float(np.mean([p.system_throughput for p in mine])),
                max(p.turnaround_p99_ns for p in mine),
            )
        )
    return rows
