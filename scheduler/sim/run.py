"""Runs a scenario in the C simulator and reads the results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tally._native import ffi, lib
from tally.scheduler.core import fill_limits
from tally.scheduler.figures import SchedulerStats, SessionStats
from tally.scheduler.limits import Limits
from tally.scheduler.plan import fill_plan
from tally.scheduler.policies import policy_index
from tally.scheduler.sim.model import Client, Device, Kernel, Scenario

Times = npt.NDArray[np.uint64]
_OP = np.dtype([("kernel", "<i4"), ("reserved", "<u4"), ("cpu_ns", "<u8")])


class SimulationError(Exception):
    """The scenario makes no sense, or the scheduler and the device disagreed."""


@dataclass(frozen=True)
class ClientResult:
    name: str
    programs: int
    launches: int
    busy_ns: int
    ops_done: int
    service_ns: Times  # start to end of each program, without queueing
    response_ns: Times  # arrival to end
    stats: SessionStats


@dataclass(frozen=True)
class Result:
    policy: str
    simulated_ns: int
    wall_seconds: float
    events: int
    clients: tuple[ClientResult, ...]
    stats: SchedulerStats

    @property
    def launches(self) -> int:
        return sum(client.launches for client in self.clients)


def default_limits() -> Limits:
    """The limits that simulations use unless told otherwise: those of the engine on a GPU."""
    return Limits.default()


def _fill_device(device: Device) -> Any:
    raw = ffi.new("struct tally_sim_device *")
    raw.units = device.units
    raw.interleave = device.interleave
    raw.contention_permil = round(device.contention * 1000)
    for name in (
        "launch_ns",
        "gap_ns",
        "completion_ns",
        "flag_ns",
        "skip_ns",
        "guard_ns",
        "forward_ns",
        "reply_ns",
    ):
        setattr(raw, name, getattr(device, name))
    return raw


def _fill_kernels(kernels: tuple[Kernel, ...], device: Device, limits: Limits) -> Any:
    raw = ffi.new("struct tally_sim_kernel[]", len(kernels))
    for slot, kernel in zip(raw, kernels, strict=True):
        slot.blocks, slot.units = kernel.blocks, kernel.units(device)
        slot.spread_permil = round(kernel.spread * 1000)
        fill_plan(slot.plan, kernel.plan(device, limits.turnaround_ns_max))
        slot.block_ns = kernel.quantiles
    return raw


def _fill_client(raw: Any, client: Client, jobs: dict[str, int], keep: list[Any]) -> None:
    rows = [
        (op.kernel, 0, op.cpu_ns)
        for program in client.programs
        for op in program
        for _ in range(op.repeat)
    ]
    ops = np.array(rows, dtype=_OP)
    lengths = [sum(op.repeat for op in program) for program in client.programs]
    ends = np.cumsum(lengths, dtype=np.uint32)
    raw.class_, raw.priority, raw.weight = int(client.job_class), client.priority, client.weight
    raw.job = jobs.setdefault(client.job, len(jobs) + 1) if client.job else 0
    raw.program_count, raw.seed = len(client.programs), client.seed
    raw.ops = ffi.from_buffer("struct tally_sim_op[]", ops)
    raw.program_ends = ffi.from_buffer("uint32_t[]", ends)
    keep += [ops, ends]
    if client.arrivals is not None:
        arrivals = np.asarray(client.arrivals, dtype=np.uint64)
        raw.arrivals = ffi.from_buffer("uint64_t[]", arrivals)
        raw.arrival_count = len(arrivals)
        keep.append(arrivals)


def _read_client(sim: Any, index: int, client: Client) -> ClientResult:
    raw = ffi.new("struct tally_sim_result *")
    lib.tally_sim_read(sim, index, raw)
    service = np.zeros(max(1, raw.programs), dtype=np.uint64)
    response = np.zeros_like(service)
    count = lib.tally_sim_latencies(
        sim,
        index,
        ffi.from_buffer("uint64_t[]", service),
        ffi.from_buffer("uint64_t[]", response),
        raw.programs,
    )
    stats = ffi.new("struct tally_sched_session_stats *")
    lib.tally_sched_read_session(lib.tally_sim_sched(sim), index, stats)
    return ClientResult(
        client.name,
        raw.programs,
        raw.launches,
        raw.busy_ns,
        raw.ops_done,
        service[:count],
        response[:count],
        SessionStats.read(stats),
    )


def simulate(
    scenario: Scenario,
    policy: str,
    seconds: float,
    *,
    limits: Limits | None = None,
    outstanding_max: int = 1024,
    check: bool = False,
) -> Result:
    """Runs the scenario for so many virtual seconds under one policy.

    The same scenario gives the same nanoseconds. check: validate the scheduler after every event.
    Raises SimulationError; KeyError for a policy that does not exist.
    """
    limits = limits or default_limits()
    clients = tuple(scenario.clients)
    config = ffi.new("struct tally_sched_config *")
    lib.tally_sched_config_default(config)
    config.sessions_max = config.queues_max = max(1, len(clients))
    config.session_launches_max = outstanding_max
    config.launches_max = outstanding_max * max(1, len(clients))
    config.policy = policy_index(policy)
    fill_limits(config.limits, limits)

    keep: list[Any] = []
    jobs: dict[str, int] = {}
    raw_clients = ffi.new("struct tally_sim_client[]", max(1, len(clients)))
    for slot, client in zip(raw_clients, clients, strict=False):
        _fill_client(slot, client, jobs, keep)
    raw_kernels = _fill_kernels(tuple(scenario.kernels), scenario.device, limits)
    device = _fill_device(scenario.device)
    sim = lib.tally_sim_create(
        device, config, raw_kernels, len(scenario.kernels), raw_clients, len(clients)
    )
    if sim == ffi.NULL:
        raise SimulationError("the scenario makes no sense: an empty program, or one too large")
    sim = ffi.gc(sim, lib.tally_sim_destroy)

    begun = time.perf_counter()
    end_ns = round(seconds * 1e9)
    wrong = lib.tally_sim_run(sim, end_ns, check)
    wall_seconds = time.perf_counter() - begun
    if wrong != ffi.NULL:
        raise SimulationError(ffi.string(wrong).decode())
    stats = ffi.new("struct tally_sched_stats *")
    lib.tally_sched_read_stats(lib.tally_sim_sched(sim), stats)
    return Result(
        policy,
        end_ns,
        wall_seconds,
        lib.tally_sim_events(sim),
        tuple(_read_client(sim, i, client) for i, client in enumerate(clients)),
        SchedulerStats.read(stats),
    )
