"""One scenario under several policies, each client held against itself alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tally.scheduler.core import JobClass
from tally.scheduler.limits import Limits
from tally.scheduler.sim.model import Client, Scenario
from tally.scheduler.sim.run import ClientResult, simulate

BASELINE = "fifo"  # alone means: the device to itself, and nothing scheduled


@dataclass(frozen=True)
class ClientRow:
    """One client under one policy. Overheads: 0.05 is 5% over alone; throughput: 1 is as alone.

    service: from a program's start to its end; response: from its arrival, so with queueing.
    """

    name: str
    high: bool
    programs: int
    p50_ns: float
    p99_ns: float
    response_p99_ns: float
    p99_overhead: float
    response_p99_overhead: float
    throughput: float
    gpu_share: float
    waited_ns: int
    slices: int
    preemptions: int


@dataclass(frozen=True)
class Row:
    """One policy's outcome. Turnaround: from the arrival of high work that met best-effort work."""

    policy: str
    clients: tuple[ClientRow, ...]
    turnaround_p50_ns: int
    turnaround_p99_ns: int
    turnaround_max_ns: int
    launches: int
    events: int
    wall_seconds: float

    @property
    def system_throughput(self) -> float:
        """Sum of the clients' throughputs, each over alone."""
        return sum(client.throughput for client in self.clients)

    @property
    def high(self) -> tuple[ClientRow, ...]:
        return tuple(client for client in self.clients if client.high)


def quantile(times: object, q: float) -> float:
    values = np.asarray(times)
    return float(np.quantile(values, q)) if values.size else float("nan")


class Comparison:
    """Runs a scenario under policies; what each client does alone is computed once."""

    def __init__(self, scenario: Scenario, seconds: float, limits: Limits | None = None) -> None:
        self.scenario, self.seconds, self.limits = scenario, seconds, limits
        self.alone = [self._alone(client) for client in scenario.clients]

    def _alone(self, client: Client) -> ClientResult:
        scenario = replace(self.scenario, clients=[client])
        return simulate(scenario, BASELINE, self.seconds, limits=self.limits).clients[0]

    def _row(self, result: ClientResult, alone: ClientResult, client: Client) -> ClientRow:
        p99, response = quantile(result.service_ns, 0.99), quantile(result.response_ns, 0.99)
        open_loop = client.arrivals is not None
        done, reference = (
            (result.programs, alone.programs) if open_loop else (result.ops_done, alone.ops_done)
        )
        return ClientRow(
            name=client.name,
            high=client.job_class == JobClass.HIGH,
            programs=result.programs,
            p50_ns=quantile(result.service_ns, 0.5),
            p99_ns=p99,
            response_p99_ns=response,
            p99_overhead=p99 / quantile(alone.service_ns, 0.99) - 1,
            response_p99_overhead=response / quantile(alone.response_ns, 0.99) - 1,
            throughput=done / max(1, reference),
            gpu_share=result.stats.gpu_ns / (self.seconds * 1e9),
            waited_ns=result.stats.waited_ns,
            slices=result.stats.starts,
            preemptions=result.stats.preemptions,
        )

    def run(self, policy: str) -> Row:
        result = simulate(self.scenario, policy, self.seconds, limits=self.limits)
        triples = zip(result.clients, self.alone, self.scenario.clients, strict=True)
        return Row(
            policy=policy,
            clients=tuple(self._row(*triple) for triple in triples),
            turnaround_p50_ns=result.stats.turnaround_ns.quantile(0.5),
            turnaround_p99_ns=result.stats.turnaround_ns.quantile(0.99),
            turnaround_max_ns=result.stats.turnaround_ns.max,
            launches=result.launches,
            events=result.events,
            wall_seconds=result.wall_seconds,
        )

    def rows(self, policies: Sequence[str]) -> Iterator[Row]:
        for policy in policies:
            yield self.run(policy)
