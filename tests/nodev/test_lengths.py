"""No source file is longer than can be kept in mind, but for tables, which are named here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ["client", "daemon", "interpose", "native", "scheduler", "tally", "tests", "workloads"]
ENDINGS = (".c", ".h", ".cu", ".py", ".sh")
WRITTEN_BY_PROGRAMS = {"generated", "__pycache__"}
LINES_MAX = 400

# Longer ones, and why they are one file.
TABLES = {
    "tally/config.py": "every setting once, with its default and who reads it",
    "tests/soft/parity/memory.py": "what CUDA documents of memory, a row for each situation",
    "tests/soft/parity/modules.py": "what CUDA documents of modules, a row for each situation",
    "tests/soft/ptx/test_float.py": "instructions of floating point, a case for each form",
}


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            parts = set(path.relative_to(ROOT).parts)
            if path.suffix in ENDINGS and path.is_file() and not parts & WRITTEN_BY_PROGRAMS:
                yield path


def lines_of(path: Path) -> int:
    return len(path.read_bytes().splitlines())


def test_sources_are_short_or_tables() -> None:
    lengths = {str(path.relative_to(ROOT)): lines_of(path) for path in sources()}
    assert len(lengths) > 500  # all folders are looked at
    long = {name: lines for name, lines in lengths.items() if lines > LINES_MAX}
    assert sorted(long.keys() - TABLES) == [], "split these: each noun into a file of its own"
    assert sorted(TABLES.keys() - long) == [], "short by now: take them off the list"
