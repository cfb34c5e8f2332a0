"""Types of options whose names people understand, in help and in errors."""

from __future__ import annotations

import math
from typing import Any

import click


class Integer(click.IntRange):
    """click calls it "integer range"."""

    name = "integer"


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
