"""PTX's text to ir.Module."""

from __future__ import annotations

from tally.scheduler.ptx.link import link, split
from tally.scheduler.ptx.module import RewriteError

from ...errors import PtxError
from ...ir import Module
from .check import check
from .parse import parse


def read(text: str) -> Module:
    """Parse and check. The text may be several modules, one behind the other: they are linked.

    Raises PtxError for what is no PTX; what is, and cannot be compiled, is noted at its function.
    """
    try:
        module = parse(link(split(text)))
    except RewriteError as error:
        raise PtxError(0, str(error)) from None
    check(module)
    return module
