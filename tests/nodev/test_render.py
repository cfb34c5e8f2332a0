"""Tables where terminals are narrow: nothing that is a figure is ever cut off."""

from __future__ import annotations

import io
import re
from random import Random
from typing import Any

import pytest
from rich.console import Console

from tally import render
from tally.commands import profile as profile_command
from tally.commands import stats, trace
from tally.render import PIPE_WIDTH, Table
from tally.scheduler.plans import PlanRecord
from tally.scheduler.profiles import Profile


def lines(table: Table, width: int) -> list[str]:
    out = io.StringIO()
    console = Console(width=width, file=out, force_terminal=True, color_system=None)
    console.print(table)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    return [line.rstrip() for line in plain.splitlines()]


def jobs(names: list[str]) -> Table:
    table = render.table(
        ("JOB", "NAME", "COUNT", "DELAY p50", "p99", "COMMAND"),
        right=("COUNT", "DELAY p50", "p99"),
        keys=("JOB", "NAME"),
        cut=("NAME", "COMMAND"),
        glued=("p99",),
    )
    for index, name in enumerate(names):
        table.add_row(str(index), render.plain(name), "12345678", "1.23ms", "45.6ms", "python x.py")
    return table


def test_a_wide_terminal_shows_one_table() -> None:
    assert lines(jobs(["web[1]"]), 80) == [
        "JOB  NAME       COUNT  DELAY p50     p99  COMMAND",
        "0    web[1]  12345678     1.23ms  45.6ms  python x.py",
    ]


def test_a_narrow_terminal_shows_parts_that_begin_with_the_keys() -> None:
    assert lines(jobs(["web", "train"]), 34) == [
        "JOB  NAME      COUNT",
        "0    web    12345678",
        "1    train  12345678",
        "",
        "JOB  NAME   DELAY p50     p99",
        "0    web       1.23ms  45.6ms",
        "1    train     1.23ms  45.6ms",
        "",
        "JOB  NAME   COMMAND",
        "0    web    python x.py",
        "1    train  python x.py",
    ]


def test_long_texts_end_early_on_narrow_terminals_alone() -> None:
    table = jobs(["a-very-long-name-of-a-job-indeed"])
    assert "a-very-long-name-of-a-job-indeed" in lines(table, PIPE_WIDTH)[1]
    narrow = lines(table, 60)
    assert narrow[1].startswith("0    a-very-long-nam") and "…" in narrow[1]
    assert all(len(line) <= 60 for line in narrow)


@pytest.mark.parametrize("seed", range(20))
def test_figures_are_whole_at_any_width(seed: int) -> None:
    random = Random(seed)
    columns = [f"C{index}{'x' * random.randint(0, 12)}" for index in range(random.randint(2, 15))]
    table = render.table(columns, columns[1:], keys=columns[:1], glued=columns[3:4])
    cells = [[str(random.randrange(10 ** random.randint(1, 12))) for _ in columns] for _ in "abc"]
    for row in cells:
        table.add_row(*row)
    shown = " ".join(lines(table, random.randint(45, 160))).split()
    for text in (*columns, *(cell for row in cells for cell in row)):
        assert text in shown, (seed, text)


def test_wrapped_columns_take_several_lines() -> None:
    table = render.table(("", "WHAT", "FOUND"), wrap=("FOUND",))
    table.add_row("[green]ok[/]", "shim", "some words about where it was found on this machine")
    shown = lines(table, 40)
    assert len(shown) == 3 and shown[1].startswith("ok  shim  some words")
    assert all(len(line) <= 40 for line in shown) and not any("…" in line for line in shown)


@pytest.mark.parametrize("columns", [stats.NUMBERS, stats.SCHEDULE])
def test_statistics_fit_80_columns(columns: tuple[str, ...]) -> None:
    job: dict[str, Any] = {
        "id": "12-a4f2",
        "name": "inference-service-of-the-web",
        "class": "best-effort",
    }
    job |= {"class": "best-effort", "state": "running"}
    job["stats"] = {"gauges": {"waiting_ns": 12_300_000_000}}
    numbers = ["123456789", *("100ms" for _ in columns[1:])]
    table = stats.job_table({"jobs": [job]}, columns, lambda _: numbers)
    shown = lines(table, 80)
    assert all(len(line) <= 80 for line in shown)
    text = " ".join(" ".join(shown).split())
    assert "12-a4f2" in text and "waiting 12.3s" in text and "123456789" in text
    assert text.count("100ms") == len(columns) - 1
    assert all(name.strip() in text for name in columns)


def test_kernels_fit_80_columns_in_one_part() -> None:
    """Recordings and profiles have hundreds of rows: parts below one another cannot be read."""
    name, shape = "a_kernel_with_a_name_as_compilers_give_it", "2048x64 of 32x16"
    row = trace.KernelRow("web", "high", name, shape, 123_456, 1.23e6, 4.56e6, 10**11, 1234)
    record = PlanRecord(1, 2048, (10**6, 10**6, 0, 10**6), (12_345_678, 0, 0, 3), 0)
    profile = Profile("H100", "c0de", name, shape, record)
    for table in (trace.kernel_table([row]), profile_command.table_of([profile], 31_600)):
        shown = lines(table, 80)
        assert len(shown) == 2 and all(len(line) <= 80 for line in shown)
        assert shape in shown[1]


def test_the_devices_lines_fit_80_columns() -> None:
    turnaround = {"count": 10**9, "p50_ns": 123_456, "p99_ns": 1_234_567, "max_ns": 143_000_000}
    turnaround |= {"sum_ns": 10**15, "estimated_sum_ns": 10**16, "error_sum_ns": 10**16}
    schedule = {"policy": "timeslice", "turnaround": turnaround, "oversized": 10**9}
    shown = stats.schedule_lines(schedule)
    assert all(len(line) <= 78 for line in shown), "and two for the indent"
    assert "p99 1.23ms" in shown[1] and "1000000000" in shown[2]


def test_the_watchdogs_kernels_are_named() -> None:
    rescued = [{"session": 7, "job": "a" * 40, "kernel": "look_back" + "k" * 200}]
    schedule = {"policy": "tally", "turnaround": {"count": 0}, "rescues": 3, "rescued": rescued}
    _, count, named = stats.schedule_lines(schedule)
    assert count.endswith("rescued: 3")
    assert "session 7" in named and "look_back" in named and len(named) <= 78
