"""Types of options whose names people understand, in help and in errors."""

from __future__ import annotations

import click


class Integer(click.IntRange):
    """click calls it "integer range"."""

    name = "integer"


class Number(click.FloatRange):
    """click calls it "float range"."""

    name = "number"
