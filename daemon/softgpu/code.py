"""A module as workers compile it: described for native/softgpu/exec.h, code made when asked for."""

from __future__ import annotations

import ctypes

from . import abi
from .c_structs import U32, U64, Entry, GlobalVariable, Kernel, Param
from .errors import PtxError, UnsupportedError
from .front import ptx
from .image import link
from .ir import Function
from .jit import jit
from .program import Program

EMIT_AT_LOAD_MAX = 20_000  # instructions; larger modules are checked opcode by opcode only
NAMES_MAX = 65_536


class CompiledModule:
    """One PTX module: parsed and checked when made, its kernels compiled when asked for."""

    def __init__(self, text: str) -> None:
        self.program = Program(ptx.read(text))
        self.kernels = self.program.kernels
        if max(len(self.kernels), len(self.program.globals.variables)) > NAMES_MAX:
            raise PtxError(0, f"more than {NAMES_MAX} kernels or variables")
        self._describe()
        self._check()

    # ---- machine code ----------------------------------------------------------------------------

    def image(self, kernel: int, variant: int) -> bytes:
        """Machine code of a kernel, by its number, for blocks of a kind; see image.py."""
        function = self.kernels[kernel]
        symbol = self.program.symbol(function, variant)
        return link(jit().compile(self.program.emit(function, variant)), symbol)

    def refusals(self) -> dict[str, str]:
        """Why kernels cannot run that are in a module which can be loaded, by their numbers."""
        found = {str(n): self.program.refusal(kernel) for n, kernel in enumerate(self.kernels)}
        return {number: why for number, why in found.items() if why}

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

    def _describe(self) -> None:
        count = len(self.kernels)
        self.kernel_table = (Kernel * max(count, 1))()
        self.entries = (Entry * max(count, 1))()
        self.params: list[ctypes.Array[Param]] = []
        self._names: list[bytes] = []
        for index, function in enumerate(self.kernels):
            self._describe_kernel(self.kernel_table[index], self.entries[index], function)
        variables = self.program.globals.variables
        named = [v for v in variables if not v.function]
        self.global_table = (GlobalVariable * max(len(named), 1))()
        for slot, variable in zip(self.global_table, named, strict=False):
            slot.name = self._name(variable.name)
            slot.offset, slot.bytes = variable.offset, variable.bytes
            slot.is_const = int(variable.space == "const")
        relocations = self.program.globals.relocations
        self.relocations = (U64 * max(len(relocations), 1))(*relocations)
        self.kernel_count, self.global_count = count, len(named)

    def _name(self, text: str) -> bytes:
        self._names.append(text.encode("utf-8", "replace"))
        return self._names[-1]

    def _describe_kernel(self, slot: Kernel, entry: Entry, function: Function) -> None:
        params = (Param * max(len(function.parameters), 1))()
        for param, variable in zip(params, function.parameters, strict=False):
            param.offset, param.bytes = variable.offset, variable.bytes
        self.params.append(params)
        last = function.parameters[-1] if function.parameters else None
        _, static = self.program.shared_layout(function)
        local = sum(v.bytes for v in function.variables if v.space == "local")
        if local > abi.LOCAL_MAX:
            raise PtxError(function.line, "more than 512 KiB of local memory")
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
        slot.required_block = (U32 * 3)(*function.required)
        words = sum(max(r.type.bits // 32, 1) for r in function.registers if r.type.bits > 1)
        slot.registers = min(max(16, words), 255)
        digits = "".join(c for c in self.program.module.target if c.isdigit())
        slot.ptx_version = int(digits or "80")
        slot.flags = abi.KERNEL_WAITS if self.program.waits_for_blocks(function) else 0
        slot.const_bytes = self.program.const_bytes()
