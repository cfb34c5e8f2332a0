"""`make gpu-check`: everything that only a real GPU can show, behind one entry point.

Its stages run in the order of their worth, each in processes of its own and for a bounded time,
whatever became of those before; after each, what is known so far is in results.json. Without a GPU
it says so and ends with status 0: nothing was checked, and nothing failed. `--device soft` is the
rehearsal on softgpu.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tally import render
from tally.client import paths


@dataclass(frozen=True)
class Gpu:
    """What the machine's driver says about its first device."""

    name: str
    driver_version: int
    count: int


def find_gpu() -> Gpu | str:
    """The machine's GPU, or why there is none to check."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no libcuda.so.1 on this machine"
    shim = paths.shim()
    if shim and str(shim) in Path("/proc/self/maps").read_text():
        return "libcuda.so.1 is Tally's own here; run this without `tally run`"
    if (status := driver.cuInit(0)) != 0:
        return f"the driver does not start (cuInit gives {status})"
    count, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    if count.value == 0:
        return "the driver has no device"
    driver.cuDeviceGetName(name, len(name), 0)
    return Gpu(name.value.decode(errors="replace"), version.value, count.value)


@dataclass(frozen=True)
class Stage:
    """One question, or several: a command in a process group of its own."""

    name: str
    asks: str
    seconds_max: float
    argv: tuple[str, ...]  # {python}; {device}: cuda or soft; {out}: a folder of the stage's own
    on: tuple[str, ...] = ("cuda", "soft")


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("{python}", "-m", f"tally.workloads.{name}", *arguments)


def _bench(*parts: str) -> tuple[str, ...]:
    only = [word for part in parts for word in ("--only", part)]
    return _module("bench", "--device", "{device}", "--quick", "--json", "{out}/bench.json", *only)


STAGES = (
    Stage(
        "driver",
        "what the driver has, and which of its calls wait for the device",
        60,
        _module("gpu_facts", "--json", "{out}/facts.json"),
        on=("cuda",),
    ),
    Stage("forwarded", "the same, asked by a program under Tally", 60, (
        *_module("gpu_facts", "--under", "{device}", "--json", "{out}/facts.json"),
    )),
    Stage("programs", "test programs, bare and under Tally", 150, (
        *("{python}", "-m", "pytest", "-q", "-ra", "tests/gpu"),
    ), on=("cuda",)),
    Stage("costs", "start-up, launch, synchronisation, copies: bare and under Tally", 90, (
        *_bench("startup", "forwarding"),
    )),
    Stage("guard", "the guard's cost a block, a flag's way, what stops and how fast", 60, (
        *_bench("device"),
    )),
    Stage("isolation", "a service beside a trainer under each policy", 100, _bench("isolation")),
    Stage("demo", "the demo: latencies alone, under fifo, under tally", 120, (
        *_module("demo", "--device", "{device}", "--quick", "--out", "{out}"),
    )),
    Stage("torch", "PyTorch's own wheel, computed", 150, (
        *_module("compat", "--device", "{device}"),
    ), on=("cuda",)),
)  # fmt: skip

LEAST_SECONDS = 5.0  # a stage is not begun with less
OUTPUT_CHARACTERS = 20_000  # of each stage, its end


def run_stage(stage: Stage, device: str, folder: Path, seconds: float) -> dict[str, Any]:
    """The stage's result: how it ended, what it printed, and every JSON file that it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"python": sys.executable, "device": device, "out": str(folder)}
    argv = [word.format(**values) for word in stage.argv]
    began = time.monotonic()
    # A process group of its own, as a GPU's worth of processes may have to be ended at once; and no
    # driver in this process, since children fork.
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
            ended = "passed" if status == 0 else f"failed ({status})"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {seconds:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = (folder / "output.txt").read_text(errors="replace")
    return {
        "stage": stage.name,
        "asks": stage.asks,
        "ended": ended,
        "seconds": round(time.monotonic() - began, 1),
        "command": argv[1:],
        "found": _found(folder),
        "output": text[-OUTPUT_CHARACTERS:],
    }


def _found(folder: Path) -> dict[str, Any]:
    """What the stage wrote as JSON, by the file's name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(ValueError):
            found[path.name] = json.loads(path.read_text())
    return found


def _chosen(names: str | None, device: str) -> list[Stage]:
    """The stages of these names, with commas between them, as far as the device has them."""
    known = {stage.name: stage for stage in STAGES}
    wanted = list(known) if names is None else [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        raise argparse.ArgumentTypeError(
            f"there is no stage {unknown[0]!r}; there are {', '.join(known)}"
        )
    return [known[name] for name in wanted if device in known[name].on]


def check(device: str, stages: list[Stage], budget_s: float, out: Path, about: str) -> bool:
    """Run the stages within the budget; whether all passed. Leaves results.json in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + budget_s
    results: list[dict[str, Any]] = []
    for stage in stages:
        left = deadline - time.monotonic()
        seconds = min(stage.seconds_max, left)
        if left < LEAST_SECONDS:
            result: dict[str, Any] = {"stage": stage.name, "asks": stage.asks, "seconds": 0.0}
            result["ended"] = "not begun: no time was left"
        else:
            print(f"gpu-check: {stage.name}: {stage.asks} ...", flush=True)
            result = run_stage(stage, device, out / stage.name, seconds)
        results.append(result)
        written = {"about": about, "device": device, "budget_s": budget_s, "stages": results}
        (out / "results.json").write_text(json.dumps(written, indent=1) + "\n")
    table = render.table(("STAGE", "ENDED", "SECONDS", "ASKS"), keys=("STAGE",))
    for result in results:
        table.add_row(result["stage"], result["ended"], f"{result['seconds']:.0f}", result["asks"])
    render.show(table)
    return all(result["ended"] == "passed" for result in results)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gpu_check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "soft"), default="cuda")
    parser.add_argument(
        "--budget", type=float, default=480, metavar="SECONDS", help="for all stages (default 480)"
    )
    names = ", ".join(stage.name for stage in STAGES)
    parser.add_argument("--stages", metavar="NAMES", help=f"only these: {names}")
    parser.add_argument(
        "--out", type=Path, default=Path("build/gpu-check"), help="folder for results"
    )
    options = parser.parse_args(argv)
    try:
        stages = _chosen(options.stages, options.device)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    about = "softgpu: a rehearsal, which says nothing of a GPU"
    if options.device == "cuda":
        gpu = find_gpu()
        if isinstance(gpu, str):
            print(
                f"gpu-check: no GPU: {gpu}. Nothing was checked; docs/evidence/PENDING.md has the "
                "list."
            )
            return 0
        version = f"{gpu.driver_version // 1000}.{gpu.driver_version % 1000 // 10}"
        about = f"{gpu.count} x {gpu.name}, driver for CUDA {version}"
    print(f"gpu-check: {about}", flush=True)
    passed = check(options.device, stages, options.budget, options.out, about)
    where = options.out / "results.json"
    print(f"gpu-check: {'all is well' if passed else 'not all passed'}; see {where}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
