"""What the demo says of its figures: no more than they show."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from tally.workloads import demo_report
from tally.workloads.demo_report import KEPT, NOT_SHOWN, PARTLY, Scenario


def scenario(name: str, p99_ms: float, steps: float | None = None) -> Scenario:
    latency = {"p50": 1234.5, "p95": 1234.5, "p99": p99_ms, "count": 301}
    times = {"arrival_ms": [0.0, 10.0], "latency_ms": [1.0, p99_ms]}
    service = {"latency": latency, "throughput_per_second": 100.0, "accuracy": 1.0, **times}
    return Scenario(name, service, steps)


def scenarios(alone: float, fifo: float, tally: float, steps: float = 90.0) -> list[Scenario]:
    return [
        scenario("alone", alone),
        scenario("fifo", fifo, 100.0),
        scenario("tally", tally, steps),
    ]


def shown(ran: list[Scenario], *notes: str) -> list[str]:
    """What is printed on a terminal of 80 columns."""
    file = io.StringIO()
    console = Console(width=80, highlight=False, file=file)
    demo_report.show(ran, 2e3, list(notes), console)
    return file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("ran", "state", "begins"),
    [
        (scenarios(8, 80, 9), KEPT, "The promise is kept in this run"),
        (scenarios(8, 80, 12, 80.0), KEPT, "The promise is kept in this run"),  # at the bounds
        (scenarios(8, 80, 12.1), PARTLY, "The promise is kept in part"),
        (scenarios(8, 20, 10.5), PARTLY, "The promise is kept in part"),
        (scenarios(8, 80, 9, 79.0), PARTLY, "The promise is kept in part"),  # the trainer starves
        (scenarios(8, 80, 90), NOT_SHOWN, "This run does not show what Tally promises"),
        (scenarios(8, 20, 13), NOT_SHOWN, "This run does not show what Tally promises"),
        (scenarios(0, 0, 0), NOT_SHOWN, "This run does not show what Tally promises"),
    ],
)
def test_the_verdict(ran: list[Scenario], state: str, begins: str) -> None:
    assert demo_report.verdict(demo_report.checks(*ran)) == state
    lines = shown(ran)
    assert f"What Tally promises is {state}:" in lines
    (sentence,) = [line for line in lines if line.startswith(begins)]
    marks = [line[:3].strip() for line in lines if line.startswith(("yes  ", "NO   "))]
    assert len(marks) == 3
    assert (marks == ["yes"] * 3) == (state == KEPT)
    assert ("kept" in sentence) == (state != NOT_SHOWN)


def test_a_run_that_measured_nothing_proves_nothing() -> None:
    assert math.isinf(demo_report.ratio(1.0, 0.0))
    no_trainer = [scenario("alone", 8), scenario("fifo", 80, 0.0), scenario("tally", 9, 0.0)]
    assert demo_report.verdict(demo_report.checks(*no_trainer)) == PARTLY


def test_the_table_fits_a_terminal() -> None:
    note = "The machine was busy when this began (load 7.3)."
    lines = shown(scenarios(98.7, 12345.6, 12345.6, 1000.0), note)
    assert note in lines
    assert not any("…" in line for line in lines)
    header = next(line for line in lines if line.startswith("SERVICE"))
    assert " ".join(header.split()) == "SERVICE p50 ms p95 ms p99 ms ANSWERS/s RIGHT STEPS/s"
    row = next(line for line in lines if line.startswith("beside a trainer, tally"))
    assert " ".join(row.split()).endswith("tally 1234.5 1234.5 12345.6 100.0 100.0% 1000.0")
    assert "NO   service's p99 with Tally, in alone's: 125.08 (at most 1.5)" in lines


def test_the_plot(tmp_path: Path) -> None:
    demo_report.plot(scenarios(8, 80, 9), "a test", tmp_path / "demo.png")
    assert (tmp_path / "demo.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
