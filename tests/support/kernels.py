"""Kernels for tests, in PTX: a file for each in tests/soft/kernels, put together as wanted."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "soft" / "kernels"

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"


def text(name: str) -> str:
    """The kernel or variable of this name, without the head that its file begins with."""
    whole = (FOLDER / f"{name}.ptx").read_text()
    assert whole.startswith(HEAD), f"{name}.ptx has another head than the rest"
    return whole.removeprefix(HEAD)


def image(*names: str) -> bytes:
    """A module of these, as it is loaded."""
    return (HEAD + "".join(map(text, names))).encode()
