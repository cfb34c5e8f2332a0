"""One instruction at a time: a kernel per case, run on random and edge operands, varying and
uniform.

A case is a line of PTX with {d} for the result, {a} {b} {c} for sources, and a function on numpy
arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from support.soft_device import Array, SoftDevice

LANES = 32
WORDS = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SCALARS: dict[str, Any] = {
    "u8": np.uint8, "s8": np.int8, "u16": np.uint16, "s16": np.int16, "u32": np.uint32,
    "s32": np.int32, "u64": np.uint64, "s64": np.int64, "b16": np.uint16, "b32": np.uint32,
    "b64": np.uint64, "f16": np.float16, "f32": np.float32, "f64": np.float64,
    "bf16": np.uint16, "f16x2": np.uint32, "bf16x2": np.uint32,
}  # fmt: skip
INT_EDGES = [0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 127, 128, 255, 0x7FFF, 0x8000, 0xFFFF, 0x10000,
             0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF,
             0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF00000001]  # fmt: skip
FLOAT_EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, 1e-3, 255.5, 65504.0, 65519.0,
               65520.0, 1e6, -1e6, 2147483647.0, 2147483648.0, -2147483648.0, 4294967295.0, 1e10,
               9.3e18, 1.9e19, -1e19, 6e-8, 3e-8, 1e-38, 1e-40, -1e-44, 3.4e38, float("inf"),
               float("-inf"), float("nan")]  # fmt: skip


@dataclass(frozen=True)
class Case:
    text: str
    sources: tuple[str, ...]
    result: str
    reference: Callable[..., Array]
    ulp: float = 0.0  # how far a float result may be off
    absolute: float = 0.0

    @property
    def title(self) -> str:
        return self.text.split(";")[0].replace(" ", "_").replace("{", "").replace("}", "")


def operands(kind: str, count: int, seed: int) -> Array:
    """Edge values first, then random ones; shuffled by seed so that pairs mix."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(SCALARS[kind])
    if kind in ("f16", "f32", "f64"):
        with np.errstate(all="ignore"):
            edges = np.array(FLOAT_EDGES).astype(dtype)
            scale = rng.standard_normal(count) * 2.0 ** rng.integers(-12, 12, count)
            values = scale.astype(dtype)
    elif kind in ("bf16", "f16x2", "bf16x2"):
        edges = np.array([], dtype=dtype)
        values = rng.integers(0, 1 << dtype.itemsize * 8, count, dtype=np.uint64).astype(dtype)
    else:
        bits = dtype.itemsize * 8
        word = WORDS[bits]
        edges = np.array([e & ((1 << bits) - 1) for e in INT_EDGES], dtype=word).view(dtype)
        values = (
            rng.integers(0, 1 << bits, count, dtype=np.uint64, endpoint=False)
            if bits < 64
            else rng.integers(0, 1 << 63, count, dtype=np.uint64) * 2 + 1
        )
        values = values.astype(word).view(dtype)
        small = rng.integers(0, 70, count).astype(word).view(dtype)
        values = np.where(rng.random(count) < 0.4, small, values)
    picked = rng.integers(0, max(len(edges), 1), count)
    if len(edges):
        values = np.where(rng.random(count) < 0.4, edges[picked], values)
    return np.asarray(values, dtype=dtype)


def bits_of(kind: str) -> int:
    return int(np.dtype(SCALARS[kind]).itemsize * 8)


def kernel(name: str, case: Case) -> str:
    """Thread i computes case(a[i], b[i], c[i]); then all of warp w case(a[w], b[w], c[w])."""
    count = len(case.sources)
    regs, loads = [], []
    for i, kind in enumerate(case.sources):
        width = bits_of(kind)
        register = max(width, 16)
        regs.append(f".reg .b{register} %s{i};")
        loads.append(f"ld.param.u64 %p, [{name}_{i}]; mad.wide.u32 %p, %i, {width // 8}, %p; "
                     f"ld.global.b{width} %s{i}, [%p];")  # fmt: skip
    out = bits_of(case.result)
    names = {k: f"%s{i}" for i, k in enumerate("abc"[:count])}
    body = case.text.format(d="%d", t="%t", q="%q", q2="%q2", **names)
    store = (f"ld.param.u64 %p, [{name}_{count}]; mad.wide.u32 %p, %o, {out // 8}, %p; "
             f"st.global.b{out} [%p], %d;")  # fmt: skip
    params = ", ".join(f".param .u64 {name}_{i}" for i in range(count + 1))
    return f"""
.visible .entry {name}({params})
{{
    .reg .b64 %p, %t64; .reg .b32 %i, %o, %w, %n, %t; .reg .b{max(out, 16)} %d;
    .reg .pred %q, %q2;
    {" ".join(regs)}
    mov.u32 %w, %ctaid.x; mov.u32 %i, %tid.x; mad.lo.u32 %i, %w, 32, %i; mov.u32 %o, %i;
    {" ".join(loads)}
    {body}
    {store}
    mov.u32 %i, %ctaid.x; mov.u32 %n, %nctaid.x; mad.lo.u32 %o, %n, 32, %o;
    {" ".join(loads)}
    {body}
    {store}
    ret;
}}
"""


def module_text(cases: list[Case], target: str = "sm_80") -> str:
    """The device's own target; ptxas knows some of the instructions from sm_90 on only."""
    head = f".version 8.6\n.target {target}\n.address_size 64\n"
    return head + "".join(kernel(f"k{i}", case) for i, case in enumerate(cases))


def run_case(device: SoftDevice, module: Any, index: int, case: Case, warps: int = 16) -> None:
    """Compare varying and uniform results with the reference."""
    count = warps * LANES
    inputs = [operands(kind, count, 100 * index + i) for i, kind in enumerate(case.sources)]
    out = np.zeros(2 * count, dtype=SCALARS[case.result])
    buffers = [device.buffer(x) for x in inputs]
    result = device.buffer(out)
    module.launch(f"k{index}", (warps,), (LANES,), *buffers, result)
    got = result.read()
    for buffer in (*buffers, result):
        buffer.free()
    with np.errstate(all="ignore"):
        uniform = [np.repeat(x[:warps], LANES) for x in inputs]
        pairs = ((inputs, got[:count], "varying"), (uniform, got[count:], "uniform"))
        for sources, have, how in pairs:
            wanted = np.asarray(case.reference(*sources)).astype(SCALARS[case.result])
            _compare(case, sources, have, wanted, how)


def _compare(case: Case, sources: list[Array], have: Array, wanted: Array, how: str) -> None:
    good = _close(have, wanted, case) if have.dtype.kind == "f" else have == wanted
    if not good.all():
        at = int(np.argmin(good))
        shown = [repr(s[at]) for s in sources]
        raise AssertionError(
            f"{case.text} ({how}) of {', '.join(shown)}: {have[at]!r}, expected {wanted[at]!r}; "
            f"{int((~good).sum())} wrong"
        )


def _close(have: Array, wanted: Array, case: Case) -> npt.NDArray[np.bool_]:
    same = (have == wanted) & (np.signbit(have) == np.signbit(wanted))
    same |= np.isnan(have) & np.isnan(wanted)
    if case.ulp or case.absolute:
        with np.errstate(all="ignore"):
            error = np.abs(have.astype(np.float64) - wanted.astype(np.float64))
            same |= error <= case.ulp * np.spacing(np.abs(wanted)).astype(np.float64)
            same |= error <= case.absolute
    return np.asarray(same, dtype=np.bool_)
