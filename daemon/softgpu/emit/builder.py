"""LLVM IR as text: values that are one per warp or one per lane, and a builder for one function.

An operation on values of which any is per lane gives a value per lane; else it stays a scalar.
"""

from __future__ import annotations

from dataclasses import dataclass

LANES = 32

BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "i128": 128, "half": 16, "bfloat": 16,
        "float": 32, "double": 64, "ptr": 64}  # fmt: skip


@dataclass(slots=True, frozen=True)
class Value:
    """An LLVM value; `type` is the element's. `constant` holds an integer literal's value."""

    type: str
    text: str
    per_lane: bool = False
    constant: int | None = None

    @property
    def full_type(self) -> str:
        return f"<{LANES} x {self.type}>" if self.per_lane else self.type

    @property
    def bits(self) -> int:
        return BITS[self.type]

    def __str__(self) -> str:
        return f"{self.full_type} {self.text}"


def integer(type_: str, value: int) -> Value:
    """An integer literal, wrapped to the type."""
    bits = BITS[type_]
    value &= (1 << bits) - 1
    text = str(value) if type_ != "i1" else ("true" if value else "false")
    return Value(type_, text, False, value)


def lanes_constant(type_: str, values: list[int]) -> Value:
    """A literal with a value for each lane."""
    items = ", ".join(f"{type_} {v}" for v in values)
    return Value(type_, f"<{items}>", True)


class Builder:
    """Emits one function's instructions in order."""

    def __init__(self, module: ModuleText) -> None:
        self.module = module
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.slots: dict[tuple[str, int], list[str]] = {}  # that instructions use in turn
        self.taken: dict[tuple[str, int], int] = {}  # how many of them the current one has
        self.counter = 0
        self.splats: dict[tuple[str, str], Value] = {}
        self.current = "entry"

    def name(self) -> str:
        self.counter += 1
        return f"%v{self.counter}"

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def label(self, name: str) -> None:
        """Start a basic block."""
        self.lines.append(f"{name}:")
        self.splats = {}
        self.current = name

    def fresh_label(self, hint: str) -> str:
        self.counter += 1
        return f"{hint}.{self.counter}"

    def jump(self, label: str) -> None:
        self.line(f"br label %{label}")

    def branch(self, condition: Value, yes: str, no: str) -> None:
        self.line(f"br i1 {condition.text}, label %{yes}, label %{no}")

    def value(self, type_: str, per_lane: bool, expression: str) -> Value:
        name = self.name()
        self.lines.append(f"  {name} = {expression}")
        return Value(type_, name, per_lane)

    # ---- shape -----------------------------------------------------------------------------------

    def splat(self, a: Value) -> Value:
        """The same value in every lane."""
        if a.per_lane:
            return a
        if a.constant is not None:
            return Value(a.type, f"splat ({a.type} {a.text})", True, a.constant)
        known = self.splats.get((a.type, a.text))
        if known is not None:
            return known
        one = self.name()
        full = f"<{LANES} x {a.type}>"
        self.line(f"{one} = insertelement {full} poison, {a.type} {a.text}, i64 0")
        zero = f"<{LANES} x i32> zeroinitializer"
        result = self.value(a.type, True, f"shufflevector {full} {one}, {full} poison, {zero}")
        self.splats[a.type, a.text] = result
        return result

    def match(self, *values: Value) -> list[Value]:
        """All per lane if any is."""
        if any(v.per_lane for v in values):
            return [self.splat(v) for v in values]
        return list(values)

    def lane(self, a: Value, lane: int) -> Value:
        """One lane's value."""
        if not a.per_lane:
            return a
        return self.value(a.type, False, f"extractelement {a}, i64 {lane}")

    # ---- operations ------------------------------------------------------------------------------

    def op(self, name: str, a: Value, b: Value) -> Value:
        a, b = self.match(a, b)
        return self.value(a.type, a.per_lane, f"{name} {a}, {b.text}")

    def add(self, a: Value, b: Value) -> Value:
        if b.constant == 0:
            return a
        return self.op("add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.op("sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.op("mul", a, b)

    def and_(self, a: Value, b: Value) -> Value:
        return self.op("and", a, b)

    def or_(self, a: Value, b: Value) -> Value:
        return self.op("or", a, b)

    def xor(self, a: Value, b: Value) -> Value:
        return self.op("xor", a, b)

    def shl(self, a: Value, b: Value) -> Value:
        return self.op("shl", a, b)

    def lshr(self, a: Value, b: Value) -> Value:
        return self.op("lshr", a, b)

    def ashr(self, a: Value, b: Value) -> Value:
        return self.op("ashr", a, b)

    def not_(self, a: Value) -> Value:
        return self.xor(a, integer(a.type, -1))

    def neg(self, a: Value) -> Value:
        return self.sub(integer(a.type, 0), a)

    def icmp(self, relation: str, a: Value, b: Value) -> Value:
        a, b = self.match(a, b)
        return self.value("i1", a.per_lane, f"icmp {relation} {a}, {b.text}")

    def fcmp(self, relation: str, a: Value, b: Value) -> Value:
        a, b = self.match(a, b)
        return self.value("i1", a.per_lane, f"fcmp {relation} {a}, {b.text}")

    def fneg(self, a: Value) -> Value:
        return self.value(a.type, a.per_lane, f"fneg {a}")

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        if condition.constant is not None:
            return a if condition.constant else b
        if condition.per_lane:
            a, b = self.splat(a), self.splat(b)
        else:
            a, b = self.match(a, b)
        return self.value(a.type, a.per_lane, f"select {condition}, {a}, {b}")

    def cast(self, operation: str, a: Value, type_: str) -> Value:
        """zext, sext, trunc, bitcast, fpext, sitofp...; nothing where the type is the same."""
        if a.type == type_:
            return a
        if a.constant is not None and operation in ("zext", "trunc"):
            result = integer(type_, a.constant)
            return self.splat(result) if a.per_lane else result
        to = f"<{LANES} x {type_}>" if a.per_lane else type_
        return self.value(type_, a.per_lane, f"{operation} {a} to {to}")

    def bitcast(self, a: Value, type_: str) -> Value:
        return self.cast("bitcast", a, type_)

    def resize(self, a: Value, type_: str, signed: bool = False) -> Value:
        """Truncate or extend an integer."""
        if BITS[type_] == a.bits:
            return a
        if BITS[type_] < a.bits:
            return self.cast("trunc", a, type_)
        return self.cast("sext" if signed else "zext", a, type_)

    def intrinsic(self, name: str, result: str, *args: Value, flags: tuple[str, ...] = ()) -> Value:
        """llvm.NAME overloaded on the first argument; `flags` are literal arguments with types."""
        matched = self.match(*args)
        per_lane = matched[0].per_lane
        suffix = _suffix(matched[0])
        if name.startswith(("fptosi", "fptoui")):
            suffix = _suffix(Value(result, "", per_lane)) + "." + suffix
        full = f"<{LANES} x {result}>" if per_lane else result
        symbol = f"@llvm.{name}.{suffix}"
        types = ", ".join([v.full_type for v in matched] + [f.split()[0] for f in flags])
        self.module.declare(symbol, f"declare {full} {symbol}({types})")
        text = ", ".join([str(v) for v in matched] + list(flags))
        return self.value(result, per_lane, f"call {full} {symbol}({text})")

    # ---- memory ----------------------------------------------------------------------------------

    def keep(self, type_: str, align: int = 64) -> str:
        """A stack slot, made at the function's entry."""
        name = self.name()
        self.allocas.append(f"  {name} = alloca {type_}, align {align}")
        return name

    def next_instruction(self) -> None:
        """The slots of `alloca` are free again."""
        self.taken = {}

    def alloca(self, type_: str, align: int = 64) -> str:
        """A stack slot for the current instruction.

        Those after it get it again: a thousand matrix products share one product's slots.
        """
        key = (type_, align)
        place = self.taken[key] = self.taken.get(key, 0) + 1
        slots = self.slots.setdefault(key, [])
        if place > len(slots):
            slots.append(self.keep(type_, align))
        return slots[place - 1]

    def load(self, type_: str, pointer: str, align: int, per_lane: bool = False) -> Value:
        full = f"<{LANES} x {type_}>" if per_lane else type_
        return self.value(type_, per_lane, f"load {full}, ptr {pointer}, align {align}")

    def store(self, a: Value, pointer: str, align: int) -> None:
        self.line(f"store {a}, ptr {pointer}, align {align}")

    def spill(self, a: Value) -> str:
        """The lanes' values in memory."""
        a = self.splat(a)
        slot = self.alloca(a.full_type)
        self.store(a, slot, 64)
        return slot

    def offset(self, pointer: str, offset: int) -> str:
        if not offset:
            return pointer
        return self.value("ptr", False, f"getelementptr i8, ptr {pointer}, i64 {offset}").text

    # ---- masks -----------------------------------------------------------------------------------

    def mask_bits(self, a: Value) -> Value:
        """Predicates of all lanes as one i32."""
        a = self.splat(a)
        if a.constant is not None:
            return integer("i32", -1 if a.constant else 0)
        return self.value("i32", False, f"bitcast {a} to i32")

    def mask_lanes(self, bits: Value) -> Value:
        return self.value("i1", True, f"bitcast i32 {bits.text} to <{LANES} x i1>")


def _suffix(a: Value) -> str:
    name = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}.get(
        a.type, a.type
    )
    return f"v{LANES}{name}" if a.per_lane else name


class ModuleText:
    """One LLVM module: declarations once, then functions."""

    def __init__(self) -> None:
        self.declarations: dict[str, str] = {}
        self.functions: list[str] = []

    def declare(self, symbol: str, text: str) -> None:
        self.declarations.setdefault(symbol, text)

    def text(self) -> str:
        return "\n".join([*self.declarations.values(), *self.functions, ""])
