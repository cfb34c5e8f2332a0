"""Types of options whose names people understand, in help and in errors."""

from __future__ import annotations

import math
import re
from typing import Any

import click


class Integer(click.IntRange):
    """click calls it "integer range"."""

    name = "integer"


_SIZE = re.compile(r"(\d+(?:\.\d+)?) *(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)


class Size(click.ParamType[int]):
    """Bytes, as people write them: 8G, 512M, 1.5GiB, or a plain number."""

    name = "size"

    def __init__(self, least: int, greatest: int) -> None:
        self.least, self.greatest = least, greatest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(value.strip())
        if found is None:
            self.fail(f"{value!r} is not a size: write 8G, 512M or a number of bytes", param, ctx)
        size = int(float(found[1]) * 1024 ** " KMGT".index((found[2] or " ").upper()))
        if not self.least <= size <= self.greatest:
            self.fail(f"{value!r} is not from {self.least} to {self.greatest} bytes", param, ctx)
        return size


class Number(click.FloatRange):
    """click calls it "float range", and takes NaN for a number in any range."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return number
