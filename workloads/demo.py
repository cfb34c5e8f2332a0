"""`make demo`: one device, a latency-critical service and a trainer, alone and together.

Starts a tallyd of its own, trains a digit classifier, serves it under Poisson arrivals, first alone
and then beside a trainer that takes all it can get: without scheduling (policy fifo, in a second
tallyd) and with Tally's. Ends with a table and a plot.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tally import render
from tally.errors import TallyError
from tally.workloads.local import LocalDaemon

WARM_SECONDS_MAX = 90.0
TRAINER_BATCH = 1024  # long kernels, as trainers have them; the service answers one image at a time


@dataclass(frozen=True)
class Scenario:
    """The service's measurements, and what the trainer did meanwhile."""

    title: str
    service: dict[str, Any]
    trainer_steps_per_second: float | None


@dataclass(frozen=True)
class Plan:
    """How long everything takes."""

    steps: int
    seconds: float
    rate: float


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto", help="tallyd's device: auto, cuda, soft")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for results")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second (default 20)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of load in each scenario")
    parser.add_argument("--quick", action="store_true", help="a few seconds of everything")
    return parser.parse_args(argv)


class Demo:
    """Runs the programs of the demo as a user would: each is one `tally run`."""

    def __init__(self, daemon: LocalDaemon, plan: Plan, out: Path, progress: Progress) -> None:
        self.daemon, self.plan, self.out, self.progress = daemon, plan, out, progress
        self.weights = out / "digits.safetensors"

    def start(self, module: str, *flags: str, job_class: str, name: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-P", "-u", "-m", f"tally.workloads.{module}", *flags]
        return subprocess.Popen(
            self.daemon.command(*argv, job_class=job_class, name=name),
            env=self.daemon.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def follow(self, process: subprocess.Popen[str], see: Callable[[str], None]) -> None:
        """Hand on every line until the program has ended. TallyError if it failed."""
        assert process.stdout is not None
        tail: list[str] = []
        for line in process.stdout:
            tail = [*tail[-20:], line]
            see(line.rstrip())
        if (status := process.wait()) != 0:
            raise TallyError(f"a program of the demo ended with {status}:\n{''.join(tail)}")

    def train(self) -> dict[str, Any]:
        """Train the classifier that is served; the outcome is also the trainer's speed alone."""
        task = self.progress.add_task(
            "train the classifier", total=self.plan.steps, detail="starting"
        )
        result = self.out / "train.json"
        process = self.start(
            "train_digits",
            *("--steps", str(self.plan.steps), "--every", "0.3", "--batch", str(TRAINER_BATCH)),
            *("--save", str(self.weights), "--json", str(result)),
            job_class="best-effort",
            name="train",
        )

        def see(line: str) -> None:
            if line.startswith("step"):
                done = int(line.split()[1].split("/")[0])
                self.progress.update(task, completed=done, detail=line.split("  ", 1)[-1])

        self.follow(process, see)
        outcome: dict[str, Any] = json.loads(result.read_text())
        words = f"test accuracy {outcome['test_accuracy']:.1%}"
        self.progress.update(task, completed=self.plan.steps, detail=words)
        return outcome

    def serve(self, title: str, file: str) -> dict[str, Any]:
        """One run of the service, from warm-up to its last answer."""
        task = self.progress.add_task(title, total=self.plan.seconds, detail="starting")
        result = self.out / file
        process = self.start(
            "serve_digits",
            *("--weights", str(self.weights), "--json", str(result)),
            *("--rate", str(self.plan.rate), "--seconds", str(self.plan.seconds)),
            job_class="high",
            name="service",
        )

        def see(line: str) -> None:
            self.progress.update(task, detail=line)
            if line.startswith("at "):
                self.progress.update(task, completed=float(line.split()[1]))

        self.follow(process, see)
        outcome: dict[str, Any] = json.loads(result.read_text())
        latency = outcome["latency"]
        words = f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms"
        self.progress.update(task, completed=self.plan.seconds, detail=words)
        return outcome

    def together(self, title: str, policy: str) -> Scenario:
        """The service beside a trainer that is well under way when the first request comes."""
        trainer = Trainer(
            self.start(
                "train_digits",
                *("--seconds", "0", "--every", "0.2", "--batch", str(TRAINER_BATCH)),
                job_class="best-effort",
                name="trainer",
            )
        )
        try:
            trainer.wait_until_running()
            service = self.serve(f"the service {title}", f"{policy}.json")
        finally:
            rate = trainer.stop(service_seconds=self.plan.seconds)
        return Scenario(title, service, rate)


class Trainer:
    """A best-effort trainer in the background; its progress lines tell how fast it is."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        from threading import Thread

        self.process = process
        self.seen: list[tuple[float, int]] = []  # appended by the reader, read after it has ended
        self.reader = Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("step") and "steps/s" in line:
                self.seen.append((time.monotonic(), int(line.split()[1])))

    def wait_until_running(self) -> None:
        """TallyError if it does not train."""
        deadline = time.monotonic() + WARM_SECONDS_MAX
        while not self.seen:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise TallyError("the trainer did not start")
            time.sleep(0.05)

    def stop(self, service_seconds: float) -> float:
        """End it; steps a second over the last `service_seconds`."""
        ended = time.monotonic()
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        window = [(t, step) for t, step in self.seen if ended - service_seconds <= t <= ended]
        if len(window) < 2:
            return 0.0
        (t0, first), (t1, last) = window[0], window[-1]
        return (last - first) / (t1 - t0)


def show(scenarios: list[Scenario], trainer_alone: float, console: Console) -> None:
    """In a table that fits into 80 columns."""
    columns = ("SERVICE", "p50 ms", "p95 ms", "p99 ms", "ANSWERS/s", "RIGHT", "STEPS/s")
    table = render.table(columns, right=columns[1:])
    for scenario in scenarios:
        latency, steps = scenario.service["latency"], scenario.trainer_steps_per_second
        table.add_row(
            scenario.title,
            *(f"{latency[key]:.1f}" for key in ("p50", "p95", "p99")),
            f"{scenario.service['throughput_per_second']:.1f}",
            f"{scenario.service['accuracy']:.1%}",
            "" if steps is None else f"{steps:.1f}",
        )
    table.add_row("(trainer alone)", "", "", "", "", "", f"{trainer_alone:.1f}")
    count = scenarios[0].service["latency"]["count"]
    console.print(f"\nThe service's latency, from arrival to answer, of {count} requests each:\n")
    console.print(table)
    console.print("\nSTEPS/s are the trainer's. In short:\n")
    for line in in_words(scenarios, trainer_alone):
        console.print(line)
    console.print("")


def in_words(scenarios: list[Scenario], trainer_alone: float) -> list[str]:
    """What the service and the trainer have left of what they do alone."""
    alone = scenarios[0].service["latency"]["p99"]
    lines = []
    for scenario in scenarios[1:]:
        times = scenario.service["latency"]["p99"] / alone
        share = (scenario.trainer_steps_per_second or 0.0) / trainer_alone
        lines.append(
            f"{scenario.title}: p99 {times:.2f} times alone's, trainer at {share:.0%} of its speed"
        )
    return lines


def plot(scenarios: list[Scenario], device: str, path: Path) -> None:
    """Latencies over time, and their distribution."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    colors = ("tab:blue", "tab:red", "tab:green")
    for scenario, color in zip(scenarios, colors, strict=False):
        service = scenario.service
        latency = np.asarray(service["latency_ms"])
        arrival = np.asarray(service["arrival_ms"]) / 1e3
        p99 = service["latency"]["p99"]
        left.plot(arrival, latency, ".", ms=4, alpha=0.6, color=color)
        order = np.sort(latency)
        label = f"{scenario.title}: p99 {p99:.1f} ms"
        right.plot(order, np.arange(1, len(order) + 1) / len(order), color=color, label=label)
        right.axvline(p99, color=color, ls=":", lw=1)
    left.set(xlabel="arrival (s)", ylabel="latency (ms)", yscale="log", title="every request")
    right.set(xlabel="latency (ms), dotted: p99", ylabel="share of requests that took at most this")
    right.set(xscale="log", ylim=(0, 1.02), title="distribution")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    for axis in (left.yaxis, right.xaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f"A digit classifier served under Tally, on {device}")
    figure.savefig(path, dpi=120)


def run(options: argparse.Namespace, console: Console) -> None:
    seconds = 3.0 if options.quick else options.seconds
    plan = Plan(100 if options.quick else 250, seconds, options.rate)
    options.out.mkdir(parents=True, exist_ok=True)
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:<35}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}", justify="left"),
    )
    with Progress(*columns, console=console) as progress:
        with LocalDaemon("--policy", "tally", device=options.device) as daemon:
            with daemon.client() as client:
                device = str(client.stats()["devices"][0]["name"])
            console.print(Panel(f"tallyd runs on [bold]{device}[/]", expand=False))
            demo = Demo(daemon, plan, options.out, progress)
            trained = demo.train()
            alone = Scenario("alone", demo.serve("the service alone", "alone.json"), None)
            scheduled = demo.together("beside a trainer, tally", "tally")
        # A device has one tallyd at a time: the other policy's starts when this one has ended.
        with LocalDaemon("--policy", "fifo", device=options.device) as daemon:
            demo = Demo(daemon, plan, options.out, progress)
            unscheduled = demo.together("beside a trainer, fifo", "fifo")
    scenarios = [alone, unscheduled, scheduled]
    show(scenarios, trained["steps_per_second"], console)
    plot(scenarios, device, options.out / "demo.png")
    summary = {
        "device": device,
        "trainer_alone_steps_per_second": trained["steps_per_second"],
        "test_accuracy": trained["test_accuracy"],
        "scenarios": [
            {
                "title": s.title,
                "latency_ms": s.service["latency"],
                "service_ms": s.service["service"],
                "throughput_per_second": s.service["throughput_per_second"],
                "accuracy": s.service["accuracy"],
                "trainer_steps_per_second": s.trainer_steps_per_second,
            }
            for s in scenarios
        ],
    }
    (options.out / "demo.json").write_text(json.dumps(summary, indent=2) + "\n")
    console.print(f"plot: {options.out / 'demo.png'}    numbers: {options.out / 'demo.json'}")


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    console = Console()
    try:
        run(options, console)
    except TallyError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
