"""nvcc's kernels on softgpu: results against numpy, faults against CUDA's error codes."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import toolchain
from support.soft_device import Array, Module, SoftDevice, SoftError, soft_device

pytestmark = pytest.mark.beside

SOURCE = Path(__file__).parents[1] / "programs" / "ptx_kernels.cu"
LANES = np.arange(32)
ILLEGAL_ADDRESS, MISALIGNED, TIMEOUT, FAILED = 700, 716, 702, 719


@pytest.fixture(scope="module")
def ptx() -> str:
    if toolchain.toolkit() is None:
        pytest.skip("no nvcc: pip install tally-gpu[test]")
    return toolchain.compile_ptx(SOURCE).read_text()


@pytest.fixture
def module(ptx: str) -> Module:
    return soft_device().load(ptx)


@pytest.fixture
def device() -> SoftDevice:
    return soft_device()


def zeros(count: int, dtype: Any = np.int32) -> Array:
    return np.zeros(count, dtype=dtype)


def run(
    module: Module, name: str, grid: Any, block: Any, *args: Any, shared: int = 0
) -> list[Array]:
    """Launch; arrays go in as buffers and come back as they are afterwards."""
    buffers = [module.device.buffer(a) if isinstance(a, np.ndarray) else a for a in args]
    module.launch(name, grid, block, *buffers, shared=shared)
    return [b.read() for b, a in zip(buffers, args, strict=True) if isinstance(a, np.ndarray)]


@pytest.mark.parametrize("delta", [1, 5, 16])
def test_shuffles(module: Module, delta: int) -> None:
    value = np.random.default_rng(delta).integers(0, 1 << 30, 32).astype(np.int32)
    _, out = run(module, "shuffles", (1,), (32,), value, zeros(224), delta)
    up, down, xor, index, eight, four, odd = out.reshape(7, 32)
    assert (up == value[np.where(LANES >= 3, LANES - 3, LANES)]).all()
    assert (down == value[np.where(LANES + delta < 32, LANES + delta, LANES)]).all()
    other = LANES ^ delta
    assert (xor == value[np.where(other // 16 <= LANES // 16, other, LANES)]).all()
    assert (index == value[(LANES * 7 + delta) & 31]).all()
    assert (eight == value[LANES // 8 * 8 + LANES * 3 % 8]).all()
    source = LANES - delta
    assert (four == value[np.where(source >= LANES // 4 * 4, source, LANES)]).all()
    inside = np.where(LANES + 2 < 32, LANES + 2, LANES)
    assert (odd == np.where(LANES % 2, value[inside], -value)).all()


def test_votes(module: Module) -> None:
    value = np.random.default_rng(1).integers(0, 1100, 32).astype(np.int32)
    _, out = run(module, "votes", (1,), (32,), value, zeros(256, np.uint32))
    rows = out.reshape(8, 32)

    def bits(condition: Array) -> int:
        return int(sum(1 << int(i) for i in np.flatnonzero(condition)))

    assert (rows[0] == bits(value & 1)).all()
    assert (rows[1] == int((value > 1000).any())).all()
    assert (rows[2] == 1).all()
    assert rows[3].tolist() == [bits((value & 3) == (v & 3)) for v in value]
    assert (rows[4] == 0).all()
    assert (rows[5] == value.sum()).all()
    assert (rows[6] == value.max()).all()
    assert rows[7].tolist() == [bits(value & 2) if v & 2 else 0 for v in value]


def test_barriers(module: Module) -> None:
    (out,) = run(module, "barriers", (1,), (256,), zeros(1024))
    sums = np.cumsum(np.arange(256))
    assert (out[:256] == sums).all()
    assert (out[256:512] == 86).all()
    assert (out[512:768] == 3).all()
    assert (out[768:832] == sums[63::-1]).all()


@pytest.mark.parametrize("n", [1, 31, 32, 40, 96, 128])
def test_exited_threads_count_as_arrived(module: Module, n: int) -> None:
    (out,) = run(module, "early_exit", (1,), (128,), zeros(128), n)
    assert (out[:n] == n).all()
    assert (out[n:] == 0).all()


def test_atomics(module: Module) -> None:
    n = 1000
    value = np.random.default_rng(2).integers(-500, 500, n).astype(np.int32)
    start = zeros(32)
    start[3] = -1
    _, i, f, d, u = run(module, "atomics", (8,), (128,), value, start, zeros(1, np.float32),
                        zeros(1, np.float64), zeros(2, np.uint64), n)  # fmt: skip
    assert i[0] == value.sum()
    assert i[1] == value.min()
    assert i[2] == value.max()
    assert i[3] == np.bitwise_and.reduce(value | 0xFF00)
    assert i[4] == np.bitwise_or.reduce(value & 0xFF)
    assert i[5] == np.bitwise_xor.reduce(value)
    assert i[6] == n % 100
    assert i[7] == (-n) % 100
    assert i[8] == -value.sum()
    assert i[9] == value.sum()
    assert (i[16:] == np.bincount(value & 15, minlength=16)).all()
    assert f[0] == n
    assert d[0] == n / 2
    assert int(u[0]) == int(value.astype(np.int64).sum()) % (1 << 64)
    assert int(u[1]) == int(value.view(np.uint32).max()) << 20


def test_histogram(module: Module) -> None:
    data = np.random.default_rng(3).integers(0, 256, 20000).astype(np.uint8)
    _, out = run(module, "histogram", (6,), (256,), data, zeros(256), len(data))
    assert (out == np.bincount(data, minlength=256)).all()


@pytest.mark.parametrize("stride", [1, 3])
def test_vectors(module: Module, stride: int) -> None:
    n = 300
    a = np.arange(4 * n * stride, dtype=np.float32).reshape(-1, 4)
    b = np.arange(2 * n, dtype=np.float64).reshape(-1, 2)
    result = run(module, "vectors", (3,), (128,), a, b, np.zeros((n, 4), np.float32),
                 np.zeros((n, 2)), stride, n)  # fmt: skip
    assert (result[2] == a[::stride][:n, ::-1]).all()
    assert (result[3] == b[::-1, ::-1]).all()


def test_calls(module: Module) -> None:
    out, wide = run(module, "calls", (1,), (32,), zeros(96), zeros(32, np.float64))
    fibonacci = [0, 1]
    while len(fibonacci) < 10:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    assert out[:32].tolist() == [fibonacci[t % 10] if t < 20 else -t for t in range(32)]
    assert out[32:64].tolist() == [t * t if t % 2 else 2 * t for t in range(32)]
    k = 1 + LANES % 4
    assert (out[64:] == LANES * k + 1000 * LANES * ((4 + k) % 5)).all()
    assert np.allclose(wide, LANES / k)


def test_local_arrays(module: Module) -> None:
    n, threads = 25, 80
    (out,) = run(module, "local_arrays", (1,), (threads,), zeros(threads), n)
    for t in range(threads):
        a = [i * (t + 1) for i in range(40)]
        for i in range(n):
            j, k = (i * 7 + t) % 40, (i * 11 + 3) % 40
            a[j], a[k] = a[k], a[j]
        assert out[t] == sum(v * i for i, v in enumerate(a)), t


def test_spaces(module: Module) -> None:
    (out,) = run(module, "spaces", (1,), (32,), zeros(96))
    wanted = [[600, 4 * t + 6, 100, 10][t % 4] for t in range(32)]
    assert out[:32].tolist() == wanted
    assert out[32:64].tolist() == [[1, 2, 4, 4][t % 4] for t in range(32)]
    assert out[64:].tolist() == [[20, 30, 40][t % 3] for t in range(32)]


@pytest.mark.parametrize("n", [10, 5000])
def test_dynamic_shared(module: Module, n: int) -> None:
    data = np.arange(n, dtype=np.int32)
    _, out = run(module, "dynamic", (2,), (96,), data, zeros(n), n, shared=4 * n)
    assert (out == data[::-1]).all()


@pytest.mark.parametrize("tile", [8, 12, 16, 32])
def test_matmul(module: Module, tile: int) -> None:
    n = tile * 3
    rng = np.random.default_rng(tile)
    a, b = (rng.integers(-8, 8, (n, n)).astype(np.float32) for _ in range(2))
    result = run(module, f"matmul{tile}", (3, 3), (tile, tile), a, b, np.zeros_like(a), n)
    assert (result[2] == a @ b).all()


def test_cub_sort_and_scan(module: Module) -> None:
    keys = np.random.default_rng(4).integers(-(1 << 31), 1 << 31, 512).astype(np.int32)
    _, out = run(module, "sort", (1,), (128,), keys, zeros(640))
    assert (out[:512] == np.sort(keys)).all()
    assert (out[512:] == np.cumsum(np.arange(128))).all()


def test_halves(module: Module) -> None:
    n = 100
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal((n, 2)).astype(np.float16) for _ in range(2))
    x = (rng.standard_normal((n, 2)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    result = run(module, "halves", (1,), (128,), a, b, np.zeros_like(a), x, np.zeros_like(x), n)
    wide = a.astype(np.float64) * b.astype(np.float64)
    exponent = np.exp2(b.astype(np.float64)).astype(np.float16)
    wanted = (wide + (a + exponent).astype(np.float64)).astype(np.float16)
    assert np.allclose(
        result[2].astype(np.float64), wanted.astype(np.float64), rtol=2e-3, atol=2e-3
    )
    values = (x.astype(np.uint32) << 16).view(np.float32) * np.float32(1.5)
    bits = values.view(np.uint32)
    assert (result[4] == (bits + 0x7FFF + (bits >> 16 & 1)) >> 16).all()


def test_math(module: Module) -> None:
    n = 200
    v = (np.random.default_rng(6).standard_normal(n) * 8).astype(np.float32)
    _, out, wide = run(
        module, "math", (1,), (256,), v, zeros(8 * n, np.float32), zeros(4 * n, np.float64), n
    )
    d = v.astype(np.float64)
    a = np.abs(d)
    erf = np.vectorize(__import__("math").erf)
    wanted = [
        np.sin(d),
        np.exp(d),
        np.log(a),
        a**1.7,
        np.tanh(d),
        erf(d),
        1 / np.sqrt(a),
        np.fmod(d, float(np.float32(0.7))),
    ]
    for got, want in zip(out.reshape(8, n), wanted, strict=True):
        assert np.allclose(got, want, rtol=2e-6, atol=1e-6)
    for got, want in zip(
        wide.reshape(4, n), [np.sin(d), np.exp(d), np.log(a), np.cbrt(d)], strict=True
    ):
        assert np.allclose(got, want, rtol=1e-14, atol=1e-15)


def test_divisions(module: Module) -> None:
    rng = np.random.default_rng(7)
    n = 200
    a, b = (rng.integers(-(1 << 62), 1 << 62, n) >> rng.integers(0, 60, n) for _ in range(2))
    b[b == 0] = 1
    _, _, out = run(module, "divisions", (1,), (256,), a, b, zeros(4 * n, np.int64), n)
    quotient, rest, short, high = out.reshape(4, n)

    def signed(value: int, bits: int) -> int:
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value

    for i, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        q = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        assert quotient[i] == q
        assert rest[i] == x - q * y
        assert short[i] == (x & 0xFFFFFFFF) // ((y | 1) & 0xFFFFFFFF)
        mulhi = signed(x, 32) * signed(y, 32) >> 32
        umul64 = (x % (1 << 64)) * (y % (1 << 64)) >> 64
        assert high[i] == signed(mulhi + umul64, 64)


def test_printf(module: Module, capfd: pytest.CaptureFixture[str]) -> None:
    module.launch("printing", (1,), (32,), 7)
    assert capfd.readouterr().out == (
        "7|    7|7    |00007|7|11f71fb04cb|x|text|   1.500|2.500000e-01|%|     7\n"
    )


def test_lock_between_blocks(module: Module) -> None:
    _, counter = run(module, "lock", (8,), (128,), zeros(1), zeros(1))
    assert counter[0] == 32


def test_lock_between_lanes(module: Module) -> None:
    _, counter, out = run(module, "lock_every_thread", (3,), (64,), zeros(1), zeros(1), zeros(64))
    assert counter[0] == 192
    assert (out == 1).all()


def test_lanes_wait_for_lanes(module: Module) -> None:
    _, out = run(module, "lanes_wait_for_lanes", (1,), (64,), zeros(64), zeros(64))
    assert (out == np.arange(1, 65)).all()


def test_warps_wait_for_each_other_without_a_barrier(module: Module) -> None:
    (out,) = run(module, "flag_between_warps", (2,), (64,), zeros(32))
    assert (out == 42).all()


def test_mma(module: Module) -> None:
    rng = np.random.default_rng(8)
    a = rng.standard_normal((16, 16)).astype(np.float16)
    b = rng.standard_normal((16, 8)).astype(np.float16)
    _, _, c = run(module, "wmma_half", (1,), (32,), a, b, np.zeros((16, 8), np.float32))
    assert np.allclose(c, a.astype(np.float32) @ b.astype(np.float32), atol=1e-4)


def test_async_copy(module: Module) -> None:
    data = np.arange(256, dtype=np.int32).reshape(64, 4)
    _, out = run(module, "async_copy", (1,), (64,), data, np.zeros_like(data))
    assert (out == data[::-1]).all()


def test_cooperative_groups(module: Module) -> None:
    (out,) = run(module, "groups", (1,), (64,), zeros(128))
    t = np.arange(64)
    assert (out[:64] == t // 8 * 64 + 28).all()
    for warp in range(2):
        active = [i for i in range(32 * warp, 32 * warp + 32) if i % 3 == 0]
        for rank, thread in enumerate(active):
            assert out[64 + thread] == 100 * rank + len(active)


def test_scatter(module: Module) -> None:
    where = np.random.default_rng(9).permutation(128).astype(np.int32)
    out, _ = run(module, "scatter", (1,), (128,), zeros(128), where, 128)
    assert (out[where] == np.arange(128)).all()


@pytest.mark.parametrize(
    ("name", "block", "arguments", "error"),
    [
        ("deadlock", 64, (), TIMEOUT),
        ("trap", 64, (40,), FAILED),
        ("store_at", 1, ((0, "q"),), ILLEGAL_ADDRESS),
        ("store_at", 1, ((0x7FFF12345678, "q"),), ILLEGAL_ADDRESS),
        ("store_at", 1, ((0x200000000002, "q"),), MISALIGNED),
        ("store_at", 1, ((0x200FFFFFFFFC, "q"),), ILLEGAL_ADDRESS),
        ("store_at", 1, ((-4, "q"),), ILLEGAL_ADDRESS),
    ],
)
def test_faults(module: Module, name: str, block: int, arguments: Any, error: int) -> None:
    device = module.device
    with pytest.raises(SoftError) as caught:
        module.launch(name, (1,), (block,), *arguments)
    assert caught.value.result == error
    device.reset()


@pytest.mark.parametrize("block", [32, 128])
def test_an_endless_kernel_is_interrupted(ptx: str, block: int) -> None:
    """Destroying its tenant stops it: alone in a block, and as one of several warps, at any point
    of their turns."""
    device = soft_device()
    for _ in range(20):
        tenant = ctypes.c_uint32()
        device.call("softgpuTenantCreate", ctypes.byref(tenant))
        device.call("softgpuTenantSet", tenant)
        try:
            device.retain()
            flag = device.buffer(zeros(1))
            device.load(ptx).start("forever", (1,), (block,), flag)
        finally:
            device.call("softgpuTenantSet", 0)
            device.call("softgpuTenantDestroy", tenant)
    test_a_module_works_after_faults(ptx)


def test_endless_recursion_is_a_fault(module: Module) -> None:
    device = module.device
    out = device.buffer(zeros(64))
    with pytest.raises(SoftError) as caught:
        module.launch("deep_recursion", (1,), (64,), out, 1 << 30)
    assert caught.value.result in (FAILED, ILLEGAL_ADDRESS)
    device.reset()


def test_a_module_works_after_faults(ptx: str) -> None:
    module = soft_device().load(ptx)
    (out,) = run(module, "early_exit", (1,), (64,), zeros(64), 64)
    assert (out == 64).all()


def test_deep_recursion(module: Module) -> None:
    (out,) = run(module, "deep_recursion", (1,), (40,), zeros(40), 12)
    assert (out == 78).all()
