"""Bits: logic, shifts, fields, permutations, dot products of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Immediate, Instruction, Pair
from ..table import Effect, Result, Trait, instruction, lanewise
from .builder import Value, integer
from .ints import ints, type_of

if TYPE_CHECKING:
    from .emitter import Emitter


@lanewise("and", "or", "xor", operands=(3, 3))
def logic(e: Emitter, ins: Instruction) -> None:
    x, y = ints(e, ins, type_of(e, ins))
    e.write(ins.operands[0], e.b.op(ins.opcode, x, y))


@lanewise("not", operands=(2, 2))
def invert(e: Emitter, ins: Instruction) -> None:
    (x,) = ints(e, ins, type_of(e, ins))
    e.write(ins.operands[0], e.b.not_(x))


@lanewise("cnot", operands=(2, 2))
def is_zero(e: Emitter, ins: Instruction) -> None:
    (x,) = ints(e, ins, type_of(e, ins))
    e.write(ins.operands[0], e.b.cast("zext", e.b.icmp("eq", x, integer(x.type, 0)), x.type))


@lanewise("lop3", mods="or and BoolOp", operands=(5, 7))
def lop3(e: Emitter, ins: Instruction) -> None:
    b = e.b
    x, y, z = (e.read(o, "i32") for o in ins.operands[1:4])
    table = ins.operands[4]
    if not isinstance(table, Immediate):
        raise e.error("the table must be a literal")
    result = _lop3(e, x, y, z, table.value & 255)
    target = ins.operands[0]
    if isinstance(target, Pair):
        predicate = b.icmp("ne", result, integer("i32", 0))
        other = e.read(ins.operands[5], "i1")
        e.write(target.second, b.op("or" if "or" in ins.mods else "and", predicate, other))
        target = target.first
    e.write(target, result)


def _lop3(e: Emitter, x: Value, y: Value, z: Value, table: int) -> Value:
    """A sum of products; LLVM finds shorter forms."""
    b = e.b
    if table in (0, 255):
        return integer("i32", -1 if table else 0)

    # Shannon: by x, then by y, then by z.
    def of_z(two: int) -> Value:
        return {0: integer("i32", 0), 1: b.not_(z), 2: z, 3: integer("i32", -1)}[two]

    def of_yz(four: int) -> Value:
        low, high = four & 3, four >> 2
        if low == high:
            return of_z(low)
        return b.or_(b.and_(b.not_(y), of_z(low)), b.and_(y, of_z(high)))

    low, high = table & 15, table >> 4
    if low == high:
        return of_yz(low)
    return b.or_(b.and_(b.not_(x), of_yz(low)), b.and_(x, of_yz(high)))


@lanewise("shl", "shr", operands=(3, 3))
def shift(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    x = e.read(ins.operands[1], type_.llvm)
    amount = e.read(ins.operands[2], "i32")
    kind = "shl" if ins.opcode == "shl" else "ashr" if type_.signed else "lshr"
    e.write(ins.operands[0], shift_clamped(e, kind, x, amount))


def shift_clamped(e: Emitter, kind: str, x: Value, amount: Value) -> Value:
    """Shift by an unsigned i32; amounts past the width shift everything out."""
    b = e.b
    if amount.constant is not None:
        if amount.constant < x.bits:
            return b.op(kind, x, integer(x.type, amount.constant))
        return b.op(kind, x, integer(x.type, x.bits - 1)) if kind == "ashr" else integer(x.type, 0)
    clamped = b.intrinsic("umin", "i32", amount, integer("i32", x.bits - 1))
    shifted = b.op(kind, x, b.resize(clamped, x.type))
    if kind == "ashr":
        return shifted
    inside = b.icmp("ult", amount, integer("i32", x.bits))
    return b.select(inside, shifted, integer(x.type, 0))


@lanewise("shf", mods="l r wrap clamp", operands=(4, 4))
def funnel(e: Emitter, ins: Instruction) -> None:
    b = e.b
    low, high, amount = (e.read(o, "i32") for o in ins.operands[1:])
    both = b.or_(b.shl(b.resize(high, "i64"), integer("i64", 32)), b.resize(low, "i64"))
    if "wrap" in ins.mods:
        amount = b.and_(amount, integer("i32", 31))
    else:
        amount = b.intrinsic("umin", "i32", amount, integer("i32", 32))
    wide = b.resize(amount, "i64")
    if "l" in ins.mods:
        result = b.lshr(b.shl(both, wide), integer("i64", 32))
    else:
        result = b.lshr(both, wide)
    e.write(ins.operands[0], b.resize(result, "i32"))


@lanewise("popc", "clz", "brev", operands=(2, 2))
def count(e: Emitter, ins: Instruction) -> None:
    b = e.b
    (x,) = ints(e, ins, type_of(e, ins))
    if ins.opcode == "popc":
        result = b.intrinsic("ctpop", x.type, x)
    elif ins.opcode == "brev":
        result = b.intrinsic("bitreverse", x.type, x)
    else:
        result = b.intrinsic("ctlz", x.type, x, flags=("i1 false",))
    e.write(ins.operands[0], result if ins.opcode == "brev" else b.resize(result, "i32"))


@lanewise("bfind", mods="shiftamt", operands=(2, 2))
def find_bit(e: Emitter, ins: Instruction) -> None:
    b, type_ = e.b, type_of(e, ins)
    (x,) = ints(e, ins, type_)
    if type_.signed:
        x = b.xor(x, b.ashr(x, integer(x.type, x.bits - 1)))
    zeros = b.resize(b.intrinsic("ctlz", x.type, x, flags=("i1 false",)), "i32")
    found = zeros if "shiftamt" in ins.mods else b.sub(integer("i32", x.bits - 1), zeros)
    none = b.icmp("eq", zeros, integer("i32", x.bits))
    e.write(ins.operands[0], b.select(none, integer("i32", -1), found))


@lanewise("bfe", operands=(4, 4))
def extract_field(e: Emitter, ins: Instruction) -> None:
    b, type_ = e.b, type_of(e, ins)
    x = e.read(ins.operands[1], type_.llvm)
    position, length = (b.and_(e.read(o, "i32"), integer("i32", 255)) for o in ins.operands[2:])
    kind = "ashr" if type_.signed else "lshr"
    shifted = shift_clamped(e, kind, x, position)
    # Keep the low `length` bits: up to the top and down again. Fields past the top get the sign.
    spare = b.intrinsic("usub.sat", "i32", integer("i32", x.bits), length)
    if not type_.signed:
        field = shift_clamped(e, "lshr", shift_clamped(e, "shl", shifted, spare), spare)
        e.write(ins.operands[0], field)
        return
    field = b.op(
        "shl",
        shifted,
        b.resize(b.intrinsic("umin", "i32", spare, integer("i32", x.bits - 1)), x.type),
    )
    field = b.op(
        "ashr",
        field,
        b.resize(b.intrinsic("umin", "i32", spare, integer("i32", x.bits - 1)), x.type),
    )
    empty = b.icmp("eq", length, integer("i32", 0))
    e.write(ins.operands[0], b.select(empty, integer(x.type, 0), field))


@lanewise("bfi", operands=(5, 5))
def insert_field(e: Emitter, ins: Instruction) -> None:
    b, type_ = e.b, type_of(e, ins)
    x, y = (e.read(o, type_.llvm) for o in ins.operands[1:3])
    position, length = (b.and_(e.read(o, "i32"), integer("i32", 255)) for o in ins.operands[3:])
    ones = b.sub(shift_clamped(e, "shl", integer(x.type, 1), length), integer(x.type, 1))
    mask = shift_clamped(e, "shl", ones, position)
    moved = shift_clamped(e, "shl", x, position)
    e.write(ins.operands[0], b.or_(b.and_(moved, mask), b.and_(y, b.not_(mask))))


@lanewise("bmsk", mods="clamp wrap", operands=(3, 3))
def bit_mask(e: Emitter, ins: Instruction) -> None:
    b = e.b
    position, length = (e.read(o, "i32") for o in ins.operands[1:])
    if "wrap" in ins.mods:
        position = b.and_(position, integer("i32", 31))
        length = b.and_(length, integer("i32", 31))
    ones = b.sub(shift_clamped(e, "shl", integer("i32", 1), length), integer("i32", 1))
    e.write(ins.operands[0], shift_clamped(e, "shl", ones, position))


@lanewise("szext", mods="clamp wrap", operands=(3, 3))
def extend_from(e: Emitter, ins: Instruction) -> None:
    b, type_ = e.b, type_of(e, ins)
    x, length = e.read(ins.operands[1], "i32"), e.read(ins.operands[2], "i32")
    if "wrap" in ins.mods:
        length = b.and_(length, integer("i32", 31))
    spare = b.intrinsic("usub.sat", "i32", integer("i32", 32), length)
    top = shift_clamped(e, "shl", x, spare)
    result = shift_clamped(e, "ashr" if type_.signed else "lshr", top, spare)
    empty = b.icmp("eq", length, integer("i32", 0))
    e.write(ins.operands[0], b.select(empty, integer("i32", 0), result))


@instruction("fns", operands=(4, 4), result=Result.FIRST, effect=Effect.NONE, traits=Trait.VARYING)
def find_nth(e: Emitter, ins: Instruction) -> None:
    """Position of the n-th set bit from `base`, upwards for n > 0, downwards for n < 0."""
    b = e.b
    mask, base, nth = (b.splat(e.read(o, "i32")) for o in ins.operands[1:])
    result = b.splat(integer("i32", -1))
    one = integer("i32", 1)
    for descending in (False, True):
        seen = b.splat(integer("i32", 0))
        wanted = b.neg(nth) if descending else nth
        for step in range(32):
            position = 31 - step if descending else step
            place = integer("i32", position)
            inside = b.icmp("ule" if descending else "uge", place, base)
            bit = b.and_(b.lshr(mask, place), one)
            bit = b.select(inside, bit, integer("i32", 0))
            seen = b.add(seen, bit)
            hit = b.and_(b.icmp("eq", bit, one), b.icmp("eq", seen, wanted))
            result = b.select(hit, place, result)
    at_base = b.and_(shift_clamped(e, "lshr", mask, base), one)
    exact = b.select(b.icmp("eq", at_base, one), base, integer("i32", -1))
    e.write(ins.operands[0], b.select(b.icmp("eq", nth, integer("i32", 0)), exact, result))


@lanewise("prmt", mods="f4e b4e rc8 ecl ecr rc16", operands=(4, 4))
def permute(e: Emitter, ins: Instruction) -> None:
    b = e.b
    low, high, selector = (e.read(o, "i32") for o in ins.operands[1:])
    both = b.or_(b.shl(b.resize(high, "i64"), integer("i64", 32)), b.resize(low, "i64"))
    mode = next((m for m in ins.mods if m in _PRMT), "")
    result: Value = integer("i32", 0)
    for i in range(4):
        if mode:
            choice = b.and_(selector, integer("i32", 3))
            index = integer("i32", _PRMT[mode][3][i])
            for value in range(3):
                hit = b.icmp("eq", choice, integer("i32", value))
                index = b.select(hit, integer("i32", _PRMT[mode][value][i]), index)
            replicate = None
        else:
            nibble = b.lshr(selector, integer("i32", 4 * i))
            index = b.and_(nibble, integer("i32", 7))
            replicate = b.icmp("ne", b.and_(nibble, integer("i32", 8)), integer("i32", 0))
        amount = b.resize(b.shl(index, integer("i32", 3)), "i64")
        byte = b.resize(b.lshr(both, amount), "i8")
        if replicate is not None and replicate.constant != 0:
            byte = b.select(replicate, b.ashr(byte, integer("i8", 7)), byte)
        result = b.or_(result, b.shl(b.resize(byte, "i32"), integer("i32", 8 * i)))
    e.write(ins.operands[0], result)


# Bytes taken for each of the two low selector bits, lowest byte first.
_PRMT = {
    "f4e": ((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 6)),
    "b4e": ((0, 7, 6, 5), (1, 0, 7, 6), (2, 1, 0, 7), (3, 2, 1, 0)),
    "rc8": ((0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)),
    "ecl": ((0, 1, 2, 3), (1, 1, 2, 3), (2, 2, 2, 3), (3, 3, 3, 3)),
    "ecr": ((0, 0, 0, 0), (0, 1, 1, 1), (0, 1, 2, 2), (0, 1, 2, 3)),
    "rc16": ((0, 1, 0, 1), (2, 3, 2, 3), (0, 1, 0, 1), (2, 3, 2, 3)),
}


@lanewise("dp4a", "dp2a", mods="lo hi", operands=(4, 4))
def dot(e: Emitter, ins: Instruction) -> None:
    b = e.b
    kinds = [m for m in ins.mods if m in ("u32", "s32")]
    if len(kinds) != 2:
        raise e.error("two types are needed")
    x, y, result = (e.read(o, "i32") for o in ins.operands[1:])
    words = ins.opcode == "dp2a"
    first = 2 if "hi" in ins.mods else 0
    for i in range(2 if words else 4):
        left = _field(e, x, 16 * i if words else 8 * i, 16 if words else 8, kinds[0] == "s32")
        right = _field(e, y, 8 * (i + first), 8, kinds[1] == "s32")
        result = b.add(result, b.mul(left, right))
    e.write(ins.operands[0], result)


def _field(e: Emitter, x: Value, position: int, bits: int, signed: bool) -> Value:
    b = e.b
    top = b.shl(x, integer("i32", 32 - bits - position))
    return (b.ashr if signed else b.lshr)(top, integer("i32", 32 - bits))
