"""Warp matrices (wmma): all shapes and types that nvcc emits for sm_80, against numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support import toolchain
from support.soft_device import Module, soft_device

SOURCE = Path(__file__).with_name("wmma_kernels.cu")
SCALE = 2

pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(toolchain.toolkit() is None, reason="needs nvcc"),
]

KERNELS = [
    *(f"{kind}_{shape}" for kind in ("f16", "half", "bf16", "s8", "u8")
      for shape in ("m16n16k16", "m8n32k16", "m32n8k16")),
    "tf32_m16n16k8", "f64_m8n8k4",
]  # fmt: skip
OUTPUTS: dict[str, Any] = {"half": np.float16, "s8": np.int32, "u8": np.int32, "f64": np.float64}


@pytest.fixture(scope="module")
def module() -> Module:
    return soft_device().load_image(toolchain.compile_fatbin(SOURCE).read_bytes())


def bfloat(values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def in_memory(kind: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Small integers, which every type holds exactly."""
    if kind == "bf16":
        return bfloat(values)
    types = {"f16": np.float16, "half": np.float16, "tf32": np.float32, "f64": np.float64}
    return values.astype(types.get(kind, np.int8 if kind == "s8" else np.uint8))


@pytest.mark.parametrize("layout", ["row", "col"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_products(module: Module, kernel: str, layout: str) -> None:
    kind, _, shape = kernel.partition("_")
    m, rest = shape[1:].split("n")
    rows, (columns, depth) = int(m), map(int, rest.split("k"))
    rng = np.random.default_rng(len(kernel))
    low = 0 if kind == "u8" else -8
    a = rng.integers(low, 8, (rows, depth))
    b = rng.integers(low, 8, (depth, columns))
    output = OUTPUTS.get(kind, np.float32)
    c = rng.integers(-8, 8, (rows, columns)).astype(output)
    device = soft_device()
    buffers = [
        device.buffer(in_memory(kind, x if layout == "row" else x.T).ravel()) for x in (a, b)
    ]
    addend, result = device.buffer(c), device.buffer(np.zeros_like(c))
    module.launch(f"{kernel}_{layout}", [1], [32], *buffers, addend, result)
    expected = (SCALE * (a @ b)).astype(output) + c
    assert (result.read() == expected).all()


@pytest.mark.parametrize(("kernel", "bits"), [("s4", 4), ("u4", 4), ("b1_xor", 1), ("b1_and", 1)])
def test_products_of_parts_of_bytes(module: Module, kernel: str, bits: int) -> None:
    depth = 32 if bits == 4 else 128
    rng = np.random.default_rng(bits)
    a, b = (rng.integers(0, 1 << bits, (8, depth)).astype(np.uint8) for _ in range(2))

    def packed(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
        flat = values.reshape(-1, 32 // bits).astype(np.uint64)
        shifts = np.arange(32 // bits, dtype=np.uint64) * np.uint64(bits)
        words: npt.NDArray[np.uint32] = (flat << shifts).sum(axis=1).astype(np.uint32)
        return words

    x, y = a.astype(np.int64), b.astype(np.int64)
    if kernel == "s4":
        x, y = (np.where(v > 7, v - 16, v) for v in (x, y))
    if bits == 1:
        pairs = x[:, None, :] ^ y[None] if kernel == "b1_xor" else x[:, None, :] & y[None]
        product = pairs.sum(axis=2)
    else:
        product = x @ y.T
    c = rng.integers(-99, 99, (8, 8)).astype(np.int32)
    device = soft_device()
    result = device.buffer(np.zeros_like(c))
    module.launch(
        kernel, [1], [32], device.buffer(packed(a)), device.buffer(packed(b)), device.buffer(c),
        result,
    )  # fmt: skip
    assert (result.read() == product + c).all()


def test_many_products_in_one_function(module: Module) -> None:
    """Each has a few KiB of slots on a warp's stack: the next one has the same."""
    rng = np.random.default_rng(3)
    a = rng.integers(-4, 4, (16, 16 * 160)).astype(np.float16)
    b = rng.integers(-4, 4, (16 * 160, 16)).astype(np.float16)
    device = soft_device()
    result = device.buffer(np.zeros((4, 16, 16), np.float32))
    module.launch("many", [1], [128], device.buffer(a), device.buffer(b), result)
    assert (result.read() == a.astype(np.float32) @ b.astype(np.float32)).all()
