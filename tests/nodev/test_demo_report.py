"""What the demo says of its figures: no more than they show."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import TaskID

from tally.workloads import demo, demo_report
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


def test_rounds_are_pooled() -> None:
    """All requests count alike, whichever round they came in; a round's own p99 stays visible."""

    def one(latency_ms: list[float], p99: float, stolen: float) -> dict[str, Any]:
        return {
            "requests": len(latency_ms),
            "seconds": 2.0,
            "accuracy": 1.0,
            "throughput_per_second": 10.0,
            "stolen_share": stolen,
            "dropped_p99_ms": [50.0] if stolen else [],
            "latency": {"p99": p99},
            "arrival_ms": [float(i) for i in range(len(latency_ms))],
            "latency_ms": latency_ms,
            "service_ms": latency_ms,
        }

    rounds = [one([1.0] * 150, 1.0, 0.0), one([1.0] * 148 + [9.0] * 2, 9.0, 0.02)]
    both = demo_report.pooled("tally", rounds, [10.0, 20.0])
    assert both.service["latency"]["count"] == 300
    assert both.p99_ms < 1.5  # two of three hundred
    assert both.trainer_steps_per_second == 15.0
    assert both.as_dict()["rounds_p99_ms"] == [1.0, 9.0]
    assert both.as_dict()["dropped_p99_ms"] == [50.0]
    assert both.service["arrival_ms"][150] == 2000.0
    assert both.service["stolen_share"] == pytest.approx(0.01)
    assert demo_report.pooled("alone", rounds, []).trainer_steps_per_second is None


def test_stolen_time_is_told() -> None:
    ran = scenarios(8, 80, 9)
    for which, share in zip(ran, (0.001, 0.002, 0.05), strict=True):
        which.service.update({"stolen_share": share, "dropped_p99_ms": []})
    (note,) = demo.notes(demo.parse([]), 0.1, ran)
    assert "0.1% in alone, 0.2% in fifo, 5.0% in tally" in note
    for which in ran:
        which.service["stolen_share"] = 0.001
    assert demo.notes(demo.parse([]), 0.1, ran) == []


def rounds_of(*shares: float) -> tuple[demo.Demo, list[float]]:
    """A demo whose rounds measure nothing; the host takes these shares away, one by one."""
    left = list(shares)

    class Measured(demo.Demo):
        def round(self, name: str, task: Any, turn: int) -> tuple[dict[str, Any], float | None]:
            share = left.pop(0)
            return {"stolen_share": share, "latency": {"p99": 100 * share}}, 7.0

    return Measured.__new__(Measured), left


@pytest.mark.parametrize(
    ("shares", "kept", "dropped"),
    [((0.01,), 0.01, []), ((0.05, 0.01), 0.01, [5.0]), ((0.05, 0.06), 0.06, [5.0])],
)
def test_a_round_of_the_hosts_is_run_again_once(
    shares: tuple[float, ...], kept: float, dropped: list[float]
) -> None:
    running, left = rounds_of(*shares)
    service, rate = running.calm("tally", TaskID(0), 0)
    assert (service["stolen_share"], service["dropped_p99_ms"]) == (kept, dropped)
    assert rate == 7.0 and not left


def test_rounds_that_do_not_count_are_told() -> None:
    ran = scenarios(8, 80, 9)
    for which in ran:
        which.service.update({"stolen_share": 0.0, "dropped_p99_ms": []})
    ran[2].service["dropped_p99_ms"] = [41.8]
    (note,) = demo.notes(demo.parse([]), 0.1, ran)
    assert note.startswith("1 of the rounds do not count")


@pytest.mark.parametrize("flag", ["--rounds=0", "--seconds=0", "--rate=-1"])
def test_a_demo_of_nothing_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        demo.parse([flag])
    assert left.value.code == 2
    assert "must be positive" in capsys.readouterr().err
