"""Compiled modules as native/softgpu/exec.h sees them; code made when it is first needed."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import threading
from collections.abc import Callable

from . import abi
from .apart import LeftError, apart
from .cache import ObjectCache
from .errors import CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_UNKNOWN, PtxError, UnsupportedError
from .jit import jit
from .program import Program
from .syntax import Function

COMPILER_VERSION = 6
EMIT_AT_LOAD_MAX = 20_000  # instructions; larger modules are checked opcode by opcode only
# Told of launches of kernels that cannot run: the module's digest, the kernel, and why.
Refused = Callable[[str, str, str], None] | None
_log = logging.getLogger(__name__)
_U32, _U64, _PTR = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p


class _Param(ctypes.Structure):
    _fields_ = (("offset", _U32), ("bytes", _U32))


class _Kernel(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("entry", _PTR), ("params", _PTR),
        ("param_count", _U32), ("param_bytes", _U32), ("static_shared_bytes", _U32),
        ("local_bytes", _U32), ("max_threads", _U32), ("required_block", _U32 * 3),
        ("registers", _U32), ("ptx_version", _U32), ("flags", _U32), ("const_bytes", _U32),
    )  # fmt: skip


class _Global(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("offset", _U64), ("bytes", _U64), ("is_const", _U32),
        ("reserved", _U32),
    )  # fmt: skip


class SoftCode(ctypes.Structure):
    """struct soft_code."""

    _fields_ = (
        ("kernels", _PTR), ("kernel_count", _U32), ("global_count", _U32), ("globals", _PTR),
        ("globals_image", _PTR), ("globals_bytes", _U64), ("relocations", _PTR),
        ("relocation_count", _U64), ("owner", _PTR),
    )  # fmt: skip


_RESOLVE = ctypes.CFUNCTYPE(ctypes.c_int, _U64, _U32, ctypes.POINTER(_PTR))


class _Entry(ctypes.Structure):
    _fields_ = (
        ("code", _PTR * len(abi.VARIANTS)), ("resolve", _RESOLVE), ("token", _U64),
        ("flags", _U32), ("local_bytes", _U32),
    )  # fmt: skip


def code_bytes_of_kernel() -> tuple[int, int]:
    """Sizes to check against the library's."""
    return ctypes.sizeof(_Entry), ctypes.sizeof(_Kernel)


class CompiledModule:
    """One PTX module: parsed and checked when made, its kernels compiled when asked for."""

    def __init__(self, text: str, cache: ObjectCache | None, refused: Refused = None) -> None:
        self.refused = refused
        self.program = Program(text)
        self.digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        self.cache = cache
        self.lock = threading.Lock()
        self.addresses: dict[tuple[str, int], int] = {}
        self.kernels = self.program.kernels
        self.code = self._describe()
        self._check()

    # ---- machine code ----------------------------------------------------------------------------

    def resolve(self, kernel: Function, variant: int) -> int:
        """Address of a kernel's function for a variant; compiles it on the first call."""
        if why := self.program.refusal(kernel):
            if self.refused is not None:
                self.refused(self.digest, kernel.name, why)
            raise UnsupportedError(0, why)
        known = self.addresses.get((kernel.name, variant))
        return known if known is not None else apart(lambda: self._resolve(kernel, variant))

    def _resolve(self, kernel: Function, variant: int) -> int:
        with self.lock:
            key = (kernel.name, variant)
            address = self.addresses.get(key)
            if address is None:
                address = self.addresses[key] = self._make(kernel, variant)
            return address

    def _make(self, kernel: Function, variant: int) -> int:
        engine = jit()
        symbol = self.program.symbol(kernel, variant)
        parts = (str(COMPILER_VERSION), engine.identity, abi.description(), self.digest, symbol)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        image = self.cache.get(key) if self.cache else None
        if image is None:
            image = engine.compile(self.program.emit(kernel, variant))
            if self.cache:
                self.cache.put(key, image)
        return engine.load(image, symbol)

    def _check(self) -> None:
        """Emit all kernels without compiling them: finds whatever an emitter would refuse."""
        size = sum(len(f.body or []) for f in self.program.functions)
        if size > EMIT_AT_LOAD_MAX:
            return
        for kernel in self.kernels:
            if self.program.refusal(kernel):
                continue
            try:
                self.program.emit(kernel, 0)
            except UnsupportedError as error:
                kernel.refused = error

    # ---- the C side ------------------------------------------------------------------------------

    def _describe(self) -> SoftCode:
        count = len(self.kernels)
        self._kernels = (_Kernel * max(count, 1))()
        self._entries = (_Entry * max(count, 1))()
        self._params: list[ctypes.Array[_Param]] = []
        self._names: list[bytes] = []
        for index, function in enumerate(self.kernels):
            self._describe_kernel(self._kernels[index], self._entries[index], function)
        variables = self.program.globals.variables
        named = [v for v in variables if not v.function]
        self._globals = (_Global * max(len(named), 1))()
        for slot, variable in zip(self._globals, named, strict=False):
            slot.name = self._name(variable.name)
            slot.offset, slot.bytes = variable.offset, variable.bytes
            slot.is_const = int(variable.space == "const")
        image = bytes(self.program.globals.image)
        self._image = ctypes.create_string_buffer(image, max(len(image), 1))
        relocations = self.program.globals.relocations
        self._relocations = (_U64 * max(len(relocations), 1))(*relocations)
        return SoftCode(
            ctypes.addressof(self._kernels), count, len(named), ctypes.addressof(self._globals),
            ctypes.addressof(self._image), len(image), ctypes.addressof(self._relocations),
            len(relocations), None,
        )  # fmt: skip

    def _name(self, text: str) -> bytes:
        self._names.append(text.encode("utf-8", "replace"))
        return self._names[-1]

    def _describe_kernel(self, slot: _Kernel, entry: _Entry, function: Function) -> None:
        params = (_Param * max(len(function.parameters), 1))()
        for param, variable in zip(params, function.parameters, strict=False):
            param.offset, param.bytes = variable.offset, variable.bytes
        self._params.append(params)
        last = function.parameters[-1] if function.parameters else None
        _, static = self.program.shared_layout(function)
        local = sum(v.bytes for v in function.variables if v.space == "local")
        if local > abi.LOCAL_MAX:
            raise PtxError(function.line, "more than 512 KiB of local memory")
        entry.resolve = _resolver
        entry.token = _register(self, function)
        entry.flags = abi.NEEDS_FIBERS if self.program.needs_fibers(function) else 0
        entry.local_bytes = -(-local // 16) * 16 + 256
        slot.name = self._name(function.name)
        slot.entry = ctypes.addressof(entry)
        slot.params = ctypes.addressof(params)
        slot.param_count = len(function.parameters)
        slot.param_bytes = last.offset + last.bytes if last else 0
        slot.static_shared_bytes = static
        slot.local_bytes = local
        slot.max_threads = function.max_threads or 1024
        slot.required_block = (_U32 * 3)(*function.required)
        words = sum(max(r.type.bits // 32, 1) for r in function.registers if r.type.bits > 1)
        slot.registers = min(max(16, words), 255)
        digits = "".join(c for c in self.program.module.target if c.isdigit())
        slot.ptx_version = int(digits or "80")
        slot.flags = abi.KERNEL_WAITS if self.program.waits_for_blocks(function) else 0
        slot.const_bytes = self.program.const_bytes()


# ---- resolving from C ----------------------------------------------------------------------------

_tokens: dict[int, tuple[CompiledModule, Function]] = {}
_tokens_lock = threading.Lock()


def _register(module: CompiledModule, function: Function) -> int:
    with _tokens_lock:
        token = len(_tokens) + 1
        _tokens[token] = (module, function)
        return token


def _resolve(token: int, variant: int, code: ctypes._Pointer[ctypes.c_void_p]) -> int:
    """Called by native/softgpu/block.c, on any thread."""
    try:
        module, function = _tokens[token]
        code[0] = module.resolve(function, variant)
    except PtxError as error:
        return error.result
    except LeftError:
        return CUDA_ERROR_CONTEXT_IS_DESTROYED
    except Exception:  # a border: C must get a code, whatever happened
        _log.exception("kernel %s cannot be compiled", _tokens[token][1].name)
        return CUDA_ERROR_UNKNOWN
    return 0


_resolver = _RESOLVE(_resolve)


class Compiler:
    """PTX to modules; the same text gives the same module."""

    def __init__(self, cache: ObjectCache | None = None, refused: Refused = None) -> None:
        self.cache = cache
        self.refused = refused
        self.lock = threading.Lock()
        self.modules: dict[str, CompiledModule] = {}

    def compile(self, text: str) -> CompiledModule:
        """Raises PtxError, LeftError."""
        key = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        known = self.modules.get(key)
        return known if known is not None else apart(lambda: self._compile(key, text))

    def _compile(self, key: str, text: str) -> CompiledModule:
        with self.lock:
            module = self.modules.get(key)
            if module is None:
                module = self.modules[key] = CompiledModule(text, self.cache, self.refused)
            return module
