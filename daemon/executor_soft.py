"""softgpu's compiler, as the address of a native function that the engine hands to the library."""

from __future__ import annotations

from . import softgpu


def compiler_address() -> int:
    """Of a softgpu_compile_fn. It stays valid for the life of the process."""
    return softgpu.compiler_address()
