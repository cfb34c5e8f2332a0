"""Jobs from mixes put together; and the published setting: every service beside every trainer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tally.scheduler.core import JobClass
from tally.scheduler.limits import Limits
from tally.scheduler.sim.arrivals import bursty
from tally.scheduler.sim.compare import BASELINE, Comparison, Row
from tally.scheduler.sim.mixes import Mix, Mixes
from tally.scheduler.sim.model import Client, Kernel, Scenario
from tally.scheduler.sim.run import simulate


@dataclass(frozen=True)
class Setting:
    """How mixes are run. load: share of the time that one service's requests take up alone."""

    load: float = 0.5
    seconds: float = 60.0
    seed: int = 1
    limits: Limits | None = None


def service_time_ns(mixes: Mixes, mix: Mix) -> int:
    """Mean time of one request alone, back to back."""
    client = Client(mix.name, JobClass.HIGH, [mix.program(0)])
    for seconds in (1.0, 10.0, 100.0):
        result = simulate(Scenario(mix.kernels, [client], mixes.device), BASELINE, seconds)
        if result.clients[0].programs >= 3:
            return int(np.mean(result.clients[0].service_ns))
    raise ValueError(f"a request of {mix.name} takes longer than half a minute")


def scenario(
    mixes: Mixes, services: Sequence[str], trainers: Sequence[str], how: Setting
) -> Scenario:
    """Services under bursty arrivals, trainers in a loop. Raises KeyError for an unknown mix and
    ValueError for a load or a time that makes no sense."""
    kernels: list[Kernel] = []
    clients: list[Client] = []
    for name in services:
        mix = mixes.services[name]
        seed = how.seed + len(clients)
        each_ns = service_time_ns(mixes, mix)
        if (needed := each_ns / 1e9 / how.load) > how.seconds:
            raise ValueError(
                f"not one request of {name} fits into {how.seconds:g} s at load {how.load:g}: "
                f"it takes {each_ns / 1e9:.3g} s, so use {math.ceil(needed * 10) / 10:g} s or more"
            )
        arrivals = bursty(how.seconds, each_ns, how.load, seed).tolist()
        programs = [mix.program(len(kernels))]
        clients.append(Client(name, JobClass.HIGH, programs, arrivals, seed=seed))
        kernels += mix.kernels
    for name in trainers:
        mix = mixes.trainers[name]
        programs = [mix.program(len(kernels))]
        seed = how.seed + len(clients)
        clients.append(Client(name, JobClass.BEST_EFFORT, programs, seed=seed))
        kernels += mix.kernels
    return Scenario(kernels, clients, mixes.device)


@dataclass(frozen=True)
class Pair:
    service: str
    trainer: str
    row: Row


def pairs(mixes: Mixes, policies: Sequence[str], how: Setting) -> Iterator[Pair]:
    """Every service with every trainer under every policy. Raises as `scenario` does, at once."""
    names = [(service, trainer) for service in mixes.services for trainer in mixes.trainers]
    scenarios = [scenario(mixes, [service], [trainer], how) for service, trainer in names]
    for (service, trainer), both in zip(names, scenarios, strict=True):
        for row in Comparison(both, how.seconds, how.limits).rows(policies):
            yield Pair(service, trainer, row)


@dataclass(frozen=True)
class Summary:
    """One policy over all pairs."""

    policy: str
    pairs: int
    mean_p99_overhead: float
    worst_p99_overhead: float
    mean_response_p99_overhead: float
    mean_system_throughput: float
    worst_turnaround_p99_ns: int


def summarise(results: Sequence[Pair]) -> list[Summary]:
    """One row per policy, in order of appearance."""
    summaries = []
    for policy in dict.fromkeys(pair.row.policy for pair in results):
        rows = [pair.row for pair in results if pair.row.policy == policy]
        overheads = [client.p99_overhead for row in rows for client in row.high]
        responses = [client.response_p99_overhead for row in rows for client in row.high]
        summaries.append(
            Summary(
                policy,
                len(rows),
                float(np.mean(overheads)),
                max(overheads),
                float(np.mean(responses)),
                float(np.mean([row.system_throughput for row in rows])),
                max(row.turnaround_p99_ns for row in rows),
            )
        )
    return summaries
