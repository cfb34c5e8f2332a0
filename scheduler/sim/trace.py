"""Traces: scenarios for the simulator in a file, made by hand, by `tally simulate --save-trace`, or
from recordings of real runs (replay.py).

A trace is JSON lines, gzip-compressed if its name ends in `.gz`. Every line is an object; what it
is stands in its first key:

    {"format": "tally-trace", "version": 1, "device": {"sms": 108}}           first line
    {"kernel": 0, "name": "gemm", "blocks": 864, "blocks_per_sm": 2, "block_ns": 60000,
     "sigma": 0.1, "spread": 0.1, "guard": true, "slice": true}
    {"client": 0, "name": "bert", "class": "high", "priority": 0, "weight": 1}
    {"program": [[0, 5000], [1, 5000, 12], [-1, 100000]], "client": 0, "arrival_ns": 120000}

kernel, client: consecutive numbers from 0. block_ns: mean device time of one block; sigma: of its
lognormal distribution over launches; spread: how far the blocks of one launch differ; guard, slice:
what the rewriting passes allow; quantiles: 64 measured durations in place of that distribution.
sigma, spread, guard, slice, quantiles, priority, weight, job may be left out.

program: ops in order, each [kernel, cpu_ns] or [kernel, cpu_ns, repeat]; kernel -1 waits for all
before it. cpu_ns is the program's own time before the call (after it, for a wait). Programs with
arrival_ns begin no earlier than that; a client's programs either all have it, in ascending order,
or none has, and then the client runs them in a loop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tally.scheduler.core import JobClass
from tally.scheduler.plans import Ability
from tally.scheduler.sim.files import TraceError, open_text, read_lines
from tally.scheduler.sim.model import QUANTILES, SYNC, Client, Device, Kernel, Op, Scenario

__all__ = ["TraceError", "load", "save"]

FORMAT, VERSION = "tally-trace", 1
_CLASSES = {"high": JobClass.HIGH, "best-effort": JobClass.BEST_EFFORT}
_NAMES = {job_class: name for name, job_class in _CLASSES.items()}


def _lines(scenario: Scenario) -> Iterator[Mapping[str, Any]]:
    device = scenario.device
    yield {"format": FORMAT, "version": VERSION, "device": vars(device)}
    for index, kernel in enumerate(scenario.kernels):
        yield {
            "kernel": index,
            "name": kernel.name,
            "blocks": kernel.blocks,
            "blocks_per_sm": kernel.blocks_per_sm,
            "block_ns": kernel.block_ns,
            "sigma": kernel.sigma,
            "spread": kernel.spread,
            "guard": Ability.GUARD in kernel.abilities,
            "slice": Ability.SLICE in kernel.abilities,
            **({"quantiles": kernel.samples} if kernel.samples else {}),
        }
    for index, client in enumerate(scenario.clients):
        yield {
            "client": index,
            "name": client.name,
            "class": _NAMES[client.job_class],
            "priority": client.priority,
            "weight": client.weight,
            **({"job": client.job} if client.job else {}),
        }
        programs = [[_pack(op) for op in program] for program in client.programs]
        if client.arrivals is None:
            yield from ({"program": ops, "client": index} for ops in programs)
            continue
        for at, arrival in enumerate(client.arrivals):
            ops = programs[at % len(programs)]
            yield {"program": ops, "client": index, "arrival_ns": int(arrival)}


def _pack(op: Op) -> list[int]:
    return [op.kernel, op.cpu_ns] if op.repeat == 1 else [op.kernel, op.cpu_ns, op.repeat]


def save(scenario: Scenario, path: Path) -> None:
    """Writes a scenario as a trace. Seeds are not part of it."""
    with open_text(path, "w") as file:
        for line in _lines(scenario):
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


class _Reader:
    """Collects a trace's lines into a scenario."""

    def __init__(self) -> None:
        self.device: Device | None = None
        self.kernels: list[Kernel] = []
        self.clients: list[Client] = []
        self.programs: list[list[tuple[Op, ...]]] = []
        self.arrivals: list[list[int]] = []
        self.known: dict[tuple[Any, ...], tuple[Op, ...]] = {}

    def take(self, line: Mapping[str, Any]) -> None:
        if self.device is None:
            if line.get("format") != FORMAT or line.get("version") != VERSION:
                raise ValueError(f"does not begin as a {FORMAT} of version {VERSION}")
            self.device = Device(**line["device"])
        elif "program" in line:
            self._program(line)
        elif "kernel" in line:
            self._kernel(line)
        elif "client" in line:
            self._client(line)
        else:
            raise ValueError("neither kernel nor client nor program")

    def _kernel(self, line: Mapping[str, Any]) -> None:
        if line["kernel"] != len(self.kernels):
            raise ValueError(f"kernel {len(self.kernels)} comes next")
        abilities = Ability.GUARD if line.get("guard", True) else Ability.NONE
        abilities |= Ability.SLICE if line.get("slice", True) else Ability.NONE
        kernel = Kernel(
            str(line["name"]),
            int(line["blocks"]),
            int(line["blocks_per_sm"]),
            int(line["block_ns"]),
            float(line.get("sigma", 0.1)),
            float(line.get("spread", 0.1)),
            abilities,
            tuple(map(int, line.get("quantiles", ()))),
        )
        if kernel.samples and (len(kernel.samples) != QUANTILES or min(kernel.samples) < 1):
            raise ValueError(f"quantiles are {QUANTILES} times of at least 1 ns")
        sane = kernel.blocks > 0 and kernel.blocks_per_sm > 0 and kernel.block_ns > 0
        if not sane or kernel.sigma < 0 or not 0 <= kernel.spread <= 1:
            raise ValueError("a kernel's numbers are out of range")
        self.kernels.append(kernel)

    def _client(self, line: Mapping[str, Any]) -> None:
        if line["client"] != len(self.clients):
            raise ValueError(f"client {len(self.clients)} comes next")
        self.clients.append(
            Client(
                str(line["name"]),
                _CLASSES[line["class"]],
                [],
                None,
                int(line.get("priority", 0)),
                int(line.get("weight", 1)),
                seed=len(self.clients) + 1,
                job=str(line.get("job", "")),
            )
        )
        self.programs.append([])
        self.arrivals.append([])

    def _program(self, line: Mapping[str, Any]) -> None:
        client = int(line["client"])
        key = tuple(tuple(map(int, op)) for op in line["program"])
        if key not in self.known:
            ops = tuple(Op(*op) for op in key)
            if not ops or any(not SYNC <= op.kernel < len(self.kernels) for op in ops):
                raise ValueError("a program is empty or names a kernel that was not described")
            if any(op.cpu_ns < 0 or op.repeat < 1 for op in ops):
                raise ValueError("a program's numbers are out of range")
            self.known[key] = ops
        self.programs[client].append(self.known[key])
        if "arrival_ns" in line:
            self.arrivals[client].append(int(line["arrival_ns"]))

    def scenario(self) -> Scenario:
        if self.device is None or not self.clients:
            raise ValueError("holds no client")
        clients = []
        for client, programs, arrivals in zip(
            self.clients, self.programs, self.arrivals, strict=True
        ):
            if not programs or len(arrivals) not in (0, len(programs)):
                raise ValueError(f"client {client.name}: all programs need an arrival, or none")
            if arrivals != sorted(arrivals) or any(at < 0 for at in arrivals):
                raise ValueError(f"client {client.name}: arrivals are not in order")
            if len(set(programs)) == 1:
                programs = programs[:1]
            clients.append(
                Client(
                    client.name,
                    client.job_class,
                    programs,
                    arrivals or None,
                    client.priority,
                    client.weight,
                    client.seed,
                    client.job,
                )
            )
        return Scenario(self.kernels, clients, self.device)


def load(path: Path) -> Scenario:
    """Reads a trace. Raises TraceError."""
    reader = _Reader()
    read_lines(path, reader.take)
    try:
        return reader.scenario()
    except ValueError as error:
        raise TraceError(f"{path}: {error}") from error
