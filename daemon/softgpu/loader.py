"""Images of image.py in this process: each in one mapping, which may be given back."""

from __future__ import annotations

import ctypes
import json
import mmap
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED = ctypes.c_void_p(-1).value
_LIBRARIES = ("libm.so.6", "libgcc_s.so.1")  # beside libc: what LLVM may call


class LoadError(Exception):
    """No memory for the code, or a function that it calls is nowhere."""


class Loaded:
    """Code that runs; `entry` is its address. Give it back only when nobody runs it any more."""

    def __init__(self, image: bytes) -> None:
        """LoadError; ValueError if it is no image."""
        line, _, code = image.partition(b"\n")
        head = json.loads(line)
        if head["bytes"] != len(code) or not 0 <= head["entry"] < len(code):
            raise ValueError("not an image")
        data = bytearray(code)
        addresses = [(at, _address_of(name)) for at, name in head["symbols"]]
        self.bytes = -(-len(data) // mmap.PAGESIZE) * mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        base = _libc.mmap(None, self.bytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
        if base is None or base == _FAILED:
            raise LoadError("no memory for compiled code")
        self.base = base
        for at, address in addresses:
            struct.pack_into("<Q", data, at, address)
        for at in head["rebase"]:
            struct.pack_into("<Q", data, at, struct.unpack_from("<q", data, at)[0] + base)
        ctypes.memmove(base, bytes(data), len(data))
        if _libc.mprotect(base, self.bytes, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
            self.unload()
            raise LoadError("compiled code cannot be made executable")
        self.entry = base + head["entry"]

    def unload(self) -> None:
        """Give the memory back."""
        _libc.munmap(self.base, self.bytes)


def _address_of(name: str) -> int:
    for library in (_libc, *map(_library, _LIBRARIES)):
        function = getattr(library, name, None) if library else None
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value or 0
    raise LoadError(f"no function {name}")


def _library(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
