"""softgpu's compiler: PTX to machine code for one warp at a time, through LLVM.

parse.py reads a module; cfg.py, divergence.py and shapes.py find out what lanes share; emitter.py,
flow.py and the families of instructions (emit_*.py, registered in table.py) write LLVM IR; jit.py
makes code of it; code.py describes the result to native/softgpu.
"""

from __future__ import annotations

import ctypes
from typing import Any

from . import abi, apart
from .cache import ObjectCache
from .code import Compiler, Refused
from .errors import CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_UNKNOWN, PtxError
from .unpack import DECOMPRESS, make_decompressor

__all__ = ["Compiler", "PtxError", "Refused", "apart", "install"]

_COMPILE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p, ctypes.c_size_t,
)  # fmt: skip
_installed: list[Any] = []  # callbacks that C holds


def _write_log(log: int | None, room: int, text: str) -> None:
    if not log or not room:
        return
    data = text.encode("utf-8", "replace")[: room - 1] + b"\0"
    ctypes.memmove(log, data, len(data))


def make_callback(compiler: Compiler) -> Any:
    """A softgpu_compile_fn; the Python lock is held only inside it."""

    def compile_(
        user: int | None, ptx: int, size: int, code: Any, log: int | None, log_bytes: int
    ) -> int:
        del user
        try:
            text = ctypes.string_at(ptx, size).rstrip(b"\0").decode("utf-8", "surrogateescape")
            module = compiler.compile(text)
            code[0] = ctypes.addressof(module.code)
        except PtxError as error:
            _write_log(log, log_bytes, f"ptx compiler: {error}")
            return error.result
        except apart.LeftError:
            return CUDA_ERROR_CONTEXT_IS_DESTROYED
        except Exception as error:  # a border: C must get a code, whatever happened
            _write_log(log, log_bytes, f"ptx compiler: internal error: {error!r}")
            return CUDA_ERROR_UNKNOWN
        return 0

    return _COMPILE(compile_)


def install(
    library: ctypes.CDLL, compiler: Compiler | None = None, refused: Refused = None
) -> Compiler:
    """Make this compiler the one of a loaded libtally_softgpu.so, and zstandard its decompressor.

    refused: told of launches of kernels that cannot run. All stay valid for the life of the
    process. RuntimeError if the library is another one, or was built with another layout."""
    try:
        library.softgpuAbi.restype = ctypes.c_char_p
        abi.check(library.softgpuAbi().decode())
    except AttributeError:
        raise RuntimeError(f"{library._name} is not softgpu: it has no softgpuAbi") from None
    library.softgpuLeaving.restype = ctypes.c_int
    apart.watch(library.softgpuLeaving)
    compiler = compiler or Compiler(ObjectCache(), refused)
    compile_, decompress = make_callback(compiler), make_decompressor()
    _installed.append((compile_, decompress, compiler))
    for name, kind, callback in (
        ("softgpuSetCompiler", _COMPILE, compile_),
        ("softgpuSetDecompressor", DECOMPRESS, decompress),
    ):
        function = getattr(library, name)
        function.restype = ctypes.c_int
        function.argtypes = [kind, ctypes.c_void_p]
        if result := function(callback, None):
            raise RuntimeError(f"{name} failed: {result}")
    return compiler
