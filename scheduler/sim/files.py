"""What traces and recordings share: their files are JSON lines, and say where they are broken."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any


class TraceError(ValueError):
    """A trace or recording cannot be read; says file, line and reason."""


def open_text(path: Path, mode: str) -> IO[str]:
    """Compressed if its name says so."""
    if path.suffix == ".gz":
        return gzip.open(path, mode + "t", encoding="utf-8")  # type: ignore[return-value]
    return path.open(mode, encoding="utf-8")


def read_lines(path: Path, take: Callable[[Mapping[str, Any]], None]) -> None:
    """Give every line's object to take, which may raise ValueError and its like. Raises TraceError.

    Half a last line is what a writer that was killed leaves: it does not count.
    """
    number = 1
    try:
        with open_text(path, "r") as file:
            for line in file:
                try:
                    words = json.loads(line)
                except ValueError:
                    if number > 1 and not line.endswith("\n"):
                        return
                    raise
                take(words)
                number += 1
    except (
        OSError,
        EOFError,
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise _explained(path, number, error) from error


def _explained(path: Path, line: int, error: Exception) -> TraceError:
    if isinstance(error, OSError) and error.strerror:
        return TraceError(f"{path} cannot be read: {error.strerror}")
    if isinstance(error, UnicodeDecodeError | json.JSONDecodeError | gzip.BadGzipFile):
        return TraceError(f"{path}, line {line}: not a trace or recording of launches: {error}")
    reason = f"without {error}" if isinstance(error, KeyError) else str(error)
    return TraceError(f"{path}, line {line}: {reason}")


def format_of(path: Path) -> str:
    """The `format` of the first line; empty if there is none. Raises TraceError."""
    try:
        with open_text(path, "r") as file:
            first = json.loads(file.readline())
        return str(first.get("format", "")) if isinstance(first, dict) else ""
    except (OSError, EOFError, ValueError) as error:
        raise _explained(path, 1, error) from error
