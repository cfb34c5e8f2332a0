"""softgpu's compiler: PTX to machine code for one warp at a time, through LLVM.

front/ reads programs; analysis/ finds out what lanes share and where they wait; emit/ writes LLVM
IR, a function for each instruction, registered in table.py; jit.py and image.py make code of it.
code.py describes the result to native/softgpu; modules.py keeps it, and loader.py loads it.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from tally.config import default_of

from ..workers import LeftError, Pool
from . import abi, modules
from .errors import CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_UNKNOWN, PtxError
from .modules import WORK_MODULE, Modules, Refused
from .unpack import DECOMPRESS, make_decompressor

__all__ = ["WORK_MODULE", "Modules", "PtxError", "Refused", "install"]

_COMPILE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p, ctypes.c_size_t,
)  # fmt: skip
_RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_installed: list[Any] = []  # callbacks that C holds


def default_folder() -> Path:
    """Where compiled code is kept."""
    configured = os.environ.get("TALLY_CACHE_DIR")
    base = Path(configured) if configured else Path.home() / ".cache" / "tally"
    return base / "softgpu"


def _write_log(log: int | None, room: int, text: str) -> None:
    if not log or not room:
        return
    data = text.encode("utf-8", "replace")[: room - 1] + b"\0"
    ctypes.memmove(log, data, len(data))


def _make_compile(loaded: Modules) -> Any:
    """A softgpu_compile_fn; the Python lock is held only inside it."""

    def compile_(
        user: int | None, ptx: int, size: int, code: Any, log: int | None, log_bytes: int
    ) -> int:
        del user
        try:
            code[0] = loaded.load(ctypes.string_at(ptx, size)).address
        except PtxError as error:
            _write_log(log, log_bytes, f"ptx compiler: {error}")
            return error.result
        except LeftError:
            return CUDA_ERROR_CONTEXT_IS_DESTROYED
        except Exception as error:  # a border: C must get a code, whatever happened
            _write_log(log, log_bytes, f"ptx compiler: internal error: {error!r}")
            return CUDA_ERROR_UNKNOWN
        return 0

    return _COMPILE(compile_)


def install(
    library: ctypes.CDLL,
    pool: Pool | None = None,
    *,
    keep: bool = True,
    bytes_max: int = default_of("code_cache_bytes_max"),
    refused: Refused = None,
) -> Modules:
    """Make this compiler the one of a loaded libtally_softgpu.so, and zstandard its decompressor.

    pool: of workers with WORK_MODULE. keep: code on disk, bytes_max of it. refused: told of
    launches of kernels that cannot run. All stay valid for the life of the process. RuntimeError if
    the library is another one, or was built with another layout."""
    try:
        library.softgpuAbi.restype = ctypes.c_char_p
        abi.check(library.softgpuAbi().decode())
    except AttributeError:
        raise RuntimeError(f"{library._name} is not softgpu: it has no softgpuAbi") from None
    pool = pool or Pool([WORK_MODULE])
    pool.watch(library.softgpuLeaving)
    loaded = Modules(
        pool,
        default_folder() if keep else None,
        bytes_max,
        leaving=library.softgpuLeaving,
        urgent=library.softgpuUrgent,
        refused=refused,
    )
    modules.use(loaded)
    callbacks = (
        ("softgpuSetCompiler", _COMPILE, _make_compile(loaded)),
        ("softgpuSetRelease", _RELEASE, _RELEASE(lambda _user, code: loaded.release(code))),
        ("softgpuSetDecompressor", DECOMPRESS, make_decompressor()),
    )
    _installed.append((callbacks, loaded))
    for name, kind, callback in callbacks:
        function = getattr(library, name)
        function.restype = ctypes.c_int
        function.argtypes = [kind, ctypes.c_void_p]
        if result := function(callback, None):
            raise RuntimeError(f"{name} failed: {result}")
    return loaded
