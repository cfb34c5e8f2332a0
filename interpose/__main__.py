"""Command line: `python -m tally.interpose generate|check|coverage`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tally.interpose import binding, ops
from tally.interpose.emit import OUTPUTS
from tally.interpose.handling import KINDS, Handlings
from tally.interpose.table import HERE, TABLE_PATH, Table, TableError, load

ROOT = HERE.parent


def render(table: Table) -> Iterator[tuple[Path, str]]:
    """Path and text of every generated file. `binding` reads headers, so what is made from the
    tables comes first, and is to be written before the next is asked for."""
    handlings = Handlings(table)
    for path, emit in OUTPUTS.items():
        yield ROOT / path, emit(handlings)
    for made_from in (ops, binding):
        for path, text in made_from.render().items():
            yield ROOT / path, text


def read_header(include_dir: Path | None) -> Table | None:
    """The table as the toolkit's header says it, or None where there is no toolkit."""
    try:
        from tally.interpose import header  # needs pycparser
    except ImportError:
        return None
    include_dir = include_dir or header.find_include_dir()
    return header.read(include_dir) if include_dir else None


def generate(include_dir: Path | None) -> int:
    fresh = read_header(include_dir)
    if fresh is not None:
        TABLE_PATH.write_text(fresh.to_json())
    for path, text in render(fresh or load()):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


def check(include_dir: Path | None) -> int:
    """0 when all committed files are what would be generated now, else 1."""
    expected = dict(render(load()))
    fresh = read_header(include_dir)
    if fresh is not None:
        expected[TABLE_PATH] = fresh.to_json()
    stale = [p for p, text in expected.items() if not p.exists() or p.read_text() != text]
    for path in stale:
        print(f"stale: {path.relative_to(ROOT)}; run python -m tally.interpose generate")
    return 1 if stale else 0


def coverage() -> int:
    table = load()
    handlings = Handlings(table)
    print(f"CUDA {table.cuda_version}: {len(table.functions)} symbols")
    for kind in KINDS:
        functions = handlings.by_kind(kind)
        symbols = sum(1 for f in table if handlings.of(f).kind == kind)
        print(f"\n{kind}: {len(functions)} functions, {symbols} symbols")
        print("".join(f"  {f.symbol}\n" for f in functions), end="")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tally.interpose", description=__doc__)
    parser.add_argument("command", choices=("generate", "check", "coverage"))
    parser.add_argument(
        "--include", type=Path, help="folder of cuda.h (default: the PyPI toolkit's, if installed)"
    )
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "coverage":
            return coverage()
        run = generate if arguments.command == "generate" else check
        return run(arguments.include)
    except TableError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
