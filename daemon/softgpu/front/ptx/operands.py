"""Operands and literals."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from ...errors import PtxError, UnsupportedError
from ...ir import Address, Immediate, Operand, Pair, Sink, Special, Symbol, Vector

_SPECIALS = re.compile(
    r"%(?:(?:tid|ntid|ctaid|nctaid|cluster_ctaid|cluster_nctaid|clusterid|nclusterid)(?:\.[xyz])?"
    r"|laneid|warpid|nwarpid|smid|nsmid|gridid|is_explicit_cluster|cluster_ctarank|cluster_nctarank"
    r"|lanemask_(?:eq|le|lt|ge|gt)|clock|clock_hi|clock64|pm\d+(?:_64)?|envreg\d+"
    r"|globaltimer(?:_lo|_hi)?|reserved_smem_offset_(?:begin|end|cap|\d)|total_smem_size"
    r"|aggr_smem_size|dynamic_smem_size|current_graph_exec)$"
)
_INTEGER = re.compile(r"([-+~!]?)\s*(0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9]\d*)U?$")
_FLOAT = re.compile(
    r"([-+]?)(?:0[fF]([0-9a-fA-F]{8})|0[dD]([0-9a-fA-F]{16})|(\d+\.\d*(?:[eE][-+]?\d+)?))$"
)
_NAME = re.compile(r"[A-Za-z_$%][\w$]*$")
_ADDRESS = re.compile(r"([^+\-\s]++|-?\d++)\s*+(?:(\+)\s*+((?:-\s*+)?+\w++)|(-)\s*+(\w++))?+$")
_MASK64 = (1 << 64) - 1


def literal(text: str) -> Immediate | None:
    """An integer or float literal, or None."""
    match = _INTEGER.match(text)
    if match:
        sign, digits = match.groups()
        base = 16 if digits[:2] in ("0x", "0X") else 2 if digits[:2] in ("0b", "0B") else 10
        if base == 10 and len(digits) > 1 and digits[0] == "0":
            base = 8
        if len(digits) > 70:
            return None
        value = int(digits, base)
        value = {"-": -value, "~": ~value, "!": int(not value)}.get(sign, value)
        return Immediate(value & _MASK64)
    match = _FLOAT.match(text)
    if not match:
        return None
    sign, single, double, decimal = match.groups()
    if single:
        return Immediate(int(single, 16) ^ (0x80000000 if sign == "-" else 0), 32)
    if double:
        return Immediate(int(double, 16) ^ (1 << 63 if sign == "-" else 0), 64)
    packed = struct.pack("<d", float(sign + decimal))
    return Immediate(int.from_bytes(packed, "little"), 64)


def split(text: str) -> list[str]:
    """Split at commas outside brackets."""
    if not ("{" in text or "(" in text or "[" in text):
        return [part.strip() for part in text.split(",")] if text.strip() else []
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in "{([":
            depth += 1
        elif c in "})]":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    if text[start:].strip() or parts:
        parts.append(text[start:].strip())
    return parts


Resolver = Callable[[str], Operand | None]


def parse_operand(text: str, resolve: Resolver, line: int, depth: int = 0) -> Operand:
    """One operand; `resolve` knows the names in scope."""
    found = resolve(text)
    if found is not None:
        return found
    first = text[:1]
    if first == "%" and _SPECIALS.match(text):
        return Special(text[1:])
    if first in "0123456789-+~":
        number = literal(text)
        if number:
            return number
    if depth > 2:
        raise PtxError(line, f"operand '{text[:60]}' nests too deep")
    if first == "[" and text.endswith("]"):
        return _address(text[1:-1].strip(), resolve, line)
    if first == "{" and text.endswith("}"):
        parts = tuple(parse_operand(p, resolve, line, depth + 1) for p in split(text[1:-1]))
        return Vector(parts)
    if first == "!":
        inner = parse_operand(text[1:].strip(), resolve, line, depth + 1)
        from ...ir import Negated, Register

        if isinstance(inner, Register):
            return Negated(inner)
    if text == "_":
        return Sink()
    if text == "WARP_SZ":
        return Immediate(32)
    if "|" in text:
        left, right = text.split("|", 1)
        return Pair(
            parse_operand(left.strip(), resolve, line, depth + 1),
            parse_operand(right.strip(), resolve, line, depth + 1),
        )
    if text.endswith("]"):  # an element of an array
        name, _, index = text[:-1].partition("[")
        symbol, number = resolve(name.strip()), literal(index.strip())
        if isinstance(symbol, Symbol) and symbol.variable is not None and number:
            step = symbol.variable.type.bytes
            where = symbol.offset + number.value * step
            return Symbol(symbol.name, where, symbol.variable)
    if "+" in text:
        name, _, plus = text.partition("+")
        symbol, number = resolve(name.strip()), literal(plus.strip())
        if isinstance(symbol, Symbol) and number:
            return Symbol(symbol.name, symbol.offset + _signed(number.value), symbol.variable)
    if text.endswith("]"):  # an element of an array: name[index]
        base, _, index = text[:-1].partition("[")
        symbol, number = resolve(base.strip()), literal(index.strip())
        if isinstance(symbol, Symbol) and symbol.variable and number and not number.float_bits:
            offset = symbol.offset + _signed(number.value) * symbol.variable.type.bytes
            return Symbol(symbol.name, offset, symbol.variable)
    raise PtxError(line, f"unknown operand '{text[:60]}'")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _address(text: str, resolve: Resolver, line: int) -> Operand:
    if "," in text:  # a texture or tensor coordinate
        raise UnsupportedError(line, f"address '[{text[:60]}]' is not supported")
    match = _ADDRESS.match(text)
    if not match:
        raise PtxError(line, f"malformed address '[{text[:60]}]'")
    base_text, plus, plus_offset, minus, minus_offset = match.groups()
    base = parse_operand(base_text, resolve, line, 1)
    offset = 0
    if plus or minus:
        number = literal((plus_offset or minus_offset).replace(" ", ""))
        if number is None or number.float_bits:
            raise PtxError(line, f"malformed address '[{text[:60]}]'")
        offset = _signed(number.value)
        if minus:
            offset = -offset
    return Address(base, offset)


def is_name(text: str) -> bool:
    """Whether the text is an identifier."""
    return bool(_NAME.match(text))
