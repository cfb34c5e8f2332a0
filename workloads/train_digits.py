"""Train a digit classifier with tinygrad: the best-effort job of the demo.

Run as tally run --class best-effort -- python -m tally.workloads.train_digits --steps 600
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tally.workloads import backend, weights

if TYPE_CHECKING:
    from tinygrad import Tensor

    from tally.workloads.digits import ConvNet, Digits, Mlp

MODEL_WIDTHS = {"mlp": 128, "conv": 64}


@dataclass(frozen=True)
class Outcome:
    """What one training run gave; times exclude the first two steps, which compile."""

    device: str
    model: str
    width: int
    batch: int
    steps: int
    seconds: float
    steps_per_second: float
    samples_per_second: float
    loss: float
    test_accuracy: float


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train_digits", description=__doc__.split("\n")[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=600, help="optimizer steps (default 600)")
    length.add_argument("--seconds", type=float, help="train for this long instead; 0 is for ever")
    parser.add_argument("--model", choices=sorted(MODEL_WIDTHS), default="mlp")
    parser.add_argument("--width", type=int, help="hidden units (default 128, conv 64)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (default 0.001)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between progress lines")
    parser.add_argument("--save", type=Path, help="write the weights here (safetensors)")
    parser.add_argument("--json", type=Path, help="write the outcome here")
    parser.add_argument("--device", help="tinygrad's device: CUDA, CUDA:PTX or CPU (default DEV)")
    return parser.parse_args(argv)


def make_step(model: Mlp | ConvNet, rate: float) -> Callable[[Tensor, Tensor], Tensor]:
    """One optimizer step, captured by tinygrad's JIT so that later calls only launch kernels."""
    from tinygrad import Context, TinyJit, nn

    optimizer = nn.optim.Adam(nn.state.get_parameters(model), lr=rate)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with Context(TRAINING=1):
            optimizer.zero_grad()
            loss = model(images).sparse_categorical_crossentropy(labels)
            loss.backward()
            return loss.realize(*optimizer.schedule_step())

    jitted: Callable[[Tensor, Tensor], Tensor] = TinyJit(step)
    return jitted


class Clock:
    """Decides when training ends and when a progress line is due."""

    COMPILING_STEPS = 2  # TinyJit runs the first call as it is and captures the second

    def __init__(self, options: argparse.Namespace) -> None:
        self.steps_max: int | None = options.steps if options.seconds is None else None
        self.seconds_max: float = options.seconds or float("inf")
        self.every: float = options.every
        self.began = self.told = time.monotonic()
        self.steps = 0

    def tick(self) -> bool:
        """Count a step; true when a progress line is due."""
        self.steps += 1
        now = time.monotonic()
        if self.steps == self.COMPILING_STEPS:
            self.began = now
        if self.steps > self.COMPILING_STEPS and now - self.told < self.every:
            return False
        self.told = now
        return True

    def done(self) -> bool:
        if self.steps_max is not None:
            return self.steps >= self.steps_max
        return self.steps > self.COMPILING_STEPS and self.elapsed >= self.seconds_max

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def per_second(self) -> float:
        counted = self.steps - self.COMPILING_STEPS
        return counted / self.elapsed if counted > 0 else 0.0


def train(model: Mlp | ConvNet, data: Digits, options: argparse.Namespace) -> tuple[Clock, float]:
    """Run the training loop; returns the clock and the last loss."""
    from tinygrad import Tensor

    step = make_step(model, options.rate)
    rng = np.random.default_rng(options.seed)
    clock = Clock(options)
    loss = float("nan")
    while not clock.done():
        picked = rng.integers(0, len(data.train_images), options.batch)
        images = Tensor(data.train_images[picked]).realize()
        labels = Tensor(data.train_labels[picked]).realize()
        result = step(images, labels)
        if clock.tick():
            loss = float(result.item())
            goal = f"/{clock.steps_max}" if clock.steps_max else ""
            rate = f"{clock.per_second:8.1f} steps/s" if clock.per_second else "compiling"
            print(f"step {clock.steps:6d}{goal}  loss {loss:7.4f}  {rate}", flush=True)
    loss = float(result.item())
    return clock, loss


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    device = backend.prepare(options.device)
    from tinygrad import Tensor

    from tally.workloads import digits

    width = options.width or MODEL_WIDTHS[options.model]
    Tensor.manual_seed(options.seed)
    model = digits.MODELS[options.model](width)
    data = digits.load()
    clock, loss = train(model, data, options)
    seconds, per_second = clock.elapsed, clock.per_second
    outcome = Outcome(
        device=device,
        model=options.model,
        width=width,
        batch=options.batch,
        steps=clock.steps,
        seconds=seconds,
        steps_per_second=per_second,
        samples_per_second=per_second * options.batch,
        loss=loss,
        test_accuracy=digits.accuracy(model, data.test_images, data.test_labels),
    )
    if options.save:
        weights.save(model, options.save)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(asdict(outcome), indent=2) + "\n")
    print(
        f"trained {outcome.steps} steps on {device}: test accuracy {outcome.test_accuracy:.2%}, "
        f"{outcome.steps_per_second:.1f} steps/s, {outcome.samples_per_second:.0f} images/s",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
