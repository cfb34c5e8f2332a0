"""Triton's kernels as PTX, compiled without a GPU: what its users write, in small."""

# ruff: noqa: N803
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from support.preempting import Case, floats, words, zeros


@triton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) + tl.load(y + i, mask=i < n), mask=i < n)


@triton.jit
def softmax(x, out, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    value = tl.load(x + row * columns + i, mask=i < columns, other=-float("inf"))
    value = tl.exp(value - tl.max(value, axis=0))
    tl.store(out + row * columns + i, value / tl.sum(value, axis=0), mask=i < columns)


@triton.jit
def layer_norm(x, out, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    value = tl.load(x + row * columns + i, mask=i < columns, other=0.0)
    centred = tl.where(i < columns, value - tl.sum(value, axis=0) / columns, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, axis=0) / columns + 1e-5)
    tl.store(out + row * columns + i, centred * scale, mask=i < columns)


@triton.jit
def product(a, b, c, n, TILE: tl.constexpr):
    """Half precision on tensor cores, accumulated in float32."""
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inner = tl.arange(0, TILE)
    total = tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, n, TILE):
        left = tl.load(a + rows[:, None] * n + (start + inner)[None, :])
        right = tl.load(b + (start + inner)[:, None] * n + columns[None, :])
        total += tl.dot(left, right)
    tl.store(c + rows[:, None] * n + columns[None, :], total)


@triton.jit
def histogram(x, bins, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(bins + (tl.load(x + i, mask=i < n, other=0) & 63), 1, mask=i < n)


@triton.jit
def running_sums(x, out, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.cumsum(tl.load(x + i), axis=0))


@triton.jit
def last_block_sum(x, partial, arrived, out, n, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    block = tl.program_id(0)
    i = block * BLOCK + tl.arange(0, BLOCK)
    tl.store(partial + block, tl.sum(tl.load(x + i, mask=i < n, other=0.0), axis=0))
    if tl.atomic_add(arrived, 1) == tl.num_programs(0) - 1:
        all_of_them = tl.load(partial + tl.arange(0, BLOCKS), volatile=True)
        tl.store(out, tl.load(out) + tl.sum(all_of_them, axis=0))


_SIGNATURES: dict[str, tuple[Any, dict[str, str], dict[str, int]]] = {
    "add": (add, {"x": "*fp32", "y": "*fp32", "out": "*fp32", "n": "i32"}, {"BLOCK": 128}),
    "softmax": (softmax, {"x": "*fp32", "out": "*fp32", "columns": "i32"}, {"BLOCK": 256}),
    "layer_norm": (layer_norm, {"x": "*fp32", "out": "*fp32", "columns": "i32"}, {"BLOCK": 256}),
    "product": (
        product,
        {"a": "*fp16", "b": "*fp16", "c": "*fp32", "n": "i32"},
        {"TILE": 32},
    ),
    "histogram": (histogram, {"x": "*i32", "bins": "*i32", "n": "i32"}, {"BLOCK": 256}),
    "running_sums": (running_sums, {"x": "*i32", "out": "*i32"}, {"BLOCK": 256}),
    "last_block_sum": (
        last_block_sum,
        {"x": "*fp32", "partial": "*fp32", "arrived": "*i32", "out": "*fp32", "n": "i32"},
        {"BLOCK": 128, "BLOCKS": 64},
    ),
}  # fmt: skip
NAMES = list(_SIGNATURES)
SCRATCH = (0, "Q")  # Triton's own two last parameters: memory that these kernels do not use


@cache
def compiled(name: str, capability: int) -> Any:
    """Triton's compiled kernel for a GPU of that compute capability."""
    function, signature, constants = _SIGNATURES[name]
    types = signature | dict.fromkeys(constants, "constexpr")
    source = ASTSource(function, signature=types, constexprs=dict(constants))
    # PTX of a version that the toolkit's ptxas takes as well, where the architecture allows it.
    options = {"ptx_version": 80} if capability < 90 else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def _halves(rng: np.random.Generator, side: int) -> Any:
    return rng.standard_normal((side, side)).astype(np.float16)


def case(name: str) -> Case:
    """A launch of the kernel for 8.0."""
    kernel = compiled(name, 80)
    threads = (kernel.metadata.num_warps * 32,)
    grid, arguments = {
        "add": ((40,), lambda r: [floats(r, 5000), floats(r, 5000), floats(r, 5000), 5000]),
        "softmax": ((37,), lambda r: [floats(r, 37, 200), floats(r, 37, 200), 200]),
        "layer_norm": ((37,), lambda r: [floats(r, 37, 200), floats(r, 37, 200), 200]),
        "product": ((6, 6), lambda r: [_halves(r, 192), _halves(r, 192), floats(r, 192, 192), 192]),
        "histogram": ((40,), lambda r: [words(r, 10_000), zeros(64), 10_000]),
        "running_sums": ((40,), lambda r: [words(r, 10_240), zeros(10_240)]),
        "last_block_sum": (
            (50,),
            lambda r: [floats(r, 6400), zeros(64), zeros(1), floats(r, 1), 6400],
        ),
    }[name]
    shared = int(kernel.metadata.shared)
    return Case(name, grid, threads, lambda r: [*arguments(r), SCRATCH, SCRATCH], shared)
