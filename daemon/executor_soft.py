"""softgpu's library, made ready for the engine, which opens the same copy of it."""

from __future__ import annotations

import ctypes

from tally.errors import NoDeviceError

from . import softgpu


def prepare(driver: str, refused: softgpu.Refused = None) -> None:
    """Load the library, and give it the compiler and the decompressor.

    refused: told of launches of kernels that cannot run. NoDeviceError if it is not the software
    GPU, or does not fit this compiler."""
    try:
        softgpu.install(ctypes.CDLL(driver), refused=refused)
    except (OSError, RuntimeError) as error:
        raise NoDeviceError(f"the software GPU cannot be used: {error}") from None


def compiling() -> bool:
    """Whether the compiler still works for a session that has ended."""
    return softgpu.apart.running()
