"""What sharing a device has to be paid for in, measured on its driver without Tally between:
guarded kernels against whole ones, a block that is skipped, the time from the flag to the end of a
guarded kernel, the time to news of an end, and what stream priorities and a second context change.

The simulator's device (scheduler/sim/mixes.toml) is made of these figures. On softgpu they say what
softgpu does, and nothing about a GPU.

As python -m tally.workloads.bench.device DEVICE REPETITIONS it is the program that measures: one
JSON object of samples in nanoseconds.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tally.errors import TallyError

from .direct import BACKGROUND_WAVES, SKIPPED, Device, now_ns
from .result import Figure, Spread, compare

BLOCK_US = (5, 20, 100)
WAVES = 24  # of the kernels that are timed or stopped
Samples = dict[str, list[float]]


# ---- the measurements: each adds a sample to some columns ----------------------------------------


def guard_costs(device: Device, turns: dict[int, int], samples: Samples) -> None:
    blocks = WAVES * device.resident
    for block_us, count in turns.items():
        for form in ("whole", "guarded"):
            if form == "guarded":
                device.arm(blocks)
            guarded = form == "guarded"

            def act(count: int = count, guarded: bool = guarded) -> None:
                device.launch(blocks, count, device.low, guarded=guarded)

            samples[f"{form}_{block_us}"].append(device.time(act, device.low))


def skip_cost(device: Device, samples: Samples) -> None:
    spent = []
    for blocks in (device.resident, device.resident + SKIPPED):
        device.arm(blocks, flag=1)

        def act(blocks: int = blocks) -> None:
            device.launch(blocks, 1, device.low, guarded=True)

        spent.append(device.time(act, device.low))
    samples["skipped"].append((spent[1] - spent[0]) / SKIPPED)


def stop_times(device: Device, turns: dict[int, int], samples: Samples) -> None:
    blocks = WAVES * device.resident
    for block_us, count in turns.items():
        device.arm(blocks)
        device.launch(blocks, count, device.low, guarded=True)
        spin(WAVES / 3 * block_us * 1e3)
        began = now_ns()
        device.raise_flag()
        device.poll(device.low)
        took = now_ns() - began
        device.wait(device.urgent)
        if device.ran() < blocks:  # else there was nothing left to stop
            samples[f"stop_{block_us}"].append(took)


def completion_times(device: Device, samples: Samples) -> None:
    for name, wait in (("polled", device.poll), ("waited", device.wait)):
        began = now_ns()
        device.launch(1, 0, device.other)
        wait(device.other)
        samples[f"empty_{name}"].append(now_ns() - began)


def spin(ns: float) -> None:
    until = now_ns() + ns
    while now_ns() < until:
        continue


@contextmanager
def background(device: Device, turns: int) -> Iterator[None]:
    """A kernel of many long blocks is under way meanwhile."""
    device.launch(BACKGROUND_WAVES * device.resident, turns, device.low)
    spin(BACKGROUND_WAVES / 6 * BLOCK_US[-1] * 1e3)
    yield
    device.wait(device.low)


def priorities(device: Device, turns: dict[int, int], samples: Samples) -> None:
    blocks, count = max(1, device.resident // 4), turns[BLOCK_US[0]]
    for name, stream in (("urgent", device.urgent), ("equal", device.other)):

        def act(stream: ctypes.c_void_p = stream) -> None:
            device.launch(blocks, count, stream)

        samples[f"alone_{name}"].append(device.time(act, stream))
        with background(device, turns[BLOCK_US[-1]]):
            samples[f"beside_{name}"].append(device.time(act, stream))


def second_context(device: Device, turns: dict[int, int], samples: Samples, times: int) -> None:
    """As `priorities`, from a context of its own; no samples where the driver gives none."""
    context = ctypes.c_void_p()
    create = getattr(device.driver, "cuCtxCreate_v2", None)
    if create is None or create(ctypes.byref(context), 0, device.device) != 0:
        return
    kernel, _ = device.kernels()
    data = device.memory(4 << 20)
    stream = device.stream(0)
    blocks, count = max(1, device.resident // 4), turns[BLOCK_US[0]]
    for _ in range(times):
        device.call("cuCtxSetCurrent", device.context)
        with background(device, turns[BLOCK_US[-1]]):
            device.call("cuCtxSetCurrent", context)
            samples["beside_context"].append(
                device.time(
                    lambda: device.launch(blocks, count, stream, kernel=kernel, data=data), stream
                )
            )
            device.call("cuCtxSetCurrent", device.context)
    device.call("cuCtxDestroy_v2", context)


class _Columns(Samples):
    def __missing__(self, name: str) -> list[float]:
        self[name] = []
        return self[name]


def sample(kind: str, repetitions: int) -> Samples:
    """All measurements in turn, so often; after one round that does not count."""
    device = Device(kind)
    turns = {block_us: device.turns_of(block_us) for block_us in BLOCK_US}
    samples = _Columns()
    for repetition in range(repetitions + 1):
        if repetition == 1:
            samples.clear()
        guard_costs(device, turns, samples)
        skip_cost(device, samples)
        stop_times(device, turns, samples)
        completion_times(device, samples)
        priorities(device, turns, samples)
    second_context(device, turns, samples, repetitions)
    return samples


# ---- the figures -------------------------------------------------------------------------------


def measure(kind: str, repetitions: int) -> list[Figure]:
    """In a process of its own, as it takes the driver into it."""
    done = subprocess.run(
        [sys.executable, "-m", "tally.workloads.bench.device", kind, str(repetitions)],
        capture_output=True,
        text=True,
        timeout=60 + 20 * repetitions,
        check=False,
    )
    if done.returncode != 0:
        raise TallyError(f"device: {done.stderr.strip().splitlines()[-1:] or 'failed'}")
    return figures(json.loads(done.stdout.splitlines()[-1]))


def figures(samples: Samples) -> list[Figure]:
    found = [
        compare(
            f"kernel of {WAVES} waves of {block_us} µs: guarded / whole",
            "ns",
            samples[f"guarded_{block_us}"],
            samples[f"whole_{block_us}"],
            None,
        )
        for block_us in BLOCK_US
    ]
    found.append(Figure("a skipped block, of many", "ns", Spread.of(samples["skipped"])))
    found += [
        Figure(
            f"from the flag to the end, blocks of {block_us} µs",
            "ns",
            Spread.of(samples[f"stop_{block_us}"]),
            note="with the blocks that are skipped",
        )
        for block_us in BLOCK_US
        if samples.get(f"stop_{block_us}")
    ]
    found.append(
        Figure("empty kernel and news of its end, polled", "ns", Spread.of(samples["empty_polled"]))
    )
    found.append(
        Figure("the same, waited for", "ns", Spread.of(samples["empty_waited"])),
    )
    beside = {
        "urgent": "beside long blocks, in a stream of greater priority / alone",
        "equal": "the same in a stream of equal priority",
        "context": "the same in a context of its own",
    }
    found += [
        compare(title, "ns", samples[f"beside_{name}"], samples["alone_urgent"], None)
        for name, title in beside.items()
        if samples.get(f"beside_{name}")
    ]
    return found


if __name__ == "__main__":
    try:
        print(json.dumps(sample(sys.argv[1], int(sys.argv[2]))))
    except TallyError as failure:
        sys.exit(str(failure))
