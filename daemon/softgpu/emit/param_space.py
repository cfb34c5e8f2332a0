"""The .param space of calls: words of all lanes side by side, so that a value of 4 bytes is one
vector.

Word w of an area is a <32 x i32> at byte w * 128. Caller and callee use the same layout for a
function's parameters: each starts at a word. A kernel's own parameters are plain memory, the same
for all lanes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Address, Function, Symbol, Variable
from .builder import Value, integer

if TYPE_CHECKING:
    from .emitter import Emitter

PLANE = 128


def words(variable: Variable) -> int:
    return max(-(-variable.bytes // 4), 1)


def offsets(variables: list[Variable]) -> list[int]:
    """The first word of each, and the total at the end."""
    found = [0]
    for variable in variables:
        # 16-byte values stay aligned to 4 words, which costs nothing.
        found.append(found[-1] + words(variable))
    return found


def _variable(operand: Address) -> Variable | None:
    base = operand.base
    if isinstance(base, Symbol) and base.variable is not None and base.variable.space == "param":
        return base.variable
    return None


def is_param_slot(e: Emitter, operand: Address) -> bool:
    """Whether the operand names .param space that is laid out in words of lanes."""
    variable = _variable(operand)
    if variable is None:
        return False
    return not (e.function.entry and variable in e.function.parameters)


def kernel_parameter(e: Emitter, operand: Address, bytes_: int) -> int:
    """1 + the offset among the kernel's parameters of an access known to be inside them, else 0."""
    variable = _variable(operand)
    base = operand.base
    if variable is None or not isinstance(base, Symbol):
        return 0
    at = operand.offset + base.offset
    if variable not in e.function.parameters or at < 0 or at + bytes_ > variable.bytes:
        return 0
    return 1 + variable.offset + at


def area(e: Emitter, variable: Variable) -> str:
    """Where the variable's words are."""
    function: Function = e.function
    for base, group in (("%args", function.parameters), ("%rets", function.results)):
        if variable in group:
            return e.b.offset(base, offsets(group)[group.index(variable)] * PLANE)
    slot = e.param_slots.get(variable.name)
    if slot is None:
        slot = e.b.keep(f"[{words(variable) * 32} x i32]")
        e.param_slots[variable.name] = slot
    return slot


def _plane(e: Emitter, operand: Address, offset: int, bytes_: int) -> str:
    variable = _variable(operand)
    assert variable is not None
    base = operand.base
    assert isinstance(base, Symbol)
    at = operand.offset + base.offset + offset
    if at < 0 or at + bytes_ > max(variable.bytes, 4) or at % min(bytes_, 4):
        raise e.error(f"offset {at} is outside of '{variable.name.split('#')[0]}'")
    return e.b.offset(area(e, variable), at // 4 * PLANE)


def load_param(e: Emitter, operand: Address, bytes_: int, count: int) -> list[Value]:
    """`count` values of `bytes_`."""
    b = e.b
    results = []
    for i in range(count):
        plane = _plane(e, operand, i * bytes_, bytes_)
        low = b.load("i32", plane, 64, True)
        if bytes_ == 8:
            high = b.load("i32", b.offset(plane, PLANE), 64, True)
            wide = b.shl(b.resize(high, "i64"), integer("i64", 32))
            results.append(b.or_(b.resize(low, "i64"), wide))
            continue
        shift = _shift(operand, i * bytes_)
        results.append(b.resize(b.lshr(low, integer("i32", shift)), f"i{bytes_ * 8}"))
    return results


def _shift(operand: Address, offset: int) -> int:
    base = operand.base
    assert isinstance(base, Symbol)
    return (operand.offset + base.offset + offset) % 4 * 8


def store_param(e: Emitter, operand: Address, values: list[Value], bytes_: int) -> None:
    """Store values; results only in the lanes that run, others have set theirs."""
    b = e.b
    variable = _variable(operand)
    for i, value in enumerate(values):
        plane = _plane(e, operand, i * bytes_, bytes_)
        value = b.splat(value)
        if bytes_ == 8:
            parts = [b.resize(value, "i32"), b.resize(b.lshr(value, integer("i64", 32)), "i32")]
        elif bytes_ == 4:
            parts = [value]
        else:
            shift = _shift(operand, i * bytes_)
            mask = integer("i32", ((1 << bytes_ * 8) - 1) << shift)
            old = b.and_(b.load("i32", plane, 64, True), b.not_(mask))
            parts = [b.or_(old, b.shl(b.resize(value, "i32"), integer("i32", shift)))]
        for k, part in enumerate(parts):
            where = b.offset(plane, k * PLANE)
            if variable in e.function.results or e.guard_lanes is not None:
                part = b.select(e.mask_lanes, part, b.load("i32", where, 64, True))
            b.store(part, where, 64)
