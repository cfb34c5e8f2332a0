"""Numbers and tables for people."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

GAP = 2  # columns of characters between a table's columns
PIPE_WIDTH = 1 << 20
WRAPPED_WIDTH = 100  # of tables with texts that take several lines: wider is hard to read
CUT = 16  # characters that a text keeps at least


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
            return f"{_three_digits(value / scale)}{unit}"
    return f"{value:.0f}ns"


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def size(value: float) -> str:
    """512B, 1.5MiB, 20GiB."""
    for unit, scale in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= scale:
            return f"{_three_digits(value / scale)}{unit}"
    return f"{value:.0f}B"


def table(
    columns: Sequence[str],
    right: Collection[str] = (),
    *,
    wrap: Collection[str] = (),
    keys: Sequence[str] = (),
    cut: Collection[str] = (),
    glued: Collection[str] = (),
) -> Table:
    """A table that reads well in terminals and pipes alike; see Table."""
    return Table(columns, right, wrap, keys, cut, glued)


class Table:
    """A table without lines, whose figures are never cut off.

    Where a terminal is too narrow, and beyond 100 columns in any case, columns named in `wrap` take
    several lines. With `keys`, the
    table comes in parts instead, each of which begins with the key columns; columns in `glued`
    stay with the one before them, and texts of those in `cut` may end early.
    """

    def __init__(
        self,
        columns: Sequence[str],
        right: Collection[str] = (),
        wrap: Collection[str] = (),
        keys: Sequence[str] = (),
        cut: Collection[str] = (),
        glued: Collection[str] = (),
    ):
        assert {*right, *wrap, *cut, *glued} <= {*columns}
        assert tuple(keys) == tuple(columns[: len(keys)]) and len(set(columns)) == len(columns)
        self._columns, self._right, self._wrap = tuple(columns), right, wrap
        self._keys, self._cut, self._glued = keys, cut, glued
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str) -> None:
        """cells may have rich's markup."""
        self._rows.append([Text.from_markup(cell) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, WRAPPED_WIDTH) if self._wrap else options.max_width
        if self._width(self._columns, 0) <= width:
            yield from self._lines(self._columns, 0)
        elif not self._keys:
            yield self._wrapped(width)
        else:
            for index, names in enumerate(self._parts(width)):
                if index:
                    yield ""
                yield from self._lines(names, width)

    def _cells(self, name: str) -> list[Text]:
        index = self._columns.index(name)
        return [row[index] for row in self._rows]

    def _width(self, names: Sequence[str], cut: int) -> int:
        """Of these columns, side by side; with texts cut to `cut` unless 0."""
        total = GAP * (len(names) - 1)
        for name in names:
            widest = max((cell.cell_len for cell in self._cells(name)), default=0)
            if cut and name in self._cut:
                widest = min(widest, cut)
            total += max(widest, cell_len(name))
        return total

    def _parts(self, width: int) -> list[list[str]]:
        parts: list[list[str]] = [[*self._keys]]
        groups: list[list[str]] = []
        for name in self._columns:
            if name in self._glued:
                groups[-1].append(name)
            elif name not in self._keys:
                groups.append([name])
        for group in groups:
            if parts[-1] != [*self._keys] and self._width(parts[-1] + group, CUT) > width:
                parts.append([*self._keys])
            parts[-1] += group
        return parts

    def _lines(self, names: Sequence[str], width: int) -> Iterator[Text]:
        """Heading and rows. Within a width, texts that may be cut share what the others leave."""
        room = CUT + max(0, width - self._width(names, CUT))
        columns = []
        for name in names:
            cells = [Text(name, style="bold"), *(cell.copy() for cell in self._cells(name))]
            for cell in cells:
                if width and name in self._cut:
                    cell.truncate(room, overflow="ellipsis")
            widest = max(cell.cell_len for cell in cells)
            for cell in cells:
                cell.align("right" if name in self._right else "left", widest)
            columns.append(cells)
        for row in zip(*columns, strict=True):
            line = Text(" " * GAP, no_wrap=True, overflow="ignore").join(row)
            line.rstrip()
            yield line

    def _wrapped(self, width: int) -> RichTable:
        result = RichTable(
            box=None, pad_edge=False, header_style="bold", padding=(0, GAP // 2), width=width
        )
        for name in self._columns:
            justify: Literal["left", "right"] = "right" if name in self._right else "left"
            wrap = name in self._wrap
            result.add_column(name, justify=justify, no_wrap=not wrap, overflow="fold")
        for row in self._rows:
            result.add_row(*row)
        return result


def console() -> Console:
    """Standard output. In a pipe lines are as long as need be: cut text helps no program."""
    output = Console(highlight=False, soft_wrap=False)
    return output if output.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def show(what: RenderableType) -> None:
    """Print it."""
    console().print(what)
