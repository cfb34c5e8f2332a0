"""`make bench`: start a tallyd, measure, print a table and write the raw numbers.

Run as python -m tally.workloads.bench --json out/bench.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

import tally
from tally import render
from tally.errors import TallyError
from tally.workloads.local import LocalDaemon

from . import device, forwarding, isolation, kernels, scheduled, startup
from .result import Figure, Spread

PARTS = ("startup", "forwarding", "scheduled", "kernels", "device", "isolation")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, default=Path("out/bench.json"))
    parser.add_argument("--device", default="soft", help="tallyd's device (default soft)")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    return parser.parse_args(argv)


def measure(options: argparse.Namespace, console: Console) -> tuple[list[Figure], list[str]]:
    """All figures, and what was left out and why."""
    figures: list[Figure] = []
    skipped: list[str] = []
    quick = options.quick
    with LocalDaemon(device=options.device) as daemon, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts: dict[str, Callable[[], list[Figure]]] = {
            "startup": lambda: startup.measure(daemon, folder, 3 if quick else 11),
            "forwarding": lambda: forwarding.measure(daemon, folder, 4 if quick else 24),
            "scheduled": lambda: scheduled.measure(daemon, folder, 20 if quick else 300),
            "kernels": lambda: kernels.measure(daemon, 1 if quick else 4),
            "device": lambda: device.measure(
                "soft" if options.device == "soft" else "cuda", 3 if quick else 30
            ),
            "isolation": lambda: isolation.measure(
                options.device, 1.5 if quick else 8.0, 1 if quick else 6
            ),
        }
        for name in options.only or PARTS:
            if name == "kernels" and (wanted := kernels.missing_pocl()):
                skipped.append(f"softgpu against pocl: pocl is not installed; {wanted}")
                continue
            with console.status(f"measuring: {name}"):
                figures += parts[name]()
    return figures, skipped


def show(figures: list[Figure], console: Console) -> None:
    columns = ("figure", "Tally", "reference", "ratio", "target", "")
    table = render.table(columns, right=columns[1:], wrap=("figure",))
    for figure in figures:
        bound = "≤" if figure.at_most else "≥"
        table.add_row(
            figure.name,
            words(figure.ours, figure.unit),
            words(figure.reference, figure.unit) if figure.reference else "",
            f"{figure.ratio:.2f}" if figure.ratio is not None else "",
            f"{bound} {figure.target:g}" if figure.target is not None else "",
            {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[figure.met],
        )
    console.print("medians, ± half the distance between the quartiles\n")
    console.print(table)


SCALES = {
    "s": ((1, "s"), (1e3, "ms"), (1e6, "µs")),
    "ms": ((1e-3, "s"), (1, "ms"), (1e3, "µs")),
    "ns": ((1e-6, "ms"), (1e-3, "µs"), (1, "ns")),
}


def words(spread: Spread, unit: str) -> str:
    """The median in a unit that suits it, and half the distance of the quartiles in per cent."""
    factor, name = next(
        ((f, n) for f, n in SCALES.get(unit, ()) if abs(spread.median) * f >= 1), (1.0, unit)
    )
    percent = 50 * (spread.high - spread.low) / abs(spread.median) if spread.median else 0
    return f"{spread.median * factor:,.4g} {name} ±{percent:.0f}%"


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    console = render.console()
    try:
        figures, skipped = measure(options, console)
    except TallyError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    show(figures, console)
    for line in skipped:
        console.print(f"left out: {line}")
    result = {
        "tally": tally.__version__,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": options.device,
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "figures": [figure.as_dict() for figure in figures],
        "left_out": skipped,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"raw numbers: {options.json}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
