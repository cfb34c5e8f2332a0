"""What code.py says of a module, as bytes that another process can use.

The description is ctypes structures that point to one another. They are put behind one another,
with offsets in place of addresses, and a list of where these stand.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any

from .c_structs import Entry, GlobalVariable, Kernel
from .code import CompiledModule


class Flat:
    """Pieces of memory behind one another."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._at: dict[int, int] = {}  # by the address here
        self.pointers: list[int] = []

    def add(self, piece: bytes | ctypes.Array[Any]) -> int:
        """Where the piece is now."""
        self.data.extend(bytes(-len(self.data) % 16))
        at = len(self.data)
        self.data.extend(bytes(piece))
        if not isinstance(piece, bytes):
            self._at[ctypes.addressof(piece)] = at
        return at

    def point(self, slot: int, at: int) -> None:
        """Let the 8 bytes at `slot` be a pointer to `at`."""
        struct.pack_into("<Q", self.data, slot, at)
        self.pointers.append(slot)

    def repoint(self, slot: int, step: int = 0) -> None:
        """The same, for an address of a piece here that stands there already."""
        (address,) = struct.unpack_from("<Q", self.data, slot)
        self.point(slot, self._at[address - step] + step)


def flatten(module: CompiledModule) -> tuple[dict[str, Any], bytes]:
    """The description's places and counts, and its bytes, which end with the list of pointers."""
    flat = Flat()
    entries, kernels = flat.add(module.entries), flat.add(module.kernel_table)
    variables = flat.add(module.global_table)
    for params in module.params:
        flat.add(params)
    for number in range(module.kernel_count):
        slot, kernel = kernels + number * ctypes.sizeof(Kernel), module.kernel_table[number]
        flat.point(slot + Kernel.name.offset, flat.add(kernel.name + b"\0"))
        flat.repoint(slot + Kernel.entry.offset, number * ctypes.sizeof(Entry))
        flat.repoint(slot + Kernel.params.offset)
    for number in range(module.global_count):
        slot, variable = variables + number * ctypes.sizeof(GlobalVariable), number
        name = module.global_table[variable].name + b"\0"
        flat.point(slot + GlobalVariable.name.offset, flat.add(name))
    initial = bytes(module.program.globals.image).rstrip(b"\0")
    head = {
        "kernels": kernels,
        "kernel_count": module.kernel_count,
        "entries": entries,
        "globals": variables,
        "global_count": module.global_count,
        "image": flat.add(initial),
        "image_bytes": len(initial),
        "globals_bytes": len(module.program.globals.image),
        "relocations": flat.add(module.relocations),
        "relocation_count": len(module.program.globals.relocations),
    }
    head["pointer_count"] = len(flat.pointers)
    head["pointers"] = flat.add(struct.pack(f"<{len(flat.pointers)}Q", *flat.pointers))
    return head, bytes(flat.data)
