"""Floating-point instructions and conversions of softgpu's compiler.

IEEE operations bit for bit; approximations within the errors that the PTX ISA documents.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from support.soft_device import Array, soft_device
from support.toolchain import assemble

from .cases import Case, module_text, run_case

pytestmark = pytest.mark.beside

CASES: list[Case] = []


def case(
    text: str, sources: str, result: str, reference: Any, ulp: float = 0, absolute: float = 0
) -> None:
    CASES.append(Case(text, tuple(sources.split()), result, reference, ulp, absolute))


def flush(x: Array) -> Array:
    return np.where(np.abs(x) < np.float32(2.0**-126), np.copysign(np.float32(0), x), x)


def saturate(x: Array) -> Array:
    return np.asarray(np.where(np.isnan(x), 0, np.clip(x, 0, 1)) + x.dtype.type(0))


def minimum(a: Array, b: Array, sign: int) -> Array:
    """PTX's min (sign 1) and max (-1): numbers before NaN, -0 below +0."""
    pick = np.where(sign * a < sign * b, a, b)
    zero = (a == 0) & (b == 0)
    negative = (np.signbit(a) | np.signbit(b)) if sign > 0 else (np.signbit(a) & np.signbit(b))
    pick = np.where(zero, np.where(negative, -0.0, 0.0).astype(a.dtype), pick)
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, pick))


def fma_exact(a: Array, b: Array, c: Array, rounding: Any) -> Array:
    """a*b + c with one rounding, through rational numbers where all is finite."""

    def one(x: float, y: float, z: float) -> float:
        if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
            return float(x) * float(y) + float(z)
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        if exact == 0:
            return float(x) * float(y) + float(z)
        return float(rounding(exact))

    rows = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    return np.array([one(*row) for row in rows])


def round_to(bits: int, smallest: int, largest: float, direction: str = "rn") -> Any:
    """Rounding of an exact number to a float format: mantissa bits, exponent of the last place of
    subnormals, largest finite value."""

    def apply(exact: Fraction) -> float:
        magnitude = abs(exact)
        exponent = math.floor(math.log2(magnitude)) if magnitude > 0 else smallest
        while Fraction(2) ** exponent > magnitude:
            exponent -= 1
        while Fraction(2) ** (exponent + 1) <= magnitude:
            exponent += 1
        unit = Fraction(2) ** max(exponent - bits + 1, smallest)
        scaled = exact / unit
        whole = {
            "rn": lambda: round(scaled),
            "rz": lambda: math.trunc(scaled),
            "rm": lambda: math.floor(scaled),
            "rp": lambda: math.ceil(scaled),
        }[direction]()
        value = whole * unit
        if abs(value) > Fraction(largest):
            toward_zero = direction == "rz" or (direction == "rm") == (exact > 0)
            if direction != "rn" and toward_zero:
                return math.copysign(largest, exact)
            return math.copysign(math.inf, exact)
        return math.copysign(float(abs(value)), exact)

    return apply


F32 = (24, -149, float(np.finfo(np.float32).max))
F64 = (53, -1074, float(np.finfo(np.float64).max))
F16 = (11, -24, 65504.0)
BF16 = (8, -133, float(np.uint32(0x7F7F0000).view(np.float32)))


def exactly(operation: Any, fallback: Any, form: tuple[int, int, float], direction: str) -> Any:
    rounding = round_to(*form, direction)

    def one(*row: float) -> float:
        if not all(math.isfinite(v) for v in row):
            return float(fallback(*row))
        try:
            exact = operation(*(Fraction(v) for v in row))
        except ZeroDivisionError:
            return float(fallback(*row))
        if exact == 0:  # the sign of an exact zero
            if direction == "rm" and operation in (ADD, SUB):
                signs = [math.copysign(1, v) for v in row]
                signs[1] *= -1 if operation is SUB else 1
                if all(v == 0 for v in row) and signs[0] == signs[1]:
                    return math.copysign(0.0, signs[0])
                return -0.0
            return float(fallback(*row))
        return float(rounding(exact))

    def apply(*columns: Array) -> Array:
        with np.errstate(all="ignore"):
            rows = zip(*(c.astype(np.float64).tolist() for c in columns), strict=True)
            return np.array([one(*row) for row in rows])

    return apply


def ADD(a: Any, b: Any) -> Any:  # noqa: N802
    return a + b


def SUB(a: Any, b: Any) -> Any:  # noqa: N802
    return a - b


def MUL(a: Any, b: Any) -> Any:  # noqa: N802
    return a * b


def DIV(a: Any, b: Any) -> Any:  # noqa: N802
    return a / b


def np_div(a: float, b: float) -> float:
    return float(np.float64(a) / np.float64(b))


for t, form in (("f32", F32), ("f64", F64)):
    two = f"{t} {t}"
    rn = ".rn" if t == "f64" else ""
    case(f"add{rn}.{t} {{d}}, {{a}}, {{b}};", two, t, np.add)
    case(f"sub{rn}.{t} {{d}}, {{a}}, {{b}};", two, t, np.subtract)
    case(f"mul{rn}.{t} {{d}}, {{a}}, {{b}};", two, t, np.multiply)
    case(f"div.rn.{t} {{d}}, {{a}}, {{b}};", two, t, np.divide)
    case(f"sqrt.rn.{t} {{d}}, {{a}};", t, t, np.sqrt)
    case(f"rcp.rn.{t} {{d}}, {{a}};", t, t, lambda a: 1 / a)
    case(f"abs.{t} {{d}}, {{a}};", t, t, np.abs)
    case(f"neg.{t} {{d}}, {{a}};", t, t, np.negative)
    case(f"min.{t} {{d}}, {{a}}, {{b}};", two, t, lambda a, b: minimum(a, b, 1))
    case(f"max.{t} {{d}}, {{a}}, {{b}};", two, t, lambda a, b: minimum(a, b, -1))
    case(f"copysign.{t} {{d}}, {{a}}, {{b}};", two, t, lambda a, b: np.copysign(b, a))
    case(f"fma.rn.{t} {{d}}, {{a}}, {{b}}, {{c}};", f"{two} {t}", t,
         lambda a, b, c, form=form: fma_exact(a, b, c, round_to(*form)))  # fmt: skip
    for direction in ("rz", "rm", "rp"):
        for name, exact, plain in (("add", ADD, ADD), ("sub", SUB, SUB), ("mul", MUL, MUL),
                                   ("div", DIV, np_div)):  # fmt: skip
            case(f"{name}.{direction}.{t} {{d}}, {{a}}, {{b}};", two, t,
                 exactly(exact, plain, form, direction))  # fmt: skip
    for kind, check in (
        ("finite", np.isfinite), ("infinite", np.isinf), ("number", lambda a: ~np.isnan(a)),
        ("notanumber", np.isnan),
        ("subnormal", lambda a: (a != 0) & (np.abs(a) < np.finfo(a.dtype).tiny)),
        ("normal", lambda a: np.isfinite(a) & (np.abs(a) >= np.finfo(a.dtype).tiny)),
    ):  # fmt: skip
        case(f"testp.{kind}.{t} {{q}}, {{a}}; selp.u32 {{d}}, 1, 0, {{q}};", t, "u32", check)
    for relation, compare in (
        ("eq", np.equal), ("lt", np.less), ("le", np.less_equal), ("gt", np.greater),
        ("ge", np.greater_equal), ("ne", lambda a, b: (a != b) & ~np.isnan(a) & ~np.isnan(b)),
        ("equ", lambda a, b: (a == b) | np.isnan(a) | np.isnan(b)), ("neu", np.not_equal),
        ("ltu", lambda a, b: ~(a >= b)), ("geu", lambda a, b: ~(a < b)),
        ("num", lambda a, b: ~(np.isnan(a) | np.isnan(b))),
        ("nan", lambda a, b: np.isnan(a) | np.isnan(b)),
    ):  # fmt: skip
        case(f"setp.{relation}.{t} {{q}}, {{a}}, {{b}}; selp.u32 {{d}}, 1, 0, {{q}};", two, "u32",
             compare)  # fmt: skip

case("add.ftz.f32 {d}, {a}, {b};", "f32 f32", "f32", lambda a, b: flush(flush(a) + flush(b)))
case("mul.ftz.f32 {d}, {a}, {b};", "f32 f32", "f32", lambda a, b: flush(flush(a) * flush(b)))
case("add.sat.f32 {d}, {a}, {b};", "f32 f32", "f32", lambda a, b: saturate(a + b))
case("min.NaN.f32 {d}, {a}, {b};", "f32 f32", "f32",
     lambda a, b: np.where(np.isnan(a) | np.isnan(b), np.nan, minimum(a, b, 1)))  # fmt: skip
case("max.xorsign.abs.f32 {d}, {a}, {b};", "f32 f32", "f32",
     lambda a, b: np.copysign(minimum(np.abs(a), np.abs(b), -1),
                              np.where(np.signbit(a) ^ np.signbit(b), -1, 1)))  # fmt: skip
case(
    "slct.f32.f32 {d}, {a}, {b}, {c};", "f32 f32 f32", "f32", lambda a, b, c: np.where(c >= 0, a, b)
)

# ---- approximations ------------------------------------------------------------------------------


def wide(function: Any) -> Any:
    return lambda a: function(a.astype(np.float64))


case("div.full.f32 {d}, {a}, {b};", "f32 f32", "f32", np.divide, ulp=2)
case("rcp.approx.f32 {d}, {a};", "f32", "f32", lambda a: 1 / a, ulp=1)
case("sqrt.approx.f32 {d}, {a};", "f32", "f32", np.sqrt, ulp=1)
case("rsqrt.approx.f32 {d}, {a};", "f32", "f32", wide(lambda a: 1 / np.sqrt(a)), ulp=1.1)
case("ex2.approx.f32 {d}, {a};", "f32", "f32", wide(np.exp2), ulp=2)
case("lg2.approx.f32 {d}, {a};", "f32", "f32", wide(np.log2), ulp=2, absolute=2**-22.6)
case(
    "sin.approx.f32 {d}, {a};",
    "f32",
    "f32",
    lambda a: np.where(np.abs(a) < 1e4, np.sin(a.astype(np.float64)), a * 0),
    absolute=2.0,
)
case("{{ .reg .f32 %x; min.f32 %x, {a}, 0f40490FDB; max.f32 %x, %x, 0fC0490FDB; "
     "sin.approx.f32 {d}, %x; }}", "f32", "f32",
     wide(lambda a: np.sin(np.where(np.isnan(a), np.pi, np.clip(a, -np.pi, np.pi)))),
     absolute=2**-20.9)  # fmt: skip
case("{{ .reg .f32 %x; min.f32 %x, {a}, 0f40490FDB; max.f32 %x, %x, 0fC0490FDB; "
     "cos.approx.f32 {d}, %x; }}", "f32", "f32",
     wide(lambda a: np.cos(np.where(np.isnan(a), np.pi, np.clip(a, -np.pi, np.pi)))),
     absolute=2**-20.9)  # fmt: skip
case("tanh.approx.f32 {d}, {a};", "f32", "f32", wide(np.tanh), ulp=2**12)
case("rcp.approx.ftz.f64 {d}, {a};", "f64", "f64", lambda a: 1 / a, ulp=2**30)
case("rsqrt.approx.f64 {d}, {a};", "f64", "f64", lambda a: 1 / np.sqrt(a), ulp=2**30)

# ---- half and bfloat -----------------------------------------------------------------------------


def from_bf16(a: Array) -> Array:
    return (a.astype(np.uint32) << 16).view(np.float32)


def to_bf16(values: Array) -> Array:
    """Float64 to bf16 with one rounding."""
    with np.errstate(all="ignore"):
        single = values.astype(np.float32)
        # To odd first, so that rounding again is rounding once.
        bits = single.view(np.uint32)
        back = single.astype(np.float64)
        inexact = (back != values) & ~np.isnan(values)
        down = np.where(inexact & (np.abs(back) > np.abs(values)), bits - 1, bits)
        bits = np.where(inexact, down | 1, bits).astype(np.uint32)
        rounded = ((bits.astype(np.uint64) + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
        return np.where(np.isnan(values), 0x7FFF, rounded).astype(np.uint16)


def canonical16(a: Array, kind: str) -> Array:
    """NaNs as 0x7fff."""
    infinity = 0x7C00 if kind == "h" else 0x7F80
    return np.where((a & 0x7FFF) > infinity, 0x7FFF, a).astype(np.uint16)


def half_op(function: Any, kind: str) -> Any:
    def apply(*columns: Array) -> Array:
        with np.errstate(all="ignore"):
            if kind == "h":
                sources = [c.view(np.float16).astype(np.float64) for c in columns]
                result = function(*sources).astype(np.float16).view(np.uint16)
            else:
                result = to_bf16(function(*[from_bf16(c).astype(np.float64) for c in columns]))
            return canonical16(result, kind)

    return apply


def packed_op(function: Any, kind: str) -> Any:
    single = half_op(function, kind)

    def apply(*columns: Array) -> Array:
        low = single(*[(c & 0xFFFF).astype(np.uint16) for c in columns])
        high = single(*[(c >> 16).astype(np.uint16) for c in columns])
        return np.asarray(low.astype(np.uint32) | high.astype(np.uint32) << 16)

    return apply


def fma64(form: tuple[int, int, float]) -> Any:
    return lambda a, b, c: fma_exact(a, b, c, round_to(*form))


for t, kind, form in (("f16", "h", F16), ("bf16", "w", BF16)):
    for name, function in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply),
                           ("min", lambda a, b: minimum(a, b, 1)),
                           ("max", lambda a, b: minimum(a, b, -1))):  # fmt: skip
        suffix = ".rn" if name in ("add", "sub", "mul") and t == "bf16" else ""
        case(f"{name}{suffix}.{t} {{d}}, {{a}}, {{b}};", "b16 b16", "b16", half_op(function, kind))
        case(
            f"{name}{suffix}.{t}x2 {{d}}, {{a}}, {{b}};",
            "b32 b32",
            "b32",
            packed_op(function, kind),
        )
    case(
        f"fma.rn.{t} {{d}}, {{a}}, {{b}}, {{c}};", "b16 b16 b16", "b16", half_op(fma64(form), kind)
    )
    case(f"fma.rn.{t}x2 {{d}}, {{a}}, {{b}}, {{c}};", "b32 b32 b32", "b32",
         packed_op(fma64(form), kind))  # fmt: skip
    case(f"neg.{t} {{d}}, {{a}};", "b16", "b16", lambda a: a ^ 0x8000)
    case(f"abs.{t}x2 {{d}}, {{a}};", "b32", "b32", lambda a: a & 0x7FFF7FFF)
case("fma.rn.relu.f16 {d}, {a}, {b}, {c};", "b16 b16 b16", "b16",
     half_op(lambda a, b, c: np.where((r := fma64(F16)(a, b, c)) <= 0, 0, r), "h"))  # fmt: skip
case("setp.lt.f16 {q}, {a}, {b}; selp.u32 {d}, 1, 0, {q};", "f16 f16", "u32", np.less)
case("setp.lt.f16x2 {q}|{q2}, {a}, {b}; selp.u32 {d}, 1, 0, {q}; selp.u32 {t}, 2, 0, {q2}; "
     "or.b32 {d}, {d}, {t};", "b32 b32", "u32",
     lambda a, b: np.less((a & 0xFFFF).astype(np.uint16).view(np.float16),
                          (b & 0xFFFF).astype(np.uint16).view(np.float16)) +
     2 * np.less((a >> 16).astype(np.uint16).view(np.float16),
                 (b >> 16).astype(np.uint16).view(np.float16)).astype(np.uint32))  # fmt: skip
case("ex2.approx.f16 {d}, {a};", "f16", "f16",
     lambda a: np.exp2(a.astype(np.float64)), ulp=2)  # fmt: skip
case("tanh.approx.f16 {d}, {a};", "f16", "f16", lambda a: np.tanh(a.astype(np.float64)), ulp=2)

# ---- conversions ---------------------------------------------------------------------------------

ROUND = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def to_int(kind: str, rounding: Any) -> Any:
    bits = int(kind[1:])
    low = -(1 << bits - 1) if kind[0] == "s" else 0
    high = low + (1 << bits) - 1

    def one(value: float) -> int:
        if math.isnan(value):
            return 0
        if math.isinf(value):
            return high if value > 0 else low
        return max(low, min(high, int(rounding(value))))

    return lambda a: np.array([one(float(v)) for v in a.tolist()], dtype=object)


for mode, rounding in ROUND.items():
    for t in ("f32", "f64", "f16"):
        case(f"cvt.{mode}.{t}.{t} {{d}}, {{a}};", t, t, rounding)
        for target in ("s32", "u32", "s64", "u64"):
            case(f"cvt.{mode}.{target}.{t} {{d}}, {{a}};", t, target, to_int(target, rounding))
case("cvt.rzi.s16.f32 {d}, {a};", "f32", "s16", to_int("s16", np.trunc))
case("cvt.rzi.u8.f32 {d}, {a};", "f32", "u8", to_int("u8", np.trunc))
case("cvt.f64.f32 {d}, {a};", "f32", "f64", lambda a: a.astype(np.float64))
case("cvt.rn.f32.f64 {d}, {a};", "f64", "f32", lambda a: a.astype(np.float32))
case("cvt.f32.f16 {d}, {a};", "f16", "f32", lambda a: a.astype(np.float32))
case("cvt.rn.f16.f32 {d}, {a};", "f32", "f16", lambda a: a.astype(np.float16))
case("cvt.rn.f16.f64 {d}, {a};", "f64", "f16", lambda a: a.astype(np.float16))
case("cvt.sat.f32.f32 {d}, {a};", "f32", "f32", saturate)
case("cvt.ftz.f32.f32 {d}, {a};", "f32", "f32", flush)
case("cvt.f32.bf16 {d}, {a};", "b16", "f32", from_bf16)
for direction in ("rz", "rm", "rp"):
    case(f"cvt.{direction}.f32.f64 {{d}}, {{a}};", "f64", "f32",
         exactly(lambda a: a, lambda a: a, F32, direction))  # fmt: skip
    case(f"cvt.{direction}.f16.f32 {{d}}, {{a}};", "f32", "f16",
         exactly(lambda a: a, lambda a: a, F16, direction))  # fmt: skip
    for source in ("s32", "u64", "s64"):
        case(
            f"cvt.{direction}.f32.{source} {{d}}, {{a}};",
            source,
            "f32",
            lambda a, d=direction: np.array(
                [float(round_to(*F32, d)(Fraction(int(v)))) if v else 0.0 for v in a.tolist()]
            ),
        )
for source in ("s8", "u16", "s32", "u32", "s64", "u64"):
    case(f"cvt.rn.f32.{source} {{d}}, {{a}};", source, "f32", lambda a: np.array(
        [float(round_to(*F32)(Fraction(int(v)))) if v else 0.0 for v in a.tolist()]))  # fmt: skip
    case(f"cvt.rn.f64.{source} {{d}}, {{a}};", source, "f64",
         lambda a: np.array([float(int(v)) for v in a.tolist()]))  # fmt: skip
    case(f"cvt.rn.f16.{source} {{d}}, {{a}};", source, "f16", lambda a: np.array(
        [float(round_to(*F16)(Fraction(int(v)))) if v else 0.0 for v in a.tolist()]))  # fmt: skip


def bf16_from_f32(a: Array) -> Array:
    return to_bf16(a.astype(np.float64))


case("cvt.rn.bf16.f32 {d}, {a};", "f32", "b16", bf16_from_f32)
case(
    "cvt.rn.bf16x2.f32 {d}, {a}, {b};",
    "f32 f32",
    "b32",
    lambda a, b: bf16_from_f32(b).astype(np.uint32) | bf16_from_f32(a).astype(np.uint32) << 16,
)


def half_bits(a: Array) -> Array:
    with np.errstate(all="ignore"):
        return canonical16(a.astype(np.float16).view(np.uint16), "h").astype(np.uint32)


case("cvt.rn.f16x2.f32 {d}, {a}, {b};", "f32 f32", "b32",
     lambda a, b: half_bits(b) | half_bits(a) << 16)  # fmt: skip


def tf32(a: Array) -> Array:
    bits = a.view(np.uint32)
    special = (bits & 0x7FFFFFFF) >= 0x7F800000
    return np.where(special, bits, bits + 0x1000) & np.uint32(0xFFFFE000)


case("cvt.rna.tf32.f32 {d}, {a};", "f32", "b32", tf32)


@pytest.fixture(scope="module")
def compiled() -> Any:
    return soft_device().load(module_text(CASES))


@pytest.mark.parametrize(
    "index", range(len(CASES)), ids=[f"{i}-{c.title}" for i, c in enumerate(CASES)]
)
def test_instruction(compiled: Any, index: int) -> None:
    run_case(soft_device(), compiled, index, CASES[index], warps=8)


def test_ptxas_takes_the_cases() -> None:
    assemble(module_text(CASES, "sm_90"), "sm_90")
