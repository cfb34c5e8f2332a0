"""Reads handling.toml and joins it with the table. Every contradiction is a TableError."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tally.interpose.table import HERE, Function, Table, TableError

HANDLING_PATH = HERE / "handling.toml"
KINDS = ("local", "custom", "call", "async", "alias", "widen", "unsupported")


@dataclass(frozen=True)
class Handling:
    """How one stem is handled.

    `file` names the hand-written file (local, custom), `target` the symbol that takes over (alias,
    widen), `wire` is "call" or "async" when messages are generated, `roles` are their parameters'.
    """

    stem: str
    kind: str
    file: str = ""
    target: str = ""
    wire: str = ""
    roles: dict[str, str] = field(default_factory=dict)


class Handlings:
    """Handling of every stem of a table."""

    def __init__(self, table: Table, path: Path = HANDLING_PATH) -> None:
        self.table = table
        self._stems = table.stems()
        self._by_stem: dict[str, Handling] = {}
        self._before_init: set[str] = set()
        with path.open("rb") as stream:
            self._load(tomllib.load(stream))
        self._validate()

    def of(self, function: Function) -> Handling:
        return self._by_stem.get(function.stem) or Handling(function.stem, "unsupported")

    def works_before_init(self, function: Function) -> bool:
        """Whether CUDA lets programs call the function without cuInit."""
        handling = self.of(function)
        return (handling.target or handling.stem) in self._before_init

    def by_kind(self, kind: str) -> list[Function]:
        """Legacy-stream functions of one kind, in the order of their symbols."""
        chosen = [f for f in self._stems.values() if self.of(f).kind == kind]
        return sorted(chosen, key=lambda f: f.symbol)

    def wired(self) -> list[Function]:
        """Functions with generated messages, in the order of their op codes."""
        return sorted((f for f in self._stems.values() if self.of(f).wire), key=lambda f: f.symbol)

    def _load(self, data: dict[str, Any]) -> None:
        self._before_init = set(data.pop("before_init", []))
        for kind in ("local", "custom"):
            for file, stems in data.pop(kind, {}).items():
                for stem in stems:
                    self._add(Handling(stem, kind, file=file))
        for kind in ("alias", "widen"):
            for stem, target in data.pop(kind, {}).items():
                self._add(Handling(stem, kind, target=target))
        for kind in ("call", "async"):
            for stem, settings in data.pop(kind, {}).items():
                self._add_wired(stem, kind, dict(settings))
        if data:
            raise TableError(f"handling.toml: unknown sections {sorted(data)}")

    def _add_wired(self, stem: str, kind: str, roles: dict[str, Any]) -> None:
        if roles.pop("public", True):
            self._add(Handling(stem, kind, wire=kind, roles=roles))
            return
        written = self._by_stem.pop(stem, None)
        if written is None:
            raise TableError(f"handling.toml: {stem} is not public and not hand-written")
        self._add(Handling(stem, written.kind, file=written.file, wire=kind, roles=roles))

    def _add(self, handling: Handling) -> None:
        if handling.stem not in self._stems:
            raise TableError(f"handling.toml: {handling.stem} is no driver function")
        if handling.stem in self._by_stem:
            raise TableError(f"handling.toml: {handling.stem} is named twice")
        self._by_stem[handling.stem] = handling

    def _validate(self) -> None:
        for stem in self._before_init:
            if stem not in self._by_stem:
                raise TableError(f"handling.toml: {stem} is not handled, so not before_init either")
        for handling in self._by_stem.values():
            function = self._stems[handling.stem]
            unknown = set(handling.roles) - {p.name for p in function.params}
            if unknown:
                raise TableError(f"handling.toml: {handling.stem} has no parameter {unknown}")
            if handling.target:
                target = self._by_stem.get(handling.target)
                if target is None or target.kind not in ("local", "custom"):
                    raise TableError(f"handling.toml: {handling.stem} needs a written target")
                params = self._stems[handling.target].params
                same = [p.type for p in params] == [p.type for p in function.params]
                if len(params) != len(function.params) or same != (handling.kind == "alias"):
                    raise TableError(f"handling.toml: {handling.stem} is no {handling.kind}")
