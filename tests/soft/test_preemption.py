"""Preempted and sliced kernels give the bytes of whole ones; broken ways of doing it do not.

Every test draws its preemptions from a seed that is part of its name: `pytest -k 'guarded and
matmul and 2'` replays one. TALLY_PREEMPTION_SEEDS=N tries N seeds a kernel.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import pytest
from support import toolchain
from support.daemon import Daemon, script
from support.preempting import (
    FLAG,
    HIGH,
    LOW,
    SEEDS,
    Case,
    Control,
    Parted,
    floats,
    on_device,
    outcome,
    preempted,
    sliced,
    whole,
    words,
    zeros,
)
from support.soft_device import Module, soft_device

from tally.scheduler.ptx import guard, variants
from tally.scheduler.ptx.classify import Treatment
from tally.scheduler.ptx.module import Module as Ptx

pytestmark = [pytest.mark.beside, pytest.mark.timeout(120)]

SOURCE = Path(__file__).parent / "programs" / "preempt_kernels.cu"
# Polls until a block of chained_scan gives up: never, but where it has to.
PATIENT, IMPATIENT = (1 << 32) - 1, 1 << 10

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
    lambda r: [words(r, 1536), zeros(1536), zeros(24), zeros(24), zeros(1), (PATIENT, "I")],
)


@cache
def source() -> str:
    return toolchain.compile_ptx(SOURCE, ("-std=c++17",)).read_text()


@pytest.fixture(scope="module")
def ptx() -> str:
    if toolchain.toolkit() is None:
        pytest.skip("no nvcc: pip install tally-gpu[test]")
    return source()


@cache
def rewritten() -> variants.Variants:
    return variants.run(source())


@cache
def loaded(place: str = "within") -> Module:
    """All kernels in all their forms, in the two ways in which the engine loads them."""
    return Parted(source()) if place == "beside" else soft_device().load(rewritten().text)


PLACES = ("beside", "within")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("place", PLACES)
def test_guarded(ptx: str, place: str, name: str, seed: int) -> None:
    case = CASES[name]
    found, stops = preempted(loaded(place), case, seed)
    assert stops >= 3, "every launch is stopped at least once"
    assert found == whole(loaded(place), case, seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*CASES, SCAN.name])
@pytest.mark.parametrize("place", PLACES)
def test_sliced(ptx: str, place: str, name: str, seed: int) -> None:
    case = CASES.get(name, SCAN)
    assert sliced(loaded(place), case, seed) == whole(loaded(place), case, seed)


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
    for low, patience in ((0, PATIENT), (1, IMPATIENT)):
        control, arguments = Control(case.blocks), on_device(case, 0)
        control.begin(1)
        control.words[LOW] = low
        arguments[-1] = (patience, "I")
        module.launch(case.name, case.grid, case.block, *arguments, control.buffer)
        assert control.started == case.blocks - low, "block 0 has run, or not"
        assert bool(arguments[4].read()[0]) is (low > 0)
        outcome(arguments)


@pytest.mark.parametrize("shared", [True, False])
def test_forms_that_do_not_share_their_kernels_variables_lose_count(ptx: str, shared: bool) -> None:
    """Blocks that end in one module's count are not there for the last block in another's."""
    case, originals = CASES["last_block_sum"], soft_device().load(rewritten().text)
    control, arguments = Control(case.blocks), on_device(case, 0)
    control.begin(1)
    for module, high in (
        (originals, 5),
        (Parted(source(), originals if shared else None), case.blocks),
    ):
        control.words[HIGH] = high
        name = case.name + variants.GUARDED
        module.launch(name, case.grid, case.block, *arguments, control.buffer)
    assert control.started == case.blocks
    assert (outcome(arguments) == whole(loaded(), case, 0)) is shared


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
