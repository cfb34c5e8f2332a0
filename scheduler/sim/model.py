"""What is simulated: a device, kernels, and clients that launch them. Times in nanoseconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist

from tally._native import lib
from tally.scheduler.core import JobClass
from tally.scheduler.plan import Plan
from tally.scheduler.plans import Ability, PlanRecord, choose

QUANTILES: int = lib.TALLY_SIM_QUANTILES
SYNC = -1  # an op that waits for everything submitted before it


@dataclass(frozen=True)
class Device:
    """A GPU's shape and its latencies; the defaults describe an A100 with an engine beside it."""

    sms: int = 108
    units_per_sm: int = 32  # a block takes units_per_sm / blocks_per_sm of them
    contention: float = 0.25  # slow-down of a block if all the rest of the device is others'
    interleave: bool = False  # streams of one priority take turns; else in order of arrival
    launch_ns: int = 4000
    gap_ns: int = 1000
    completion_ns: int = 4000
    flag_ns: int = 3000
    skip_ns: int = 600
    guard_ns: int = 300
    forward_ns: int = 0
    reply_ns: int = 5000

    @property
    def units(self) -> int:
        return self.sms * self.units_per_sm


@dataclass(frozen=True)
class Kernel:
    """block_ns: mean duration of a block; sigma: of its lognormal distribution over launches;
    spread: how far the blocks of one launch differ (0..1). samples: measured durations in place of
    that distribution, as many quantiles as QUANTILES says, ascending; empty: none."""

    name: str
    blocks: int
    blocks_per_sm: int
    block_ns: int
    sigma: float = 0.1
    spread: float = 0.1
    abilities: Ability = Ability.GUARD | Ability.SLICE
    samples: tuple[int, ...] = ()

    def resident(self, device: Device) -> int:
        """Blocks that the device holds at once."""
        return device.units // self.units(device)

    def units(self, device: Device) -> int:
        return max(1, device.units_per_sm // self.blocks_per_sm)

    def whole_ns(self, device: Device) -> int:
        return -(-self.blocks // self.resident(device)) * self.block_ns

    @cached_property
    def quantiles(self) -> list[int]:
        if self.samples:
            return list(self.samples)
        mean = math.log(max(1, self.block_ns)) - self.sigma**2 / 2
        normal = NormalDist(mean, self.sigma) if self.sigma > 0 else None
        if normal is None:
            return [self.block_ns] * QUANTILES
        return [
            max(1, round(math.exp(normal.inv_cdf((i + 0.5) / QUANTILES)))) for i in range(QUANTILES)
        ]

    def plan(self, device: Device, turnaround_ns_max: int) -> Plan:
        """What the plan model chooses once it has measured this kernel on this device."""
        whole = self.whole_ns(device)
        waves = -(-self.blocks // self.resident(device))
        slow = self.quantiles[-4]  # the bound is asked for in bad cases too
        stop = round(slow * (1 + self.spread / 2)) + device.flag_ns + device.completion_ns
        stop += device.guard_ns + device.skip_ns
        record = PlanRecord(
            signature=1,
            blocks=self.blocks,
            resident=self.resident(device),
            abilities=self.abilities,
            ns=(whole, whole + waves * device.guard_ns, 0, stop),
            count=(9, 9, 0, 9),
        )
        return choose(record, turnaround_ns_max)


@dataclass(frozen=True)
class Op:
    """A call: a kernel by index, or SYNC. cpu_ns: the client's own time before it (SYNC: after)."""

    kernel: int
    cpu_ns: int = 0
    repeat: int = 1


@dataclass(frozen=True)
class Client:
    """A program that launches. Without arrivals it begins its next program as soon as one ends;
    with them, each arrival (ns, ascending) asks for one program, in turn, one at a time."""

    name: str
    job_class: JobClass
    programs: Sequence[Sequence[Op]]
    arrivals: Sequence[int] | None = None
    priority: int = 0
    weight: int = 1
    seed: int = 1
    job: str = ""  # clients of one share its part of the device; empty: of none


@dataclass(frozen=True)
class Scenario:
    kernels: Sequence[Kernel]
    clients: Sequence[Client]
    device: Device = field(default_factory=Device)
