"""Where variables lie: the module's globals block with its initial values, a kernel's shared
memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import CUDA_ERROR_OUT_OF_MEMORY, PtxError
from .front.ptx.operands import literal, split
from .ir import Module, Variable
from .numbers import convert_float_bits

GLOBALS_MAX = 1 << 30
SHARED_MAX = 227 << 10
_TERM = re.compile(r"(?:generic\s*+\(\s*+)?([\w$%]++)\s*+\)?+\s*+(?:\+\s*+(-?\w++))?+$")
_MASK = re.compile(r"(0x[0-9a-fA-F]++|mask)\s*+\(\s*+(.*)\)$")


def align_up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


@dataclass(slots=True)
class Globals:
    image: bytearray = field(default_factory=bytearray)
    relocations: list[int] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)


def lay_out_globals(
    module: Module, statics: list[Variable], handle: Callable[[str], int]
) -> Globals:
    """Offsets for all .global and .const variables; `handle` gives a function's address."""
    result = Globals()
    offset = 0
    everything = [v for v in module.variables.values() if v.space in ("global", "const")] + statics
    for variable in everything:
        if variable.extern:
            continue
        offset = align_up(offset, max(variable.align, 1))
        variable.offset = offset
        offset += max(variable.bytes, 1)
        if offset > GLOBALS_MAX:
            raise PtxError(variable.line, "more than 1 GiB of globals", CUDA_ERROR_OUT_OF_MEMORY)
        result.variables.append(variable)
    result.image = bytearray(align_up(offset, 256))
    for variable in result.variables:
        if variable.initial is not None:
            _Initializer(module, variable, result, handle).run()
    return result


class _Initializer:
    def __init__(
        self, module: Module, variable: Variable, result: Globals, handle: Callable[[str], int]
    ) -> None:
        self.module = module
        self.variable = variable
        self.result = result
        self.handle = handle
        self.at = 0

    def run(self) -> None:
        text = self.variable.initial or ""
        if not self._fast(text):
            self._items(text, 0)

    def _fast(self, text: str) -> bool:
        """Flat lists of plain bytes, as front ends write strings and tables."""
        if (
            self.variable.type.bits != 8
            or not text.startswith("{")
            or "(" in text
            or "{" in text[1:]
        ):
            return False
        try:
            values = bytes([int(t) & 255 for t in text[1:-1].split(",") if t.strip()])
        except ValueError:
            return False
        if len(values) > self.variable.bytes:
            raise PtxError(
                self.variable.line, f"too many initial values for '{self.variable.name}'"
            )
        start = self.variable.offset
        self.result.image[start : start + len(values)] = values
        return True

    def _items(self, text: str, depth: int) -> None:
        text = text.strip()
        if depth > 8:
            raise PtxError(self.variable.line, "initial values nest too deep")
        if text.startswith("{"):
            if not text.endswith("}"):
                raise PtxError(self.variable.line, "malformed initial values")
            for item in split(text[1:-1]):
                if item:
                    self._items(item, depth + 1)
            return
        self._put(text)

    def _put(self, text: str) -> None:
        variable = self.variable
        size = variable.type.bytes
        offset = variable.offset + self.at * size
        self.at += 1
        if self.at > variable.count:
            raise PtxError(variable.line, f"too many initial values for '{variable.name}'")
        self.result.image[offset : offset + size] = self._value(text, size, offset).to_bytes(
            size, "little"
        )

    def _value(self, text: str, size: int, offset: int) -> int:
        mask = (1 << size * 8) - 1
        number = literal(text)
        if number is not None:
            if number.float_bits and number.float_bits != size * 8:
                return convert_float_bits(number.value, number.float_bits, size * 8)
            return number.value & mask
        shift = 0
        match = _MASK.match(text)
        if match and match.group(1) != "mask":  # one byte of an address: 0xFF00(symbol)
            byte_mask = int(match.group(1), 16)
            shift = (byte_mask & -byte_mask).bit_length() - 1
            text = match.group(2)
        match = _TERM.match(text)
        if not match:
            raise PtxError(self.variable.line, f"malformed initial value '{text[:60]}'")
        name, plus = match.groups()
        addend = literal(plus) if plus else None
        extra = addend.value if addend else 0
        if name in self.module.functions:
            return (self.handle(name) + extra) >> shift & mask
        target = self.module.variables.get(name)
        if target is None or target.space not in ("global", "const") or target.extern:
            raise PtxError(self.variable.line, f"initial value names unknown '{name[:60]}'")
        if size != 8 or shift:
            raise PtxError(self.variable.line, "an address needs 8 bytes")
        self.result.relocations.append(offset)
        return (target.offset + extra) & mask
