"""A service's tail latency beside a trainer with long kernels, under each policy, in one run.

Every policy has a tallyd of its own; they take turns, round by round, until the medians over the
rounds stand still. The service takes requests in an open loop at half of what it could serve, so
latency counts from the arrival, and once more without the queue of requests; the trainer launches
kernels of some 60 ms without a pause. A service that falls behind is stopped after twice the time.
System throughput is what both got done, each over what it gets done alone: so it also counts what a
service that cannot keep up leaves to the trainer.

softgpu gets one CPU less than the machine has: programs, tallyd and executor need one too, and a
trainer's host code that takes turns with "multiprocessors" would be measured instead of the policy.

As python -m tally.workloads.bench.isolation calibrate|serve|train ... it is one of the programs.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from tally.errors import TallyError
from tally.workloads.local import LocalDaemon

from .result import Figure, Spread, compare

POLICIES = ("fifo", "timeslice", "kernel", "tally")
LOAD = 0.5
REQUEST_KERNELS = 3
REQUEST_MS = 8.0
TRAINER_MS = 60.0
BLOCKS, THREADS = 1024, 64
SERVICE_BLOCKS = 64
CALIBRATION_TURNS = 200_000
P99_TARGET = 1.15
THROUGHPUT_TARGET = 0.85
TIMES = {"p50": "p50", "p99": "p99", "service_p99": "p99 without queueing"}
STABLE = 0.1  # half the distance between the quartiles, over the median
ROUNDS_MIN = 3
PATIENCE = 2.0  # times the load's length

SOURCE = """
extern "C" __global__ void churn(unsigned *data, int turns)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned x = data[i];
    for (int turn = 0; turn < turns; turn++)
        x = (x ^ x >> 13) * 1664525u + 1013904223u;
    data[i] = x;
}
"""


# ---- the programs that run under `tally run` ---------------------------------------------------


class Churn:
    """The kernel, its data, and a way to run so much of it."""

    def __init__(self, blocks: int) -> None:
        from cuda.bindings import driver, nvrtc

        self.driver, self.blocks = driver, blocks
        self.ok(driver.cuInit(0))
        context = self.ok(driver.cuDevicePrimaryCtxRetain(self.ok(driver.cuDeviceGet(0))))
        self.ok(driver.cuCtxSetCurrent(context))
        program = self.ok(nvrtc.nvrtcCreateProgram(SOURCE.encode(), b"churn.cu", 0, [], []))
        self.ok(nvrtc.nvrtcCompileProgram(program, 1, [b"--gpu-architecture=compute_80"]))
        ptx = b" " * self.ok(nvrtc.nvrtcGetPTXSize(program))
        self.ok(nvrtc.nvrtcGetPTX(program, ptx))
        module = self.ok(driver.cuModuleLoadData(ptx))
        self.kernel = self.ok(driver.cuModuleGetFunction(module, b"churn"))
        self.bytes = blocks * THREADS * 4
        self.host = self.ok(driver.cuMemHostAlloc(self.bytes, 0))
        self.memory = self.ok(driver.cuMemAlloc(self.bytes))
        self.ok(driver.cuMemsetD8(self.memory, 0, self.bytes))

    @staticmethod
    def ok(result: tuple[Any, ...]) -> Any:
        if int(result[0]) != 0:
            raise TallyError(f"CUDA error {result[0]}")
        return result[1] if len(result) > 1 else None

    def put(self) -> None:
        self.ok(self.driver.cuMemcpyHtoDAsync(self.memory, self.host, self.bytes, 0))

    def get(self) -> None:
        self.ok(self.driver.cuMemcpyDtoHAsync(self.host, self.memory, self.bytes, 0))

    def launch(self, turns: int) -> None:
        arguments = ((self.memory, turns), (None, ctypes.c_int))
        shape = (self.blocks, 1, 1, THREADS, 1, 1, 0, 0)
        self.ok(self.driver.cuLaunchKernel(self.kernel, *shape, arguments, 0))

    def finish(self) -> None:
        self.ok(self.driver.cuCtxSynchronize())


def median_ms(action: Callable[[], None], times: int) -> float:
    """Of one call, after one that does not count."""
    action()
    samples = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        samples.append((time.perf_counter() - began) * 1e3)
    return float(np.median(samples))


def request(churn: Churn, turns: int) -> None:
    """As servers do it: everything is queued, with copies from and to pinned memory; one wait."""
    churn.put()
    for _ in range(REQUEST_KERNELS):
        churn.launch(turns)
    churn.get()
    churn.finish()


def calibrate() -> dict[str, float]:
    """Turns that make a request and a trainer's kernel as long as wanted; what they take then."""
    small, large = Churn(SERVICE_BLOCKS), Churn(BLOCKS)

    def once(churn: Churn, turns: int) -> None:
        churn.launch(turns)
        churn.finish()

    few = CALIBRATION_TURNS // SERVICE_BLOCKS
    per_turn = median_ms(lambda: once(small, few), 9) / few
    service = max(1, int(REQUEST_MS / REQUEST_KERNELS / per_turn))
    few = CALIBRATION_TURNS // BLOCKS
    trainer = max(1, int(TRAINER_MS / (median_ms(lambda: once(large, few), 9) / few)))
    return {
        "service_turns": service,
        "trainer_turns": trainer,
        "request_ms": median_ms(lambda: request(small, service), 30),
        "trainer_ms": median_ms(lambda: once(large, trainer), 5),
    }


def serve(turns: int, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Times in ms from arrival to answer and from the request's turn to answer, when the load began
    and ended, and the share of requests that found the service too far behind."""
    from tally.workloads.serve_digits import arrivals, wait_until

    churn = Churn(SERVICE_BLOCKS)
    for _ in range(5):
        request(churn, turns)
    latencies, services = [], []
    window = [time.monotonic()]
    began = time.perf_counter()
    due = arrivals(rate, seconds, seed)
    for arrival in due:
        wait_until(began + arrival)
        turn = time.perf_counter()
        if turn - began > PATIENCE * seconds:
            break
        request(churn, turns)
        now = time.perf_counter()
        latencies.append((now - began - arrival) * 1e3)
        services.append((now - turn) * 1e3)
    window.append(time.monotonic())
    unserved = 1 - len(latencies) / len(due)
    return {
        "latency_ms": latencies,
        "service_ms": services,
        "window_s": window,
        "unserved": unserved,
    }


def train(turns: int) -> None:
    """Until its output has no reader: a line with the time after every kernel."""
    churn = Churn(BLOCKS)
    while True:
        churn.launch(turns)
        churn.finish()
        print(f"{time.monotonic():.6f}", flush=True)


# ---- the measurement ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """The service's times in ms, and the trainer's kernels a second meanwhile."""

    p50: float
    p99: float
    service_p99: float  # without the queue of requests
    unserved: float  # share of requests
    requests_per_second: float
    kernels_per_second: float

    def system_throughput(self, alone: Run, trainer_ms: float) -> float:
        requests = self.requests_per_second / alone.requests_per_second
        return requests + self.kernels_per_second * trainer_ms / 1e3


class Bench:
    def __init__(self, daemons: dict[str, LocalDaemon], seconds: float) -> None:
        self.daemons, self.seconds = daemons, seconds
        self.sizes = self.program("tally", "high", "calibrate")
        self.rate = LOAD * 1e3 / self.sizes["request_ms"]

    def command(self, policy: str, job_class: str, *argv: str) -> list[str]:
        base = [sys.executable, "-P", "-m", "tally.workloads.bench.isolation", *argv]
        return self.daemons[policy].command(*base, job_class=job_class, name=f"bench-{argv[0]}")

    def program(self, policy: str, job_class: str, *argv: str) -> dict[str, Any]:
        done = subprocess.run(
            self.command(policy, job_class, *argv),
            env=self.daemons[policy].env,
            capture_output=True,
            text=True,
            timeout=120 + 20 * self.seconds,
            check=False,
        )
        if done.returncode != 0:
            raise TallyError(f"isolation: {argv[0]} failed:\n{done.stderr[-2000:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def serve(self, policy: str, seed: int) -> dict[str, Any]:
        turns = str(self.sizes["service_turns"])
        numbers = (str(self.rate), str(self.seconds), str(seed))
        return self.program(policy, "high", "serve", turns, *numbers)

    def alone(self, seed: int) -> Run:
        return result(self.serve("tally", seed), [])

    def beside(self, policy: str, seed: int) -> Run:
        """The trainer is well under way before the service starts."""
        trainer = subprocess.Popen(
            self.command(policy, "best-effort", "train", str(self.sizes["trainer_turns"])),
            env=self.daemons[policy].env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert trainer.stdout is not None
        try:
            if not all(trainer.stdout.readline() for _ in range(3)):
                raise TallyError("isolation: the trainer did not start")
            served = self.serve(policy, seed)
        finally:
            trainer.terminate()
            rest, _ = trainer.communicate()
        return result(served, [float(line) for line in rest.splitlines()])


def result(served: dict[str, Any], ends_s: list[float]) -> Run:
    p50, p99 = (float(v) for v in np.percentile(served["latency_ms"], (50, 99)))
    service_p99 = float(np.percentile(served["service_ms"], 99))
    first, last = served["window_s"]
    requests = len(served["latency_ms"]) / (last - first)
    speed = kernels_per_second(ends_s, first, last)
    return Run(p50, p99, service_p99, float(served["unserved"]), requests, speed)


def kernels_per_second(ends_s: list[float], first: float, last: float) -> float:
    """Within the window. A kernel that reaches over an edge counts for its part inside."""
    if len(ends_s) < 2:
        return 0.0
    done = np.interp([first, last], ends_s, np.arange(len(ends_s)))
    return float(done[1] - done[0]) / (last - first)


def stable(runs: dict[str, list[Run]]) -> bool:
    """Whether the medians of the figures that have targets would not move much any more."""
    wanted = [[run.p99 for run in runs[name]] for name in ("alone", "tally")]
    wanted += [[run.kernels_per_second for run in runs[name]] for name in ("kernel", "tally")]
    spreads = [Spread.of(samples) for samples in wanted]
    return all(s.high - s.low <= 2 * STABLE * s.median for s in spreads)


def measure(device: str, seconds: float, rounds_max: int) -> list[Figure]:
    """All policies in turn, at least ROUNDS_MIN rounds (if so many are allowed)."""
    workers = max(1, (os.cpu_count() or 1) - 1)
    with ExitStack() as stack:
        daemons = {
            policy: stack.enter_context(
                LocalDaemon("--policy", policy, "--soft-workers", str(workers), device=device)
            )
            for policy in POLICIES
        }
        bench = Bench(daemons, seconds)
        runs: dict[str, list[Run]] = {name: [] for name in ("alone", *POLICIES)}
        for number in range(rounds_max):
            runs["alone"].append(bench.alone(number))
            for policy in POLICIES:
                runs[policy].append(bench.beside(policy, number))
            if number + 1 >= ROUNDS_MIN and stable(runs):
                break
    return figures(runs, bench.sizes)


def figures(runs: dict[str, list[Run]], sizes: dict[str, float]) -> list[Figure]:
    note = (
        f"{len(runs['alone'])} rounds, load {LOAD:g}, requests of {sizes['request_ms']:.1f} ms, "
        f"kernels of {sizes['trainer_ms']:.0f} ms"
    )
    found = []
    for policy in POLICIES:
        target = P99_TARGET if policy == "tally" else None
        unserved = float(np.median([run.unserved for run in runs[policy]]))
        late = f"cannot keep up: {unserved:.0%} of the requests not served" if unserved else ""
        for name, title in TIMES.items():
            ours, alone = ([getattr(run, name) for run in runs[w]] for w in (policy, "alone"))
            bound = target if name == "p99" else None
            title = f"service's {title}: {policy} / alone"
            found.append(compare(title, "ms", ours, alone, bound, note=late))
    kernel = [run.kernels_per_second for run in runs["kernel"]]
    for policy in POLICIES:
        ours = [run.kernels_per_second for run in runs[policy]]
        target = THROUGHPUT_TARGET if policy == "tally" else None
        title = f"trainer's speed: {policy} / kernel"
        found.append(compare(title, "1/s", ours, kernel, target, at_most=False, note=note))
    totals = {
        policy: [
            run.system_throughput(alone, sizes["trainer_ms"])
            for run, alone in zip(runs[policy], runs["alone"], strict=True)
        ]
        for policy in POLICIES
    }
    for policy in POLICIES:
        title = f"system throughput: {policy} / kernel"
        found.append(compare(title, "", totals[policy], totals["kernel"], None, at_most=False))
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="isolation")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("calibrate")
    serving = commands.add_parser("serve")
    for name, kind in (("turns", int), ("rate", float), ("seconds", float), ("seed", int)):
        serving.add_argument(name, type=kind)
    commands.add_parser("train").add_argument("turns", type=int)
    options = parser.parse_args(argv)
    if options.command == "calibrate":
        print(json.dumps(calibrate()))
    elif options.command == "serve":
        print(json.dumps(serve(options.turns, options.rate, options.seconds, options.seed)))
    else:
        train(options.turns)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
