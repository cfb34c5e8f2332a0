"""Which instructions read memory so as to see what other threads write meanwhile.

One rule for the two who ask: which kernels may be stopped (scheduler/ptx/spin.py), and where
softgpu must let others go on (daemon/softgpu/analysis/waiting.py).
"""

from __future__ import annotations

from collections.abc import Collection

# Qualifiers of a load that goes past the caches in which a value could grow old, in any order.
STRONG = frozenset(("volatile", "relaxed", "acquire", "mmio", "cv", "cg"))
# Memory that no other block sees, or that nobody writes while the kernel runs.
PRIVATE = frozenset(("shared", "local", "const", "param"))


def is_strong_load(opcode: str, modifiers: Collection[str]) -> bool:
    """`ld.volatile`, `ld.global.acquire.gpu`, `ld.global.cg` and the like, in any space."""
    if opcode == "multimem":
        return "ld_reduce" in modifiers
    return opcode == "ld" and not STRONG.isdisjoint(modifiers)


def is_private(modifiers: Collection[str]) -> bool:
    """Whether the state space is one of the block's own. `.shared::cluster` is not."""
    return not PRIVATE.isdisjoint(modifiers) or "shared::cta" in modifiers


def split(opcode: str) -> tuple[str, list[str]]:
    """`ld.global.acquire.gpu.b32` as `ld` and the rest."""
    name, *modifiers = opcode.split(".")
    return name, modifiers
