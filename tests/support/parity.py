"""What NVIDIA documents of each function that the shim handles by hand, as rows that are tried.

A row is a call in a situation, the result that NVIDIA documents, and a function that makes the call
and gives its result; whatever else is documented the function asserts. `tests/soft/parity/` has the
rows, `tests/soft/programs/parity.py` tries them over the shim, and `docs/parity.md` lists them:

    python tests/support/parity.py           # write docs/parity.md
    python tests/support/parity.py --check   # 1 if it is not what would be written
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tally.interpose.handling import Handlings
from tally.interpose.table import load

ROOT = Path(__file__).parents[2]
ROWS = ROOT / "tests" / "soft" / "parity"
PAGE = ROOT / "docs" / "parity.md"

Check = Callable[[Any], int]  # takes the program's `Ground`


class Row(NamedTuple):
    """One entry of the table. `documented` is the name of a CUresult without CUDA_ERROR_."""

    symbol: str
    situation: str
    documented: str
    check: Check
    before_init: bool

    @property
    def title(self) -> str:
        """Unique, and good as a test's id."""
        return f"{self.symbol}: {self.situation}"


ROW_LIST: list[Row] = []


def row(
    symbol: str, situation: str, documented: str, check: Any, *, before_init: bool = False
) -> None:
    """Add a row. The check is a Check; a lambda with defaults has a type that mypy cannot infer."""
    ROW_LIST.append(Row(symbol, situation, documented, check, before_init))


def parity(symbol: str, situation: str, documented: str = "SUCCESS") -> Callable[[Check], Check]:
    """Add a row whose check is a function: a decorator."""

    def add(check: Check) -> Check:
        row(symbol, situation, documented, check)
        return check

    return add


def hand_written() -> list[str]:
    """Symbols of the functions whose bodies are written by hand, in the order of their files."""
    handlings = Handlings(load())
    found = [
        (handlings.of(f).file, f.symbol) for k in ("local", "custom") for f in handlings.by_kind(k)
    ]
    return [symbol for _, symbol in sorted(found)]


def rows() -> list[Row]:
    """All rows, read from their files once; ordered as the page lists them."""
    if not ROW_LIST:
        # This file runs as a script, too: the rows' `support.parity` must be this very module.
        sys.modules.setdefault("support.parity", sys.modules[__name__])
        for path in sorted(ROWS.glob("*.py")):
            spec = importlib.util.spec_from_file_location(f"parity_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
    place = {symbol: index for index, symbol in enumerate(hand_written())}
    return sorted(ROW_LIST, key=lambda r: place.get(r.symbol, -1))


HEAD = """\
# Parity with NVIDIA's driver

What NVIDIA documents of each function that the shim handles by hand, and what holds here. Every
line is tried by `tests/soft/test_parity.py` through the shim, over softgpu; where a line says more
than a result, the test looks at that too. Results are named without `CUDA_ERROR_`.

Generated from the rows in `tests/soft/parity` by `python tests/support/parity.py`; do not edit.
"""


def render() -> str:
    """The page's text."""
    handlings = Handlings(load())
    stems = load().stems()
    lines, file = [HEAD], ""
    for entry in rows():
        here = handlings.of(stems[entry.symbol]).file
        if here != file:
            file = here
            lines += [f"\n## native/shim/{file}.c\n", "| call | situation | documented result |"]
            lines += ["|---|---|---|"]
        lines.append(f"| `{entry.symbol}` | {entry.situation} | `{entry.documented}` |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def main() -> int:
    text = render()
    if "--check" not in sys.argv:
        PAGE.write_text(text)
        return 0
    if PAGE.read_text() == text:
        return 0
    print("stale: docs/parity.md; run python tests/support/parity.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
