"""The layout of native/softgpu/block/block.h, in numbers; `check` compares it with the library."""

from __future__ import annotations

HELPERS = ("access", "load", "store", "atom", "barrier", "trap", "yield", "print", "assert",
           "round", "divide", "clock", "mma", "ldmatrix", "fragment", "wmma", "mbarrier", "malloc",
           "free")  # fmt: skip

# Offsets in struct soft_warp.
FIELDS = {
    "params": 8,
    "globals": 16,
    "shared": 24,
    "region_base": 32,
    "region_limit": 40,
    "local_base": 48,
    "local_bytes": 56,
    "helpers_at": 64,
    "mask": 72,
    "index": 76,
    "ctaid": 80,
    "ntid": 92,
    "nctaid": 104,
    "tid": 116,
    "lanes": 128,
    "dynamic_shared": 136,
    "total_shared": 140,
    "sm": 144,
    "warp_count": 148,
    "grid_id": 152,
    "workspace": 168,
}
ENTRY_BYTES = 56
KERNEL_BYTES = 72

VARIANTS = ("row", "halves", "quarters", "any")
GROUPS = (32, 16, 8, 0)  # lanes in a row of threads, by variant
SHARED_WINDOW = 256 << 10
LOCAL_MAX = 512 << 10
FRAMES_LOCAL = 16 << 10
NEEDS_FIBERS = 1
KERNEL_WAITS = 1

SPACE_GENERIC = 0
SPACE_SHARED = 1

ERROR_ILLEGAL_INSTRUCTION = 715
ERROR_LAUNCH_FAILED = 719


def description() -> str:
    """What softgpuAbi() must say: helpers by name, for they are called by their places."""
    helpers = "".join(f"{name}," for name in HELPERS)
    fields = " ".join(f"{name}={offset}" for name, offset in FIELDS.items())
    return f"entry={ENTRY_BYTES} kernel={KERNEL_BYTES} helpers={helpers} {fields}"


def check(text: str) -> None:
    """Raise RuntimeError unless the library's layout is the one that this compiler knows."""
    if text != description():
        raise RuntimeError(f"softgpu's library does not fit this compiler: {text}")
