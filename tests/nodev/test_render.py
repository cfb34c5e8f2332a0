"""Tables where terminals are narrow: nothing that is a figure is ever cut off."""

from __future__ import annotations

import io
import re
from random import Random
from typing import Any

import pytest
from rich.console import Console

from tally import render
from tally.commands import stats
from tally.render import PIPE_WIDTH, Table


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
