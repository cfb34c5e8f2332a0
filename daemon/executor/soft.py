"""softgpu's library, made ready for the engine, which opens the same copy of it."""

from __future__ import annotations

import ctypes

from tally.config import default_of
from tally.errors import NoDeviceError

from .. import softgpu
from ..workers import Pool


def prepare(
    driver: str,
    pool: Pool | None = None,
    bytes_max: int = default_of("code_cache_bytes_max"),
    refused: softgpu.Refused = None,
) -> None:
    """Load the library, and give it the compiler and the decompressor.

    refused: told of launches of kernels that cannot run. NoDeviceError if it is not the software
    GPU, or does not fit this compiler."""
    try:
        softgpu.install(ctypes.CDLL(driver), pool, bytes_max=bytes_max, refused=refused)
    except (OSError, RuntimeError) as error:
        raise NoDeviceError(f"the software GPU cannot be used: {error}") from None
