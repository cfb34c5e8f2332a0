"""Serve the digit classifier under Poisson arrivals: the high-priority service of the demo.

Run as tally run --class high -- python -m tally.workloads.serve_digits --weights FILE

The load is an open loop: requests arrive when a seeded Poisson process says so, whether or not the
service has kept up, and latency counts from the arrival. So a service that falls behind shows it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tally.workloads import backend, weights
from tally.workloads.latency import Summary, summarize

if TYPE_CHECKING:
    from tally.workloads.digits import Digits

# Waking from sleep is late by up to a scheduler tick; the last stretch before an arrival is spun.
SPIN_SECONDS = 0.0005
WARM_CALLS = 20


@dataclass(frozen=True)
class Served:
    """One request: milliseconds since the load began, and whether the answer was right."""

    arrival_ms: float
    start_ms: float
    end_ms: float
    right: bool

    @property
    def latency_ms(self) -> float:
        return self.end_ms - self.arrival_ms

    @property
    def service_ms(self) -> float:
        return self.end_ms - self.start_ms


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve_digits", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, help="from train_digits --save (default: random)")
    parser.add_argument("--model", choices=("mlp", "conv"), default="mlp")
    parser.add_argument("--width", type=int, default=128, help="as the weights were trained")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second (default 50)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long load arrives")
    parser.add_argument("--batch", type=int, default=1, help="images in a request (default 1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every request's times here")
    parser.add_argument("--ready", type=Path, help="create this file when warm, before the load")
    parser.add_argument("--device", help="tinygrad's device: CUDA, CUDA:PTX or CPU (default DEV)")
    return parser.parse_args(argv)


def arrivals(rate: float, seconds: float, seed: int) -> npt.NDArray[np.float64]:
    """Arrival times in seconds of a Poisson process of `rate` a second, seeded."""
    rng = np.random.default_rng(seed)
    expected = rate * seconds
    gaps = rng.exponential(1.0 / rate, int(expected + 10 * expected**0.5 + 20))
    times = np.cumsum(gaps)
    return times[times < seconds]


def wait_until(moment: float) -> None:
    while (left := moment - time.perf_counter()) > 0:
        if left > SPIN_SECONDS:
            time.sleep(left - SPIN_SECONDS)


def serve(
    classify: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]],
    data: Digits,
    times: npt.NDArray[np.float64],
    batch: int,
    seed: int,
) -> list[Served]:
    """Answer one request after another, in order of arrival."""
    rng = np.random.default_rng(seed + 1)
    picks = rng.integers(0, len(data.test_images), (len(times), batch))
    served = []
    began = time.perf_counter()
    told = 0.0
    for arrival, pick in zip(times, picks, strict=True):
        wait_until(began + arrival)
        start = time.perf_counter()
        answer = classify(data.test_images[pick])
        end = time.perf_counter()
        right = bool((answer == data.test_labels[pick]).all())
        if arrival - told >= 0.5:
            told = arrival
            print(f"at {arrival:.1f} s  {(end - began - arrival) * 1e3:.1f} ms", flush=True)
        served.append(Served(arrival * 1e3, (start - began) * 1e3, (end - began) * 1e3, right))
    return served


def make_classifier(
    options: argparse.Namespace,
) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]:
    """The model behind tinygrad's JIT, loaded and warm."""
    from tinygrad import Tensor, TinyJit

    from tally.workloads import digits

    Tensor.manual_seed(options.seed)
    model = digits.MODELS[options.model](options.width)
    if options.weights:
        weights.load(model, options.weights)
    forward = TinyJit(lambda images: model(images).realize())

    def classify(images: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        answer: npt.NDArray[np.int64] = forward(Tensor(images).realize()).numpy().argmax(axis=1)
        return answer

    # The JIT captures in the second call; the rest settles allocators, caches and the scheduler's
    # plans, so that the first requests are like the others.
    for _ in range(WARM_CALLS):
        classify(np.zeros((options.batch, digits.PIXELS), dtype=np.float32))
    return classify


def report(options: argparse.Namespace, device: str, served: list[Served]) -> Summary:
    latency = summarize([s.latency_ms for s in served])
    if options.json:
        service = summarize([s.service_ms for s in served])
        result = {
            "device": device,
            "rate_per_second": options.rate,
            "seconds": options.seconds,
            "batch": options.batch,
            "seed": options.seed,
            "requests": len(served),
            "accuracy": sum(s.right for s in served) / max(len(served), 1),
            "throughput_per_second": len(served) / max(served[-1].end_ms / 1e3, 1e-9)
            if served
            else 0.0,
            "latency": latency.as_dict(),
            "service": service.as_dict(),
            "arrival_ms": [s.arrival_ms for s in served],
            "latency_ms": [s.latency_ms for s in served],
            "service_ms": [s.service_ms for s in served],
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result) + "\n")
    return latency


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    device = backend.prepare(options.device)
    from tally.workloads import digits

    data = digits.load()
    classify = make_classifier(options)
    if options.ready:
        options.ready.touch()
    times = arrivals(options.rate, options.seconds, options.seed)
    print(f"warm on {device}; {len(times)} requests in {options.seconds:g} s", flush=True)
    served = serve(classify, data, times, options.batch, options.seed)
    latency = report(options, device, served)
    right = sum(s.right for s in served) / max(len(served), 1)
    print(
        f"served {latency.count}: p50 {latency.p50:.2f} ms, p95 {latency.p95:.2f} ms, "
        f"p99 {latency.p99:.2f} ms, {right:.1%} right",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
