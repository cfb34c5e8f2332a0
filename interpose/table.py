"""The table itself: what CUDA's header declares, as committed in driver_api.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TABLE_PATH = HERE / "driver_api.json"


class TableError(Exception):
    """The header, the table or its annotations contradict one another."""


@dataclass(frozen=True)
class Param:
    """One parameter: `decl` is its C declaration, `type` the same without the name."""

    name: str
    type: str
    decl: str

    @property
    def is_pointer(self) -> bool:
        return self.type.endswith("*")

    @property
    def pointee(self) -> str:
        """Type that a pointer parameter points to, without `const`."""
        return self.type.removesuffix("*").strip().removeprefix("const ").strip()

    @property
    def is_const_pointer(self) -> bool:
        return self.is_pointer and self.type.startswith("const ")


@dataclass(frozen=True)
class Function:
    """One exported symbol.

    `base` is the name that programs ask cuGetProcAddress for, `introduced` the first CUDA version
    (major * 1000 + minor * 10) for which that request means this symbol, `suffix` is "", "_ptds"
    or "_ptsz" (the last two: the per-thread default stream).
    """

    symbol: str
    base: str
    introduced: int
    suffix: str
    params: tuple[Param, ...]

    @property
    def stem(self) -> str:
        """The symbol without its per-thread suffix: the name that handling is declared for."""
        return self.symbol.removesuffix(self.suffix)

    @property
    def prototype_params(self) -> str:
        return ", ".join(p.decl for p in self.params) or "void"

    @property
    def call_args(self) -> str:
        return ", ".join(p.name for p in self.params)


@dataclass(frozen=True)
class Table:
    """All of the driver API: types as C text in order, integer macros, results, functions."""

    cuda_version: int
    types: tuple[str, ...]
    constants: dict[str, str]
    results: dict[str, int]
    functions: tuple[Function, ...]

    def __iter__(self) -> Iterator[Function]:
        return iter(self.functions)

    def stems(self) -> dict[str, Function]:
        """One function per stem: the variant with the legacy default stream."""
        return {f.symbol: f for f in self.functions if not f.suffix}

    def per_thread(self) -> dict[str, Function]:
        """The per-thread variant of each stem that has one."""
        return {f.stem: f for f in self.functions if f.suffix}

    def to_json(self) -> str:
        data = asdict(self)
        return json.dumps(data, indent=1) + "\n"


def from_json(text: str) -> Table:
    data: dict[str, Any] = json.loads(text)
    functions = tuple(
        Function(**{**f, "params": tuple(Param(**p) for p in f["params"])})
        for f in data["functions"]
    )
    return Table(
        cuda_version=data["cuda_version"],
        types=tuple(data["types"]),
        constants=data["constants"],
        results=data["results"],
        functions=functions,
    )


def load(path: Path = TABLE_PATH) -> Table:
    return from_json(path.read_text())
