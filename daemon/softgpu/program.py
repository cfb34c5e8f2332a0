"""A module ready to be compiled: layout, what each kernel reaches, and IR for one kernel."""

from __future__ import annotations

import re

from . import abi, device_runtime
from .analysis.cfg import build
from .analysis.waiting import has_waiting, reads_workspace, spins, waits_for_warps
from .emit.builder import ModuleText
from .emit.emitter import Emitter
from .errors import PtxError
from .ir import Address, Function, Instruction, Module, Operand, Symbol, Variable, Vector
from .jit import jit
from .layout import SHARED_MAX, Globals, align_up, lay_out_globals

# Called by name, and made by this compiler; CUDA's device runtime needs a GPU that launches
# kernels.
BUILTINS = frozenset(("vprintf", "__assertfail", "malloc", "free"))
HANDLE_BASE = 0x5AFE0000
HANDLE_STEP = 16
REACHED_MAX = 2000


class Program:
    """One module, as a front end has read it."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.functions = list(self.module.functions.values())
        self.handles = {f.name: HANDLE_BASE + i * HANDLE_STEP for i, f in enumerate(self.functions)}
        statics = [v for f in self.functions for v in f.variables if v.space in ("global", "const")]
        self.globals: Globals = lay_out_globals(self.module, statics, self.function_handle)
        self.taken = self._address_taken()
        self._reach: dict[str, list[Function]] = {}
        self._shared: dict[str, dict[Variable, int]] = {}
        self.kernel: Function | None = None
        self.gathers = jit().gathers
        self._check_symbols()

    def _check_symbols(self) -> None:
        """A name that is used and that nobody defines refuses the module, as ptxas and nvlink do.

        But for the device runtime's: softgpu has none of it, and refuses the kernels that need it.
        """
        functions = {f.name for f in self.functions if f.body is None} - BUILTINS
        variables = {v for v in self.module.variables.values() if v.extern and v.space != "shared"}
        for function in self.functions:
            for item in function.body or []:
                if not isinstance(item, Instruction):
                    continue
                if item.call is not None and isinstance(item.call.target, Symbol):
                    name = item.call.target.name
                    if name not in BUILTINS and self.is_external(name):
                        _refuse_unresolved(item, name)
                if functions or variables:
                    for symbol in _symbols(_operands(item)):
                        if symbol.name in functions or symbol.variable in variables:
                            _refuse_unresolved(item, symbol.name)

    def refusal(self, kernel: Function) -> str:
        """Why the kernel cannot run here, or nothing."""
        for function in self.reached(kernel):
            if function.refused is not None:
                inside = "" if function is kernel else f" (in '{function.name[:60]}')"
                return f"{function.refused}{inside}"
        return ""

    # ---- functions -------------------------------------------------------------------------------

    @property
    def kernels(self) -> list[Function]:
        return [f for f in self.functions if f.entry and f.body is not None]

    def find(self, name: str) -> Function | None:
        return self.module.functions.get(self.module.aliases.get(name, name))

    def is_external(self, name: str) -> bool:
        function = self.find(name)
        return function is None or function.body is None

    def function_handle(self, name: str) -> int:
        """What a pointer to the function holds; not an address, and never one of the device's."""
        function = self.find(name)
        if function is None:
            raise PtxError(0, f"unknown function '{name[:60]}'")
        return self.handles[function.name]

    def symbol(self, function: Function, variant: int) -> str:
        """The LLVM name: letters only, so that nothing in a PTX name has a meaning there."""
        return (
            f"f{(self.handles[function.name] - HANDLE_BASE) // HANDLE_STEP}_{abi.VARIANTS[variant]}"
        )

    def _address_taken(self) -> list[Function]:
        taken: dict[str, Function] = {}
        for function in self.functions:
            for item in function.body or []:
                if isinstance(item, Instruction) and item.call is None:
                    for name in _named_functions(item.operands):
                        found = self.find(name)
                        if found is not None and found.body is not None:
                            taken[found.name] = found
        for variable in self.module.variables.values():
            for word in re.findall(r"[A-Za-z_$%][\w$]*", variable.initial or "")[:100000]:
                found = self.find(word)
                if found is not None and found.body is not None and not found.entry:
                    taken[found.name] = found
        return list(taken.values())

    def reached(self, kernel: Function) -> list[Function]:
        """The kernel and all functions that it may call."""
        known = self._reach.get(kernel.name)
        if known is not None:
            return known
        found: dict[str, Function] = {kernel.name: kernel}
        work = [kernel]
        while work:
            for item in work.pop().body or []:
                if not isinstance(item, Instruction) or item.call is None:
                    continue
                target = item.call.target
                if isinstance(target, Symbol):
                    callee = self.find(target.name)
                    callees = [] if callee is None else [callee]
                else:
                    callees = self.taken
                for callee in callees:
                    if callee.name not in found and callee.body is not None:
                        found[callee.name] = callee
                        work.append(callee)
        if len(found) > REACHED_MAX:
            raise PtxError(kernel.line, "too many functions")
        self._reach[kernel.name] = list(found.values())
        return self._reach[kernel.name]

    # ---- shared and local memory -----------------------------------------------------------------

    def shared_layout(self, kernel: Function) -> tuple[dict[Variable, int], int]:
        """Offsets of the shared variables that the kernel reaches, and the size of the static
        ones."""
        layout = self._shared.get(kernel.name)
        if layout is None:
            layout = self._shared[kernel.name] = self._lay_out_shared(kernel)
        static = max((o + v.bytes for v, o in layout.items()), default=0)
        return layout, static

    def _lay_out_shared(self, kernel: Function) -> dict[Variable, int]:
        used: dict[Variable, None] = {}
        for function in self.reached(kernel):
            for item in function.body or []:
                if isinstance(item, Instruction):
                    used.update(dict.fromkeys(_shared_variables(item)))
        layout: dict[Variable, int] = {}
        offset = 0
        dynamic = [v for v in used if v.count == 0]
        for variable in used:
            if variable.count:
                offset = align_up(offset, variable.align)
                layout[variable] = offset
                offset += variable.bytes
                if offset > SHARED_MAX:
                    raise PtxError(
                        variable.line, f"too much shared data (more than {SHARED_MAX} bytes)"
                    )
        start = align_up(offset, max([16, *(v.align for v in dynamic)]) if dynamic else 1)
        for variable in dynamic:
            layout[variable] = start
        return layout

    def shared_offset(self, function: Function, variable: Variable) -> int:
        assert self.kernel is not None
        return self.shared_layout(self.kernel)[0][variable]

    # ---- waiting ---------------------------------------------------------------------------------

    def needs_fibers(self, kernel: Function) -> bool:
        """Whether warps of a block may wait for one another."""
        for function in self.reached(kernel):
            for item in function.body or []:
                if isinstance(item, Instruction) and waits_for_warps(item):
                    return True
            if has_waiting(function) and spins(build(function)):
                return True
        return False

    def waits_for_blocks(self, kernel: Function) -> bool:
        """Whether blocks may wait for one another, in loops or at the grid's barrier."""
        return any(
            (has_waiting(function) and spins(build(function))) or reads_workspace(function)
            for function in self.reached(kernel)
        )

    def const_bytes(self) -> int:
        """Of all constants of the module: ptxas, too, gives each kernel all of them."""
        end = 0
        for variable in self.globals.variables:
            if variable.space == "const":
                end = align_up(end, max(variable.align, 1)) + variable.bytes
        return end

    def may_exit(self) -> bool:
        """Whether a function that the kernel calls ends threads itself."""
        assert self.kernel is not None
        return any(
            isinstance(item, Instruction) and item.opcode == "exit"
            for function in self.reached(self.kernel)[1:]
            for item in function.body or []
        )

    # ---- code ------------------------------------------------------------------------------------

    def emit(self, kernel: Function, variant: int) -> str:
        """LLVM IR of the kernel and of what it calls."""
        self.kernel = kernel
        text = ModuleText()
        for function in self.reached(kernel):
            text.functions.append(Emitter(self, function, text, variant).emit())
        return text.text() + '\n!0 = !{}\n!1 = !{!"branch_weights", i32 1000, i32 1}\n'


def _operands(item: Instruction) -> tuple[Operand, ...]:
    if item.call is not None:
        return (*item.call.results, item.call.target, *item.call.arguments)
    return item.operands


def _refuse_unresolved(item: Instruction, name: str) -> None:
    if not device_runtime.has(name):
        raise PtxError(item.line, f"unresolved external '{name[:60]}'")


def _symbols(operands: tuple[Operand, ...]) -> list[Symbol]:
    found: list[Symbol] = []
    for operand in operands:
        if isinstance(operand, Address):
            operand = operand.base
        if isinstance(operand, Symbol):
            found.append(operand)
        elif isinstance(operand, Vector):
            found += _symbols(operand.parts)
    return found


def _named_functions(operands: tuple[Operand, ...]) -> list[str]:
    return [s.name for s in _symbols(operands) if s.variable is None]


def _shared_variables(item: Instruction) -> list[Variable]:
    return [
        s.variable
        for s in _symbols(_operands(item))
        if s.variable is not None and s.variable.space == "shared"
    ]
