"""The structures of native/softgpu/exec.h and block/block.h in ctypes."""

from __future__ import annotations

import ctypes

from . import abi

COMPILER_VERSION = 9  # raise it with every change of what the compiler makes
U32, U64, PTR = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p


class Param(ctypes.Structure):
    _fields_ = (("offset", U32), ("bytes", U32))


class Kernel(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("entry", PTR), ("params", PTR),
        ("param_count", U32), ("param_bytes", U32), ("static_shared_bytes", U32),
        ("local_bytes", U32), ("max_threads", U32), ("required_block", U32 * 3),
        ("registers", U32), ("ptx_version", U32), ("flags", U32), ("const_bytes", U32),
    )  # fmt: skip


class GlobalVariable(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("offset", U64), ("bytes", U64), ("is_const", U32),
        ("reserved", U32),
    )  # fmt: skip


class SoftCode(ctypes.Structure):
    """struct soft_code."""

    _fields_ = (
        ("kernels", PTR), ("kernel_count", U32), ("global_count", U32), ("globals", PTR),
        ("globals_image", PTR), ("globals_bytes", U64), ("relocations", PTR),
        ("relocation_count", U64), ("owner", PTR), ("image_bytes", U64),
    )  # fmt: skip


RESOLVE = ctypes.CFUNCTYPE(ctypes.c_int, U64, U32, ctypes.POINTER(PTR))


class Entry(ctypes.Structure):
    _fields_ = (
        ("code", PTR * len(abi.VARIANTS)), ("resolve", RESOLVE), ("token", U64),
        ("flags", U32), ("local_bytes", U32),
    )  # fmt: skip
