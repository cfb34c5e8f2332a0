"""Launches of one kernel at a time, stopped at random blocks or cut into random slices."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from support.soft_device import Array, Buffer, Module, soft_device
from tally.scheduler.ptx import variables, variants

SEEDS = range(int(os.environ.get("TALLY_PREEMPTION_SEEDS", "3")))
FLAG, EPOCH, LOW, HIGH, STARTED = range(5)  # words of the control block


@dataclass(frozen=True)
class Case:
    """A kernel's launch: arrays go in as buffers, outputs start as given."""

    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    arguments: Callable[[np.random.Generator], list[Any]]
    shared: int = 0  # dynamic, in bytes
    blocks: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", int(np.prod(self.grid)))


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def words(rng: np.random.Generator, count: int) -> Array:
    return rng.integers(0, 1 << 32, count, dtype=np.uint32)


def zeros(count: int, kind: Any = np.uint32) -> Array:
    return np.zeros(count, kind)


class Control:
    """A control block. Device memory of softgpu can be read and stored to from here."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.buffer = soft_device().buffer(zeros(16 + blocks))
        self.words = (ctypes.c_uint32 * (16 + blocks)).from_address(self.buffer.address)

    def begin(self, epoch: int) -> None:
        """For a new launch; the marks of earlier ones stay."""
        self.words[FLAG], self.words[EPOCH] = 0, epoch
        self.words[LOW], self.words[HIGH], self.words[STARTED] = 0, self.blocks, 0

    @property
    def started(self) -> int:
        return int(self.words[STARTED])


class Parted(Module):
    """A module whose kernels' forms are in a module of their own, as the engine loads them."""

    def __init__(self, text: str, originals: Module | None = None) -> None:
        super().__init__(soft_device(), (originals or soft_device().load(text)).handle)
        made = variants.run(text, alone=True).text
        self.forms = soft_device().load(made)
        line = made.partition("\n")[0]
        if line.startswith(variables.LINE):
            names = line.removeprefix(variables.LINE).split()
            table = (ctypes.c_uint64 * len(names))(*map(self.address, names))
            to = ctypes.c_uint64(self.forms.address(variables.TABLE))
            soft_device().call("cuMemcpyHtoD_v2", to, table, ctypes.c_size_t(8 * len(names)))

    def start(
        self, name: str, grid: Sequence[int], block: Sequence[int], *args: Any, **options: Any
    ) -> None:
        if name.endswith((variants.GUARDED, variants.SUBGRID)):
            self.forms.start(name, grid, block, *args, **options)
        else:
            super().start(name, grid, block, *args, **options)


def on_device(case: Case, seed: int) -> list[Any]:
    arguments = case.arguments(np.random.default_rng(seed))
    return [soft_device().buffer(a) if isinstance(a, np.ndarray) else a for a in arguments]


def outcome(arguments: list[Any]) -> list[bytes]:
    """The bytes of all buffers, which are freed."""
    found = []
    for argument in arguments:
        if isinstance(argument, Buffer):
            found.append(argument.read().tobytes())
            argument.free()
    return found


def whole(module: Module, case: Case, seed: int) -> list[bytes]:
    arguments = on_device(case, seed)
    module.launch(case.name, case.grid, case.block, *arguments, shared=case.shared)
    return outcome(arguments)


def start_and_stop(
    module: Module, case: Case, control: Control, arguments: list[Any], after: int
) -> None:
    """Start the guarded form and raise the flag once `after` blocks more have started."""
    goal = control.started + after
    module.start(
        case.name + variants.GUARDED,
        case.grid,
        case.block,
        *arguments,
        control.buffer,
        shared=case.shared,
    )
    query = soft_device().library.cuStreamQuery
    while control.words[STARTED] < goal and query(None) != 0:
        pass
    control.words[FLAG] = 1
    soft_device().call("cuCtxSynchronize")
    control.words[FLAG] = 0


def preempted(module: Module, case: Case, seed: int, epochs: int = 3) -> tuple[list[bytes], int]:
    """Run through the guard, stopped at random; the bytes, and how often it was stopped.

    Each resume is stopped by the flag, at a moment, or by the range, at a block. Launches before
    leave their marks in the same control block, as they do in the engine.
    """
    rng = np.random.default_rng([seed, 1])
    control = Control(case.blocks)
    result: list[bytes] = []
    stops = 0
    first = int(rng.integers(1, 1 << 31))
    for epoch in range(first, first + epochs):
        arguments = on_device(case, seed)
        control.begin(epoch)
        while control.started < case.blocks:
            before = control.started
            low = int(rng.integers(0, case.blocks))
            by_range = before == 0 or rng.random() < 0.9
            high = min(low + int(rng.integers(0, 9)), case.blocks)
            control.words[LOW], control.words[HIGH] = (low, high) if by_range else (0, case.blocks)
            start_and_stop(module, case, control, arguments, int(rng.integers(0, 6)))
            assert control.started >= before
            stops += 1
        assert control.started == case.blocks, "a block ran twice"
        assert list(control.words[16:]) == [epoch] * case.blocks
        found = outcome(arguments)
        assert not result or found == result, "two preempted runs differ"
        result = found
    control.buffer.free()
    return result, stops - epochs


def sliced(module: Module, case: Case, seed: int) -> list[bytes]:
    """Run as sub-grids of random length, in order and each behind the other."""
    rng = np.random.default_rng([seed, 2])
    arguments = on_device(case, seed)
    shape = (*case.grid, 1, 1)[:3]
    low = 0
    while low < case.blocks:
        high = min(low + int(rng.integers(1, 12)), case.blocks)
        part = b"".join(n.to_bytes(4, "little") for n in (low, *shape))
        module.start(
            case.name + variants.SUBGRID,
            (high - low,),
            case.block,
            *arguments,
            (part, "16s"),
            shared=case.shared,
        )
        low = high
    soft_device().call("cuCtxSynchronize")
    return outcome(arguments)
