"""CUDA's device runtime (libcudadevrt), which is machine code: softgpu has none of it."""

from __future__ import annotations

_LAUNCHES = "cudaLaunchDevice", "cudaGetParameterBuffer", "cudaGraphLaunch", "cudaCDP"


def has(name: str) -> bool:
    """Whether a function is one of its."""
    return "cuda" in name


def refusal(name: str) -> str:
    """Why a function of it cannot be called."""
    if name.startswith(_LAUNCHES) or "cudaDevice" in name or "cudaStream" in name:
        return f"it launches kernels from the device ('{name[:60]}'), which softgpu cannot"
    return f"it calls the device runtime ('{name[:60]}'), which softgpu has not"
