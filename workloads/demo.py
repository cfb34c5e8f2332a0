"""`make demo`: one device, a latency-critical service and a trainer, alone and together.

Starts a tallyd of its own, trains a digit classifier, serves it under Poisson arrivals, first alone
and then beside a trainer that takes all it can get: without scheduling (policy fifo, in a second
tallyd) and with Tally's. Ends with a table, a verdict and a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tally.errors import TallyError
from tally.workloads.demo_report import Scenario, checks, plot, show, verdict
from tally.workloads.local import LocalDaemon

WARM_SECONDS_MAX = 90.0
STEPS, QUICK_STEPS = 200, 80  # of the training whose result is served
SECONDS, QUICK_SECONDS = 18.0, 5.0  # of load in each scenario
# A request takes 5 ms on two CPUs, most of it between kernels; meanwhile the trainer is held back.
RATE = 15.0
UNORDERED = ("--policy", "fifo", "--cpu-politeness", "policy")
REQUESTS_MIN = 250  # fewer say little about a 99th percentile
TRAINER_BATCH = 4096  # long kernels, as trainers have them; the service answers one image at a time


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
    parser.add_argument(
        "--rate", type=float, default=RATE, help=f"requests a second (default {RATE:g})"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help=f"of load in each scenario (default {SECONDS:g})",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few seconds of everything: about 40 s on two CPUs in place of two minutes",
    )
    return parser.parse_args(argv)


class Demo:
    """Runs the programs of the demo as a user would: each is one `tally run`."""

    def __init__(
        self,
        daemon: LocalDaemon,
        plan: Plan,
        out: Path,
        progress: Progress,
        nice: int | None = None,
    ) -> None:
        """nice: of all programs, in place of what Tally gives each by its class."""
        self.daemon, self.plan, self.out, self.progress = daemon, plan, out, progress
        self.nice = nice
        self.weights = out / "digits.safetensors"

    def start(self, module: str, *flags: str, job_class: str, name: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-P", "-u", "-m", f"tally.workloads.{module}", *flags]
        return subprocess.Popen(
            self.daemon.command(*argv, job_class=job_class, name=name, nice=self.nice),
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

    def together(self, policy: str) -> Scenario:
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
            service = self.serve(f"the service beside it, {policy}", f"{policy}.json")
        finally:
            rate = trainer.stop(service_seconds=self.plan.seconds)
        return Scenario(policy, service, rate)


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


def notes(options: argparse.Namespace, load: float) -> list[str]:
    """What takes weight from the figures."""
    found = []
    if options.quick or options.rate * options.seconds < REQUESTS_MIN:
        found.append("A short run: a p99 of so few requests is about their maximum.")
    if load > 1.0:
        found.append(
            f"The machine was busy when this began (load {load:.1f}): on softgpu what else it does "
            "shows in the figures."
        )
    return found


def run(options: argparse.Namespace, console: Console) -> None:
    seconds = QUICK_SECONDS if options.quick else options.seconds
    plan = Plan(QUICK_STEPS if options.quick else STEPS, seconds, options.rate)
    load = os.getloadavg()[0]
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
                cpu = str(client.doctor()["cpu"]["text"])
            console.print(Panel(f"tallyd runs on [bold]{device}[/]\nCPU: {cpu}", expand=False))
            demo = Demo(daemon, plan, options.out, progress)
            trained = demo.train()
            alone = Scenario("alone", demo.serve("the service alone", "alone.json"), None)
            scheduled = demo.together("tally")
        # A device has one tallyd at a time: the other policy's starts when this one has ended.
        # Under it nothing is ordered, neither launches on the device nor programs on the CPU.
        with LocalDaemon(*UNORDERED, device=options.device) as daemon:
            demo = Demo(daemon, plan, options.out, progress, nice=0)
            unscheduled = demo.together("fifo")
    scenarios = [alone, unscheduled, scheduled]
    show(scenarios, trained["steps_per_second"], notes(options, load), console)
    plot(scenarios, device, options.out / "demo.png")
    parts = checks(*scenarios)
    summary = {
        "device": device,
        "cpu": cpu,
        "load_at_start": load,
        "trainer_alone_steps_per_second": trained["steps_per_second"],
        "test_accuracy": trained["test_accuracy"],
        "verdict": verdict(parts),
        "checks": [asdict(part) | {"holds": part.holds} for part in parts],
        "scenarios": [scenario.as_dict() for scenario in scenarios],
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
