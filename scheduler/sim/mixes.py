"""Jobs made from kernel mixes: how many kernels of which kind a request or a step launches."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tally.scheduler.sim.model import SYNC, Device, Kernel, Op

PUBLISHED = Path(__file__).with_name("mixes.toml")


class MixError(ValueError):
    """The file of mixes is not readable or a mix in it makes no sense."""


@dataclass(frozen=True)
class Mix:
    """A job's kernels and the program that launches them; indices in ops are into kernels."""

    name: str
    kernels: tuple[Kernel, ...]
    ops: tuple[Op, ...]

    def program(self, offset: int) -> tuple[Op, ...]:
        """The ops, for a scenario in which this mix's kernels begin at offset."""
        return tuple(
            op if op.kernel == SYNC else Op(op.kernel + offset, op.cpu_ns) for op in self.ops
        )


@dataclass(frozen=True)
class Mixes:
    device: Device
    services: Mapping[str, Mix]
    trainers: Mapping[str, Mix]


def _kernel(job: str, entry: Mapping[str, Any], device: Device) -> Kernel:
    waves = float(entry["waves"])
    per_sm = int(entry["per_sm"])
    shape = Kernel(entry["name"], 1, per_sm, 1)
    blocks = max(1, round(waves * shape.resident(device)))
    whole_waves = -(-blocks // shape.resident(device))
    return Kernel(
        name=f"{job}.{entry['name']}",
        blocks=blocks,
        blocks_per_sm=per_sm,
        block_ns=max(1, round(entry["ns"] / whole_waves)),
        sigma=float(entry["sigma"]),
    )


def _interleave(counts: list[int]) -> list[int]:
    """Indices, each as often as its count says, spread evenly."""
    places = [((i + 0.5) / count, k) for k, count in enumerate(counts) for i in range(count)]
    return [k for _, k in sorted(places)]


def _mix(name: str, entry: Mapping[str, Any], device: Device) -> Mix:
    kernels = tuple(_kernel(name, kernel, device) for kernel in entry["kernels"])
    order = _interleave([int(kernel["count"]) for kernel in entry["kernels"]])
    step = [Op(k, int(entry["cpu_ns"])) for k in order] + [Op(SYNC, int(entry["idle_ns"]))]
    return Mix(name, kernels, tuple(step * int(entry.get("tokens", 1))))


def load(path: Path = PUBLISHED) -> Mixes:
    """Reads a file of mixes. Raises MixError, naming the file."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        device = Device(**data.get("device", {}))
        return Mixes(
            device,
            {name: _mix(name, entry, device) for name, entry in data["services"].items()},
            {name: _mix(name, entry, device) for name, entry in data["trainers"].items()},
        )
    except OSError as error:
        raise MixError(f"{path} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise MixError(f"{path}: not valid TOML: {error}") from error
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise MixError(f"{path}: {error!r}") from error
