"""Roots, reciprocals, exponentials, logarithms, trigonometry: within the errors that the PTX ISA
gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..ir import Instruction
from ..table import lanewise
from .builder import Value, integer
from .floats import arithmetic, constant, directed, direction, flush, narrow, widen
from .ints import FLOAT_MODS, type_of

if TYPE_CHECKING:
    from .emitter import Emitter


def _f(value: float) -> Value:
    return constant("float", value)


def _polynomial(e: Emitter, x: Value, coefficients: list[float]) -> Value:
    """Coefficients from the highest power down."""
    result: Value = constant(x.type, coefficients[0])
    for c in coefficients[1:]:
        result = e.b.intrinsic("fma", x.type, result, x, constant(x.type, c))
    return result


def _map(e: Emitter, ins: Instruction, function: Callable[[Emitter, Value], Value]) -> None:
    type_ = type_of(e, ins)
    ftz = "ftz" in ins.mods
    results = []
    for value in widen(e, ins.operands[1], type_, ftz):
        result = function(e, value)
        results.append(flush(e, result, type_.kind) if ftz and result.type == "float" else result)
    e.write(ins.operands[0], narrow(e, results, type_))


@lanewise("fma", mods=f"relu oob {FLOAT_MODS}", operands=(4, 4))
def fma(e: Emitter, ins: Instruction) -> None:
    arithmetic(e, ins, type_of(e, ins))


@lanewise("rcp", mods=FLOAT_MODS, operands=(2, 2))
def rcp(e: Emitter, ins: Instruction) -> None:
    code = direction(ins)

    def function(e: Emitter, x: Value) -> Value:
        one = constant(x.type, 1.0)
        return directed(e, "div", code, [one, x]) if code else e.b.op("fdiv", one, x)

    _map(e, ins, function)


@lanewise("sqrt", mods=FLOAT_MODS, operands=(2, 2))
def sqrt(e: Emitter, ins: Instruction) -> None:
    code = direction(ins)

    def function(e: Emitter, x: Value) -> Value:
        return directed(e, "sqrt", code, [x]) if code else e.b.intrinsic("sqrt", x.type, x)

    _map(e, ins, function)


@lanewise("rsqrt", mods=FLOAT_MODS, operands=(2, 2))
def rsqrt(e: Emitter, ins: Instruction) -> None:
    def function(e: Emitter, x: Value) -> Value:
        return e.b.op("fdiv", constant(x.type, 1.0), e.b.intrinsic("sqrt", x.type, x))

    _map(e, ins, function)


_EXP2 = [math.log(2) ** k / math.factorial(k) for k in range(7, -1, -1)]


def exp2(e: Emitter, x: Value) -> Value:
    """2**x of floats: below 2 ulp, subnormal results included."""
    b = e.b
    clamped = b.select(b.fcmp("olt", x, _f(-151.0)), _f(-151.0), x)
    clamped = b.select(b.fcmp("ogt", clamped, _f(129.0)), _f(129.0), clamped)
    whole = b.intrinsic("rint", "float", clamped)
    value = _polynomial(e, b.op("fsub", clamped, whole), _EXP2)
    # In two steps, so that neither power of two leaves the range. NaN must not reach fptosi.
    number = b.select(b.fcmp("uno", whole, whole), _f(0.0), whole)
    n = b.cast("fptosi", number, "i32")
    first = b.ashr(n, integer("i32", 1))
    for part in (first, b.sub(n, first)):
        power = b.shl(b.add(part, integer("i32", 127)), integer("i32", 23))
        value = b.op("fmul", value, b.bitcast(power, "float"))
    return value


@lanewise("ex2", mods=FLOAT_MODS, operands=(2, 2))
def ex2(e: Emitter, ins: Instruction) -> None:
    _map(e, ins, exp2)


_LOG2 = [2 / math.log(2) / k for k in (9, 7, 5, 3, 1)]


def log2(e: Emitter, x: Value) -> Value:
    """log2 of floats; atanh's series around 1."""
    b = e.b
    tiny = b.fcmp("olt", x, _f(2.0**-126))
    scaled = b.select(tiny, b.op("fmul", x, _f(2.0**24)), x)
    bits = b.bitcast(scaled, "i32")
    # Mantissa in [sqrt(1/2), sqrt(2)): subtract sqrt(1/2)'s bits, and the exponent falls out.
    offset = b.sub(bits, integer("i32", 0x3F3504F3))
    exponent = b.ashr(offset, integer("i32", 23))
    fraction = b.and_(offset, integer("i32", 0x7FFFFF))
    mantissa = b.bitcast(b.add(fraction, integer("i32", 0x3F3504F3)), "float")
    one = _f(1.0)
    s = b.op("fdiv", b.op("fsub", mantissa, one), b.op("fadd", mantissa, one))
    square = b.op("fmul", s, s)
    value = b.op("fmul", s, _polynomial(e, square, _LOG2))
    shift = b.select(tiny, _f(-24.0), _f(0.0))
    value = b.op("fadd", value, b.op("fadd", b.cast("sitofp", exponent, "float"), shift))
    value = b.select(b.fcmp("oeq", x, _f(0.0)), _f(-math.inf), value)
    value = b.select(b.fcmp("olt", x, _f(0.0)), _f(math.nan), value)
    keep = b.or_(b.fcmp("uno", x, x), b.fcmp("oeq", x, _f(math.inf)))
    return b.select(keep, x, value)


@lanewise("lg2", mods=FLOAT_MODS, operands=(2, 2))
def lg2(e: Emitter, ins: Instruction) -> None:
    _map(e, ins, log2)


_SIN = [(-1) ** k / math.factorial(2 * k + 1) for k in range(5, -1, -1)]
_COS = [(-1) ** k / math.factorial(2 * k) for k in range(6, -1, -1)]


def _trigonometry(e: Emitter, x: Value, quarter: int) -> Value:
    """sin(x + quarter * pi/2), reduced and summed in double."""
    b = e.b
    wide = b.cast("fpext", x, "double")
    turns = b.op("fmul", wide, constant("double", 2 / math.pi))
    whole = b.intrinsic("rint", "double", turns)
    half_pi = math.pi / 2
    r = b.intrinsic("fma", "double", whole, constant("double", -half_pi), wide)
    r = b.intrinsic("fma", "double", whole, constant("double", -6.123233995736766e-17), r)
    # Far out nothing of the angle is left; the result must be one of a sine all the same.
    lost = b.fcmp("ogt", b.intrinsic("fabs", "double", r), constant("double", 1.0))
    r = b.select(lost, constant("double", 0.0), r)
    square = b.op("fmul", r, r)
    sine = b.op("fmul", r, _polynomial(e, square, _SIN))
    cosine = _polynomial(e, square, _COS)
    finite = b.fcmp("olt", b.intrinsic("fabs", "double", whole), constant("double", 2.0**52))
    index = b.cast("fptosi", b.select(finite, whole, constant("double", 0.0)), "i64")
    index = b.add(b.resize(index, "i32"), integer("i32", quarter))
    odd = b.icmp("ne", b.and_(index, integer("i32", 1)), integer("i32", 0))
    negative = b.icmp("ne", b.and_(index, integer("i32", 2)), integer("i32", 0))
    value = b.cast("fptrunc", b.select(odd, cosine, sine), "float")
    value = b.select(negative, b.fneg(value), value)
    infinite = b.fcmp("oeq", b.intrinsic("fabs", "float", x), _f(math.inf))
    value = b.select(infinite, _f(math.nan), value)
    if quarter == 0:  # the sign of zero
        return b.select(b.fcmp("oeq", x, _f(0.0)), x, value)
    return value


@lanewise("sin", mods=FLOAT_MODS, operands=(2, 2))
def sin(e: Emitter, ins: Instruction) -> None:
    _map(e, ins, lambda e, x: _trigonometry(e, x, 0))


@lanewise("cos", mods=FLOAT_MODS, operands=(2, 2))
def cos(e: Emitter, ins: Instruction) -> None:
    _map(e, ins, lambda e, x: _trigonometry(e, x, 1))


_TANH = [-17 / 315, 2 / 15, -1 / 3, 1.0]


@lanewise("tanh", mods=FLOAT_MODS, operands=(2, 2))
def tanh(e: Emitter, ins: Instruction) -> None:
    def function(e: Emitter, x: Value) -> Value:
        b = e.b
        magnitude = b.intrinsic("fabs", "float", x)
        power = exp2(e, b.op("fmul", magnitude, _f(2 / math.log(2))))
        one = _f(1.0)
        large = b.op("fsub", one, b.op("fdiv", _f(2.0), b.op("fadd", power, one)))
        small = b.op("fmul", magnitude, _polynomial(e, b.op("fmul", x, x), _TANH))
        value = b.select(b.fcmp("olt", magnitude, _f(0.25)), small, large)
        return b.intrinsic("copysign", "float", value, x)

    _map(e, ins, function)


@lanewise("copysign", operands=(3, 3))
def copysign(e: Emitter, ins: Instruction) -> None:
    """The first source's sign on the second's magnitude."""
    b, type_ = e.b, type_of(e, ins)
    sign, magnitude = (b.bitcast(e.read_as(o, type_), type_.llvm) for o in ins.operands[1:])
    top = integer(type_.llvm, 1 << type_.bits - 1)
    result = b.or_(b.and_(sign, top), b.and_(magnitude, b.not_(top)))
    e.write(ins.operands[0], result)
