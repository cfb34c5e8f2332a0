"""An object file as one piece of memory that runs wherever it is put.

LLVM's own loader places sections one by one, and ends the process when two of them come to lie
more than 2 GiB apart. Here they are laid out beside one another and bound to one another once, by
a worker; the executor copies them to one mapping (loader.py) and needs no LLVM.

An image: a line of JSON, `{"bytes", "entry", "rebase", "symbols"}`, and the bytes. `rebase`: where
the address of the image is to be added; `symbols`: [offset, name] of the C library's functions
that LLVM calls by itself, whose addresses belong there.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

ABSOLUTE, PC32, GOTPCREL, GOTPCRELX, REX_GOTPCRELX, PLT32 = 1, 2, 9, 41, 42, 4
RELA, NOBITS, SYMTAB = 4, 8, 2
WRITE, ALLOC, EXECUTE = 1, 2, 4
COMMON_FIRST = 0xFF00
IMAGE_BYTES_MAX = 256 << 20
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")
_JUMP = b"\xff\x25\x02\x00\x00\x00\x0f\x0b"  # jmp *[rip+2]; ud2: 8 bytes ahead of the address


class LinkError(Exception):
    """The object needs what is not known here; the compiler should not have made it."""


@dataclass(slots=True)
class _Section:
    name: str
    type: int
    flags: int
    data: bytes
    size: int
    align: int
    link: int
    info: int
    at: int = -1  # in the image; -1: not in it


def link(obj: bytes, symbol: str) -> bytes:
    """The image of an object file, whose entry is `symbol`. LinkError."""
    return _Linker(obj).image(symbol)


class _Linker:
    def __init__(self, obj: bytes) -> None:
        self.obj = obj
        self.sections = _sections(obj)
        self.out = bytearray()
        self.rebase: list[int] = []
        self.imports: dict[str, int] = {}  # where a symbol's address stands
        self.symbols = self._symbols()

    def image(self, symbol: str) -> bytes:
        self._place()
        entry = next((self._address(s) for s in self.symbols if s[0] == symbol), None)
        if entry is None:
            raise LinkError(f"no {symbol} in the object")
        for section in self.sections:
            target = self.sections[section.info] if section.type == RELA else None
            if target is not None and target.at >= 0:
                for relocation in _RELA.iter_unpack(section.data):
                    self._bind(target, *relocation)
        head = {
            "bytes": len(self.out),
            "entry": entry,
            "rebase": self.rebase,
            "symbols": [[at, name] for name, at in self.imports.items()],
        }
        return json.dumps(head).encode() + b"\n" + bytes(self.out)

    def _place(self) -> None:
        for section in self.sections:
            if not section.flags & ALLOC or section.name.startswith(".eh_frame"):
                continue
            if section.flags & WRITE and not section.name.startswith(".data.rel.ro"):
                raise LinkError(f"a section that is written to: {section.name}")
            self.out.extend(bytes(-len(self.out) % max(section.align, 1)))
            section.at = len(self.out)
            self.out.extend(section.data if section.type != NOBITS else bytes(section.size))
            if len(self.out) > IMAGE_BYTES_MAX:
                raise LinkError("the code is too large")

    def _symbols(self) -> list[tuple[str, int, int]]:
        """Name, section and value of each."""
        for section in self.sections:
            if section.type == SYMTAB:
                names = self.sections[section.link].data
                return [
                    (_name(names, name), where, value)
                    for name, _, _, where, value, _ in _SYM.iter_unpack(section.data)
                ]
        raise LinkError("an object without symbols")

    def _address(self, symbol: tuple[str, int, int]) -> int:
        """In the image."""
        name, where, value = symbol
        if not 0 < where < COMMON_FIRST or self.sections[where].at < 0:
            raise LinkError(f"a symbol that lies nowhere: {name}")
        return self.sections[where].at + value

    def _imported(self, name: str) -> int:
        """Where the address of a symbol of the C library will stand, behind a jump to it."""
        if name not in self.imports:
            self.out.extend(bytes(-len(self.out) % 8) + _JUMP)
            self.imports[name] = len(self.out)
            self.out.extend(bytes(8))
        return self.imports[name]

    def _slot(self, address: int) -> int:
        """Where the address of something in the image will stand."""
        self.out.extend(bytes(-len(self.out) % 8))
        self.out.extend(struct.pack("<q", address))
        self.rebase.append(len(self.out) - 8)
        return self.rebase[-1]

    def _bind(self, section: _Section, offset: int, info: int, addend: int) -> None:
        kind, symbol = info & 0xFFFFFFFF, self.symbols[info >> 32]
        at, outside = section.at + offset, symbol[1] == 0
        if kind in (PC32, PLT32):
            value = self._imported(symbol[0]) - len(_JUMP) if outside else self._address(symbol)
            struct.pack_into("<i", self.out, at, value + addend - at)
        elif kind in (GOTPCREL, GOTPCRELX, REX_GOTPCRELX):
            slot = self._imported(symbol[0]) if outside else self._slot(self._address(symbol))
            struct.pack_into("<i", self.out, at, slot + addend - at)
        elif kind == ABSOLUTE and not outside:
            struct.pack_into("<q", self.out, at, self._address(symbol) + addend)
            self.rebase.append(at)
        else:
            raise LinkError(f"relocation {kind} of {symbol[0] or 'a section'}")


def _sections(obj: bytes) -> list[_Section]:
    header = _EHDR.unpack_from(obj)
    at, count, names_at = header[6], header[12], header[13]
    raw = [_SHDR.unpack_from(obj, at + number * _SHDR.size) for number in range(count)]
    names = obj[raw[names_at][4] : raw[names_at][4] + raw[names_at][5]]
    return [
        _Section(
            _name(names, name), kind, flags, obj[offset : offset + size] if kind != NOBITS else b"",
            size, align, link_, info,
        )
        for name, kind, flags, _, offset, size, link_, info, align, _ in raw
    ]  # fmt: skip


def _name(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode()
