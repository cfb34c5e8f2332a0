"""Numbers and tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Table


def plain(text: str) -> str:
    """text that rich shows as it is: job names and commands may contain [brackets]."""
    return text.replace("[", "\\[")


def duration(seconds: float) -> str:
    """4.2s, 3m05s, 2h07m, 5d03h."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02d}m"
    return f"{whole // 86400}d{whole // 3600 % 24:02d}h"


def time_ns(value: float | None) -> str:
    """Three digits and the unit that suits: 870ns, 12.3us, 4.56ms, 7.89s; `-` for nothing."""
    if value is None:
        return "-"
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if value >= scale:
            return (
                f"{value / scale:.3g}{unit}"
                if value < 1000 * scale
                else f"{value / scale:.0f}{unit}"
            )
    return f"{value:.0f}ns"


def size(value: float) -> str:
    """512B, 1.5MiB, 20GiB."""
    for unit, scale in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= scale:
            number = value / scale
            return f"{number:.3g}{unit}" if number < 1000 else f"{number:.0f}{unit}"
    return f"{value:.0f}B"


def table(columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table without lines, which reads well in terminals and pipes alike."""
    result = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        result.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return result


def console() -> Console:
    """Standard output. In a pipe lines are as long as need be: cut text helps no program."""
    output = Console(highlight=False, soft_wrap=False)
    return output if output.is_terminal else Console(highlight=False, width=400)


def show(what: RenderableType) -> None:
    """Print it."""
    console().print(what)
