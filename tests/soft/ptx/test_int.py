"""Integer and logic instructions of softgpu's compiler, bit for bit against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.soft_device import Array, soft_device
from support.toolchain import assemble

from .cases import Case, bits_of, module_text, run_case

pytestmark = pytest.mark.beside

INTS = ("u16", "s16", "u32", "s32", "u64", "s64")
CASES: list[Case] = []


def case(text: str, sources: str, result: str, reference: Any) -> None:
    CASES.append(Case(text, tuple(sources.split()), result, reference))


def python(function: Any) -> Any:
    """An elementwise reference on Python's integers."""

    def apply(*columns: Array) -> Array:
        rows = zip(*(c.tolist() for c in columns), strict=True)
        return np.array([function(*row) for row in rows], dtype=object)

    return apply


def wrap(kind: str, function: Any) -> Any:
    """The reference's results in the type's range."""
    bits, signed = bits_of(kind), kind[0] == "s"

    def one(*row: int) -> int:
        value = int(function(*row)) & ((1 << bits) - 1)
        return value - (1 << bits) if signed and value >> (bits - 1) else value

    return python(one)


def divide(kind: str, remainder: bool) -> Any:
    bits = bits_of(kind)

    def one(a: int, b: int) -> int:
        if b == 0:
            return a if remainder else (1 << bits) - 1
        quotient = abs(a) // abs(b)
        quotient = -quotient if (a < 0) != (b < 0) else quotient
        return a - quotient * b if remainder else quotient

    return wrap(kind, one)


def unsigned(kind: str, value: int) -> int:
    return value & ((1 << bits_of(kind)) - 1)


for t in INTS:
    n = bits_of(t)
    two = f"{t} {t}"
    case(f"add.{t} {{d}}, {{a}}, {{b}};", two, t, wrap(t, lambda a, b: a + b))
    case(f"sub.{t} {{d}}, {{a}}, {{b}};", two, t, wrap(t, lambda a, b: a - b))
    case(f"mul.lo.{t} {{d}}, {{a}}, {{b}};", two, t, wrap(t, lambda a, b: a * b))
    case(f"mul.hi.{t} {{d}}, {{a}}, {{b}};", two, t, wrap(t, lambda a, b, n=n: a * b >> n))
    case(f"mad.lo.{t} {{d}}, {{a}}, {{b}}, {{c}};", f"{two} {t}", t,
         wrap(t, lambda a, b, c: a * b + c))  # fmt: skip
    case(f"mad.hi.{t} {{d}}, {{a}}, {{b}}, {{c}};", f"{two} {t}", t,
         wrap(t, lambda a, b, c, n=n: (a * b >> n) + c))  # fmt: skip
    case(f"div.{t} {{d}}, {{a}}, {{b}};", two, t, divide(t, False))
    case(f"rem.{t} {{d}}, {{a}}, {{b}};", two, t, divide(t, True))
    case(f"min.{t} {{d}}, {{a}}, {{b}};", two, t, python(min))
    case(f"max.{t} {{d}}, {{a}}, {{b}};", two, t, python(max))
    case(f"sad.{t} {{d}}, {{a}}, {{b}}, {{c}};", f"{two} {t}", t,
         wrap(t, lambda a, b, c: c + abs(a - b)))  # fmt: skip
    case(f"shr.{t} {{d}}, {{a}}, {{b}};", f"{t} u32", t,
         wrap(t, lambda a, b, n=n: a >> min(b, n)))  # fmt: skip
    for relation, compare in (
        ("eq", lambda a, b: a == b), ("ne", lambda a, b: a != b), ("lt", lambda a, b: a < b),
        ("le", lambda a, b: a <= b), ("gt", lambda a, b: a > b), ("ge", lambda a, b: a >= b),
    ):  # fmt: skip
        case(f"setp.{relation}.{t} {{q}}, {{a}}, {{b}}; selp.u32 {{d}}, 1, 0, {{q}};", two, "u32",
             python(lambda a, b, compare=compare: int(compare(a, b))))  # fmt: skip
    if n < 64:
        wide = f"{t[0]}{2 * n}"
        case(f"mul.wide.{t} {{d}}, {{a}}, {{b}};", two, wide, wrap(wide, lambda a, b: a * b))
        case(f"mad.wide.{t} {{d}}, {{a}}, {{b}}, {{c}};", f"{two} {wide}", wide,
             wrap(wide, lambda a, b, c: a * b + c))  # fmt: skip
    if t[0] == "s":
        case(f"abs.{t} {{d}}, {{a}};", t, t, wrap(t, abs))
        case(f"neg.{t} {{d}}, {{a}};", t, t, wrap(t, lambda a: -a))

for relation, compare in (("lo", lambda a, b: a < b), ("ls", lambda a, b: a <= b),
                          ("hi", lambda a, b: a > b), ("hs", lambda a, b: a >= b)):  # fmt: skip
    case(f"setp.{relation}.u32 {{q}}, {{a}}, {{b}}; selp.u32 {{d}}, 1, 0, {{q}};", "u32 u32", "u32",
         python(lambda a, b, compare=compare: int(compare(a, b))))  # fmt: skip

for t in ("b16", "b32", "b64"):
    n = bits_of(t)
    case(f"and.{t} {{d}}, {{a}}, {{b}};", f"{t} {t}", t, np.bitwise_and)
    case(f"or.{t} {{d}}, {{a}}, {{b}};", f"{t} {t}", t, np.bitwise_or)
    case(f"xor.{t} {{d}}, {{a}}, {{b}};", f"{t} {t}", t, np.bitwise_xor)
    case(f"not.{t} {{d}}, {{a}};", t, t, np.bitwise_not)
    case(f"cnot.{t} {{d}}, {{a}};", t, t, lambda a: a == 0)
    case(f"shl.{t} {{d}}, {{a}}, {{b}};", f"{t} u32", t,
         wrap(t, lambda a, b, n=n: a << b if b < n else 0))  # fmt: skip

for t in ("b32", "b64"):
    n = bits_of(t)
    case(f"popc.{t} {{d}}, {{a}};", t, "u32", python(lambda a: a.bit_count()))
    case(f"clz.{t} {{d}}, {{a}};", t, "u32", python(lambda a, n=n: n - a.bit_length()))
    case(f"brev.{t} {{d}}, {{a}};", t, t, python(lambda a, n=n: int(f"{a:0{n}b}"[::-1], 2)))


def bfind(kind: str, shift: bool) -> Any:
    n = bits_of(kind)

    def one(a: int) -> int:
        value = ~a if a < 0 else a
        if value == 0:
            return 0xFFFFFFFF
        top = value.bit_length() - 1
        return n - 1 - top if shift else top

    return python(one)


def bfe(kind: str) -> Any:
    n, signed = bits_of(kind), kind[0] == "s"

    def one(a: int, position: int, length: int) -> int:
        a, position, length = unsigned(kind, a), position & 255, length & 255
        if length == 0:
            return 0
        top = min(position + length - 1, n - 1)
        sign = (a >> top & 1) if signed else 0
        bits = 0
        for i in range(n):
            source = position + i
            bit = a >> source & 1 if i < length and source < n else sign
            bits |= bit << i
        return bits

    return wrap(kind, one)


def bfi(a: int, b: int, position: int, length: int, n: int) -> int:
    position, length = position & 255, length & 255
    mask = (((1 << length) - 1) << position) & ((1 << n) - 1)
    return (a << position & mask) | (b & ~mask & ((1 << n) - 1))


for t in ("u32", "s32", "u64", "s64"):
    n = bits_of(t)
    case(f"bfind.{t} {{d}}, {{a}};", t, "u32", bfind(t, False))
    case(f"bfind.shiftamt.{t} {{d}}, {{a}};", t, "u32", bfind(t, True))
    case(f"bfe.{t} {{d}}, {{a}}, {{b}}, {{c}};", f"{t} u32 u32", t, bfe(t))
for t in ("b32", "b64"):
    n = bits_of(t)
    case(f"bfi.{t} {{d}}, {{a}}, {{a}}, {{b}}, {{c}};", f"{t} u32 u32", t,
         python(lambda a, p, k, n=n: bfi(a, a, p, k, n)))  # fmt: skip

M32 = 0xFFFFFFFF


def mul24(a: int, b: int, signed: bool, high: bool) -> int:
    def low24(x: int) -> int:
        x &= 0xFFFFFF
        return x - (1 << 24) if signed and x >> 23 else x

    product = low24(a) * low24(b)
    return product >> 16 if high else product


for t in ("u32", "s32"):
    signed = t == "s32"
    for part in ("lo", "hi"):
        case(f"mul24.{part}.{t} {{d}}, {{a}}, {{b}};", f"{t} {t}", t,
             wrap(t, lambda a, b, s=signed, p=part: mul24(a, b, s, p == "hi")))  # fmt: skip
        case(f"mad24.{part}.{t} {{d}}, {{a}}, {{b}}, {{c}};", f"{t} {t} {t}", t,
             wrap(t, lambda a, b, c, s=signed, p=part: mul24(a, b, s, p == "hi") + c))  # fmt: skip


def clamp32(value: int) -> int:
    return max(-(1 << 31), min((1 << 31) - 1, value))


case("add.sat.s32 {d}, {a}, {b};", "s32 s32", "s32", python(lambda a, b: clamp32(a + b)))
case("sub.sat.s32 {d}, {a}, {b};", "s32 s32", "s32", python(lambda a, b: clamp32(a - b)))


def carry64(name: str) -> Any:
    def one(a: int, b: int) -> int:
        return a + b if name == "add" else a - b

    return wrap("u64", one)


for name in ("add", "sub"):
    case("{{ .reg .b32 %l<6>; mov.b64 {{%l0, %l1}}, {a}; mov.b64 {{%l2, %l3}}, {b};"
         f" {name}.cc.u32 %l4, %l0, %l2; {name}c.u32 %l5, %l1, %l3;"
         " mov.b64 {d}, {{%l4, %l5}}; }}", "u64 u64", "u64", carry64(name))  # fmt: skip
case("{{ .reg .b32 %l<3>; mov.b64 {{%l0, %l1}}, {c}; mad.lo.cc.u32 %l0, {a}, {b}, %l0;"
     " madc.hi.u32 %l1, {a}, {b}, %l1; mov.b64 {d}, {{%l0, %l1}}; }}", "u32 u32 u64", "u64",
     wrap("u64", lambda a, b, c: a * b + c))  # fmt: skip


def lop3(a: int, b: int, c: int, table: int) -> int:
    result = 0
    for i in range(32):
        index = (a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)
        result |= (table >> index & 1) << i
    return result


for table in (0x00, 0x1E, 0x3C, 0x80, 0x96, 0xCA, 0xE8, 0xF8, 0xFE, 0xFF, 0x55, 0xB1):
    case(f"lop3.b32 {{d}}, {{a}}, {{b}}, {{c}}, {table};", "b32 b32 b32", "b32",
         python(lambda a, b, c, table=table: lop3(a, b, c, table)))  # fmt: skip


def funnel(a: int, b: int, c: int, left: bool, wrap_: bool) -> int:
    n = c & 31 if wrap_ else min(c, 32)
    both = b << 32 | a
    return (both << n >> 32 if left else both >> n) & M32


for side in "lr":
    for mode in ("wrap", "clamp"):
        case(
            f"shf.{side}.{mode}.b32 {{d}}, {{a}}, {{b}}, {{c}};",
            "b32 b32 u32",
            "b32",
            python(lambda a, b, c, s=side, m=mode: funnel(a, b, c, s == "l", m == "wrap")),
        )


def prmt(a: int, b: int, selector: int) -> int:
    data = [(b << 32 | a) >> 8 * i & 255 for i in range(8)]
    result = 0
    for i in range(4):
        nibble = selector >> 4 * i & 15
        byte = data[nibble & 7]
        if nibble & 8:
            byte = 255 if byte >> 7 else 0
        result |= byte << 8 * i
    return result


case("prmt.b32 {d}, {a}, {b}, {c};", "b32 b32 b32", "b32", python(prmt))
case("prmt.b32 {d}, {a}, {b}, 0x5140;", "b32 b32", "b32", python(lambda a, b: prmt(a, b, 0x5140)))


def prmt_mode(mode: str) -> Any:
    def one(a: int, b: int, c: int) -> int:
        c &= 3
        pick = {
            "f4e": [c, c + 1, c + 2, c + 3],
            "b4e": [c, (c - 1) & 7, (c - 2) & 7, (c - 3) & 7],
            "rc8": [c] * 4,
            "ecl": [max(i, c) for i in range(4)],
            "ecr": [min(i, c) for i in range(4)],
            "rc16": [0, 1, 0, 1] if c % 2 == 0 else [2, 3, 2, 3],
        }[mode]
        return prmt(a, b, sum(p << 4 * i for i, p in enumerate(pick)))

    return python(one)


for mode in ("f4e", "b4e", "rc8", "ecl", "ecr", "rc16"):
    case(f"prmt.b32.{mode} {{d}}, {{a}}, {{b}}, {{c}};", "b32 b32 b32", "b32", prmt_mode(mode))


def parts(value: int, bits: int, signed: bool) -> list[int]:
    found = [value >> bits * i & ((1 << bits) - 1) for i in range(32 // bits)]
    return [v - (1 << bits) if signed and v >> (bits - 1) else v for v in found]


for x in ("u32", "s32"):
    for y in ("u32", "s32"):
        case(
            f"dp4a.{x}.{y} {{d}}, {{a}}, {{b}}, {{c}};",
            "b32 b32 b32",
            "u32",
            wrap(
                "u32",
                lambda a, b, c, x=x, y=y: (
                    c
                    + sum(
                        p * q
                        for p, q in zip(
                            parts(a, 8, x == "s32"), parts(b, 8, y == "s32"), strict=True
                        )
                    )
                ),
            ),
        )
        for half in ("lo", "hi"):
            first = 2 if half == "hi" else 0
            case(
                f"dp2a.{half}.{x}.{y} {{d}}, {{a}}, {{b}}, {{c}};",
                "b32 b32 b32",
                "u32",
                wrap(
                    "u32",
                    lambda a, b, c, x=x, y=y, f=first: (
                        c
                        + sum(
                            p * q
                            for p, q in zip(
                                parts(a, 16, x == "s32"),
                                parts(b, 8, y == "s32")[f : f + 2],
                                strict=True,
                            )
                        )
                    ),
                ),
            )


def bmsk(a: int, b: int, clamp: bool) -> int:
    if not clamp:
        a, b = a & 31, b & 31
    return ((1 << min(b, 64)) - 1) << min(a, 64) & M32


for mode in ("clamp", "wrap"):
    case(f"bmsk.{mode}.b32 {{d}}, {{a}}, {{b}};", "u32 u32", "u32",
         python(lambda a, b, m=mode: bmsk(a, b, m == "clamp")))  # fmt: skip


def szext(a: int, length: int, signed: bool, clamp: bool) -> int:
    length = length if clamp else length & 31
    if length >= 32:
        return a
    value = a & ((1 << length) - 1)
    if signed and length and value >> (length - 1):
        value -= 1 << length
    return value


for t in ("u32", "s32"):
    for mode in ("clamp", "wrap"):
        case(f"szext.{mode}.{t} {{d}}, {{a}}, {{b}};", f"{t} u32", t,
             wrap(t, lambda a, b, t=t, m=mode: szext(a, b, t == "s32", m == "clamp")))  # fmt: skip


def fns(mask: int, base: int, nth: int) -> int:
    base &= 31
    if nth == 0:
        return base if mask >> base & 1 else M32
    order = range(base, 32) if nth > 0 else range(base, -1, -1)
    found = [i for i in order if mask >> i & 1]
    return found[abs(nth) - 1] if abs(nth) <= len(found) else M32


case("and.b32 {t}, {b}, 31; fns.b32 {d}, {a}, {t}, {c};", "b32 b32 s32", "b32", python(fns))
case("setp.gt.s32 {q}|{q2}, {a}, {b}; selp.u32 {t}, 2, 0, {q2}; selp.u32 {d}, 1, 0, {q}; "
     "or.b32 {d}, {d}, {t};", "s32 s32", "u32", python(lambda a, b: 1 if a > b else 2))  # fmt: skip
case("setp.gt.s32 {q2}, {c}, 5; setp.lt.and.s32 {q}, {a}, {b}, {q2}; selp.u32 {d}, 1, 0, {q};",
     "s32 s32 s32", "u32", python(lambda a, b, c: int(a < b and c > 5)))  # fmt: skip
case("setp.gt.s32 {q2}, {c}, 5; setp.lt.xor.s32 {q}, {a}, {b}, !{q2}; selp.u32 {d}, 1, 0, {q};",
     "s32 s32 s32", "u32", python(lambda a, b, c: int((a < b) != (c <= 5))))  # fmt: skip
case("set.lt.u32.s32 {d}, {a}, {b};", "s32 s32", "u32", python(lambda a, b: M32 if a < b else 0))
case("slct.u32.s32 {d}, {a}, {b}, {c};", "u32 u32 s32", "u32",
     python(lambda a, b, c: a if c >= 0 else b))  # fmt: skip
case("mov.u32 {d}, {a}; setp.lt.s32 {q}, {b}, 3; @{q} add.u32 {d}, {d}, 7; "
     "@!{q} xor.b32 {d}, {d}, 5;",
     "u32 s32", "u32", wrap("u32", lambda a, b: a + 7 if b < 3 else a ^ 5))  # fmt: skip
for target, source in (("u32", "u8"), ("s32", "s8"), ("u64", "s32"), ("s64", "s32"), ("u64", "u32"),
                       ("u32", "u64"), ("s16", "s32"), ("u16", "u64"), ("s64", "s16")):  # fmt: skip
    text = f"cvt.{target}.{source} {{d}}, {{a}};"
    case(text, source, target, wrap(target, lambda a: a))
for target, source in (("u8", "s32"), ("s8", "s32"), ("u16", "s32"), ("s32", "u32"), ("u32", "s64"),
                       ("s32", "s64"), ("u32", "s32")):  # fmt: skip
    low = -(1 << bits_of(target) - 1) if target[0] == "s" else 0
    high = (1 << bits_of(target) - (target[0] == "s")) - 1
    case(f"cvt.sat.{target}.{source} {{d}}, {{a}};", source, target,
         python(lambda a, low=low, high=high: max(low, min(high, a))))  # fmt: skip


@pytest.fixture(scope="module")
def compiled() -> Any:
    return soft_device().load(module_text(CASES))


@pytest.mark.parametrize(
    "index", range(len(CASES)), ids=[f"{i}-{c.title}" for i, c in enumerate(CASES)]
)
def test_instruction(compiled: Any, index: int) -> None:
    run_case(soft_device(), compiled, index, CASES[index])


def test_ptxas_takes_the_cases() -> None:
    assemble(module_text(CASES, "sm_90"), "sm_90")
