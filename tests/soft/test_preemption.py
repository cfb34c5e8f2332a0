"""Preempted and sliced kernels give the bytes of whole ones; broken ways of doing it do not.

Every test draws its preemptions from a seed that is part of its name: `pytest -k 'guarded and
matmul and 2'` replays one. TALLY_PREEMPTION_SEEDS=N tries N seeds a kernel.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from support import toolchain
from support.daemon import Daemon, script
from support.soft_device import Array, Buffer, Module, soft_device

from tally.scheduler.ptx import guard, variants
from tally.scheduler.ptx.classify import Treatment
from tally.scheduler.ptx.module import Module as Ptx

pytestmark = pytest.mark.timeout(120)

SOURCE = Path(__file__).parent / "programs" / "preempt_kernels.cu"
SEEDS = range(int(os.environ.get("TALLY_PREEMPTION_SEEDS", "3")))
FLAG, EPOCH, LOW, HIGH, STARTED = range(5)  # words of the control block
PATIENCE = 1 << 26  # polls until a block of chained_scan gives up


@dataclass(frozen=True)
class Case:
    """A kernel's launch: arrays go in as buffers, outputs start as given."""

    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    arguments: Callable[[np.random.Generator], list[Any]]
    blocks: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", int(np.prod(self.grid)))


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def words(rng: np.random.Generator, count: int) -> Array:
    return rng.integers(0, 1 << 32, count, dtype=np.uint32)


def zeros(count: int, kind: Any = np.uint32) -> Array:
    return np.zeros(count, kind)


CASES = {
    case.name: case
    for case in [
        Case(
            "matmul",
            (12, 12),
            (16, 16),
            lambda r: [floats(r, 192, 192), floats(r, 192, 192), floats(r, 192, 192), 192],
        ),
        Case(
            "shuffle_sum",
            (48,),
            (256,),
            lambda r: [floats(r, 150_001), floats(r, 48), 150_001],
        ),
        Case(
            "last_block_sum",
            (7, 9),
            (128,),
            lambda r: [floats(r, 150_001), floats(r, 1), 150_001],
        ),
        Case("histogram", (50,), (128,), lambda r: [words(r, 150_001), zeros(256), 150_001]),
        Case("places", (5, 4, 3), (4, 3, 5), lambda r: [zeros(3600), zeros(3600)]),
        Case(
            "sort_scan",
            (40,),
            (64,),
            lambda r: [words(r, 10_240), words(r, 10_240), words(r, 10_240)],
        ),
    ]
}
SCAN = Case(
    "chained_scan",
    (24,),
    (64,),
    lambda r: [words(r, 1536), zeros(1536), zeros(24), zeros(24), zeros(1), (PATIENCE, "I")],
)


@cache
def source() -> str:
    return toolchain.compile_ptx(SOURCE, ("-std=c++17",)).read_text()


@pytest.fixture(scope="module")
def ptx() -> str:
    if toolchain.toolkit() is None:
        pytest.skip("no nvcc: pip install tally-gpu[test], and a C++ compiler")
    return source()


@cache
def rewritten() -> variants.Variants:
    return variants.run(source())


@cache
def loaded() -> Module:
    """All kernels in all their forms: one module, as the engine loads it."""
    return soft_device().load(rewritten().text)


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


def whole(case: Case, seed: int) -> list[bytes]:
    arguments = on_device(case, seed)
    loaded().launch(case.name, case.grid, case.block, *arguments)
    return outcome(arguments)


def start_and_stop(case: Case, control: Control, arguments: list[Any], after: int) -> None:
    """Start the guarded form and raise the flag once `after` blocks more have started."""
    goal = control.started + after
    loaded().start(case.name + variants.GUARDED, case.grid, case.block, *arguments, control.buffer)
    query = soft_device().library.cuStreamQuery
    while control.words[STARTED] < goal and query(None) != 0:
        pass
    control.words[FLAG] = 1
    soft_device().call("cuCtxSynchronize")
    control.words[FLAG] = 0


def preempted(case: Case, seed: int, epochs: int = 3) -> tuple[list[bytes], int]:
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
            start_and_stop(case, control, arguments, int(rng.integers(0, 6)))
            assert control.started >= before
            stops += 1
        assert control.started == case.blocks, "a block ran twice"
        assert list(control.words[16:]) == [epoch] * case.blocks
        found = outcome(arguments)
        assert not result or found == result, "two preempted runs differ"
        result = found
    control.buffer.free()
    return result, stops - epochs


def sliced(case: Case, seed: int) -> list[bytes]:
    """Run as sub-grids of random length, in order and each behind the other."""
    rng = np.random.default_rng([seed, 2])
    arguments = on_device(case, seed)
    shape = (*case.grid, 1, 1)[:3]
    low = 0
    while low < case.blocks:
        high = min(low + int(rng.integers(1, 12)), case.blocks)
        part = b"".join(n.to_bytes(4, "little") for n in (low, *shape))
        loaded().start(
            case.name + variants.SUBGRID, (high - low,), case.block, *arguments, (part, "16s")
        )
        low = high
    soft_device().call("cuCtxSynchronize")
    return outcome(arguments)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CASES)
def test_guarded(ptx: str, name: str, seed: int) -> None:
    case = CASES[name]
    found, stops = preempted(case, seed)
    assert stops >= 3, "every launch is stopped at least once"
    assert found == whole(case, seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*CASES, SCAN.name])
def test_sliced(ptx: str, name: str, seed: int) -> None:
    case = CASES.get(name, SCAN)
    assert sliced(case, seed) == whole(case, seed)


def test_a_raised_flag_lets_no_block_run(ptx: str) -> None:
    case = CASES["places"]
    control, arguments = Control(case.blocks), on_device(case, 0)
    control.begin(1)
    control.words[FLAG] = 1
    loaded().launch(case.name + variants.GUARDED, case.grid, case.block, *arguments, control.buffer)
    assert control.started == 0
    assert not any(b"".join(outcome(arguments)))


# ---- what must go wrong, or the tests above prove nothing ------------------------------------


def test_look_back_is_recognised(ptx: str) -> None:
    verdicts = rewritten().verdicts
    assert verdicts[SCAN.name].treatment is Treatment.SLICE
    assert all(verdicts[name].treatment is Treatment.PREEMPT for name in CASES)
    assert SCAN.name + variants.GUARDED not in rewritten().text


def test_look_back_that_is_preempted_anyway_starves(ptx: str) -> None:
    """Block 0 is told to leave, block 1 runs and waits for it."""
    case = SCAN
    forced = guard.run(Ptx.parse(source()), {case.name}).module.text()
    module = soft_device().load(forced)
    for low, starves in ((0, False), (1, True)):
        control, arguments = Control(case.blocks), on_device(case, 0)
        control.begin(1)
        control.words[LOW] = low
        module.launch(case.name, case.grid, case.block, *arguments, control.buffer)
        assert bool(arguments[4].read()[0]) is starves
        outcome(arguments)


@pytest.mark.parametrize("barrier", [True, False])
def test_without_its_barrier_a_guard_runs_blocks_in_part(ptx: str, barrier: bool) -> None:
    """A flag that goes up inside a block must not reach threads of that block."""
    blocks, threads = 4, 256
    rewritten = guard.run(Ptx.parse(source()), {"raise_inside"}, barrier=barrier)
    module = soft_device().load(rewritten.module.text())
    control = Control(blocks)
    control.begin(1)
    runs = soft_device().buffer(zeros(blocks * threads))
    while control.started < blocks:
        before = control.started
        control.words[FLAG] = 0
        module.launch("raise_inside", (blocks,), (threads,), control.buffer, runs, control.buffer)
        assert control.started > before
    counts = runs.read().reshape(blocks, threads)
    assert control.started == blocks
    assert bool((counts == 1).all()) is barrier, counts


# ---- end to end ------------------------------------------------------------------------------


@contextmanager
def high_pulses(daemon: Daemon, builder: toolchain.Builder) -> Iterator[list[int]]:
    """A high program that computes some milliseconds after its last time, over and over."""
    program = subprocess.Popen(
        daemon.command(builder.get("pulse"), job_class="high", name="pulse"),
        env=daemon.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdin is not None and program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    over = threading.Event()
    answers: list[int] = []

    def drive(to: IO[str], back: IO[str]) -> None:
        while not over.wait(0.004):
            to.write("3\n")
            to.flush()
            assert back.readline() == "ok\n"
            answers.append(1)

    driver = threading.Thread(target=drive, args=(program.stdin, program.stdout))
    driver.start()
    try:
        yield answers
    finally:
        over.set()
        driver.join()
        program.stdin.close()
        assert program.wait(20) == 0
        program.stdout.close()


def test_program_that_is_preempted_gives_the_same_bytes(
    daemon: Daemon, builder: toolchain.Builder
) -> None:
    """Own kernels and CUB's reduction, look-back scan and radix sort, beside a high program."""
    program = builder.get("preempted")
    arguments = (6, 200_000)  # rounds, and turns that make a launch some tens of ms long
    alone = daemon.ok(program, *arguments, job_class="best-effort", name="alone")
    with high_pulses(daemon, builder) as answers:
        beside = daemon.ok(program, *arguments, job_class="best-effort", name="preempted")
    assert len(answers) > 5
    assert beside == alone
    shown = subprocess.run(
        [script("tally"), "stats", "--json"],
        env=daemon.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    jobs = {job["name"]: job["stats"]["counters"] for job in json.loads(shown.stdout)["jobs"]}
    assert jobs["alone"]["preemptions"] == 0
    # Stopped, or in slices: whichever the measurements of these kernels make cheaper.
    divided = jobs["preempted"]["starts"] - jobs["preempted"]["launches"]
    assert jobs["preempted"]["preemptions"] > 0 or divided > 0
