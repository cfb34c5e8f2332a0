"""One PTX function to one LLVM function that runs a warp.

Block by block in the order of analysis/cfg.py. A uniform block runs with all live lanes (%live). A
divergent one has a slot of lanes that wait to run it; at its end control goes to the next block,
in order, for which lanes wait, and from a component's last block to the component's exit, where
all live lanes are together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import abi
from ..analysis.cfg import Block
from ..analysis.passes import run
from ..analysis.uses import writes
from ..analysis.waiting import names_members
from ..errors import PtxError, UnsupportedError
from ..ir import (
    Address,
    Function,
    Immediate,
    Instruction,
    Negated,
    Operand,
    Register,
    Sink,
    Special,
    Symbol,
)
from ..layout import align_up
from ..table import Effect, effect_of, emitter_for
from ..types import PtxType
from .builder import Builder, ModuleText, Value, integer, lanes_constant
from .collective import hold
from .entry import write_entry
from .flow import Flow
from .neighbours import Neighbours
from .spinning import spin

if TYPE_CHECKING:
    from ..program import Program

# Every page of a frame is touched: one that does not fit meets the guard page below its stack.
_ATTRIBUTES = 'nounwind "probe-stack"="inline-asm"'


class Emitter:
    """State while one function is emitted; families of instructions are functions that take it."""

    def __init__(
        self, program: Program, function: Function, text: ModuleText, variant: int
    ) -> None:
        self.program = program
        self.function = function
        self.variant = variant
        facts = run(function, variant)
        self.graph = facts.graph
        self.divergence = facts.divergence
        self.spins = facts.waiting
        self.shapes = facts.shapes
        self.b = Builder(text)
        self.flow = Flow(self)
        self.block = self.graph.blocks[0]
        self.ins: Instruction | None = None
        self.mask = integer("i32", 0)  # lanes that run the current instruction
        self.turn: Value | None = None  # where a waiting loop lets others run
        self.mask_cache: dict[str, Value] = {}
        self.guard_lanes: Value | None = None  # of an instruction whose guard varies
        self.fields: dict[str, Value] = {}
        self.constants = self._constants()
        self.param_slots: dict[str, str] = {}
        self.scratch_slots: dict[str, str] = {}
        self.neighbours = Neighbours()
        self.depth = 0  # conditional code around the current instruction
        self.position = 0  # of the current instruction in its block
        self.frame_bytes = self._frame()
        self.local_base: Value | None = None

    # ---- the whole function ----------------------------------------------------------------------

    def emit(self) -> str:
        b = self.b
        for block in self.graph.blocks:
            self._emit_block(block)
        body, b.lines = b.lines, []
        write_entry(self)
        name = self.program.symbol(self.function, self.variant)
        linkage = "" if self.function.entry else "internal "
        head = (
            f"define {linkage}i32 @{name}(ptr noalias %w, i32 %mask, i64 %local, ptr %args, "
            f"ptr %rets) {_ATTRIBUTES} {{"
        )
        tail = ["finish:", "  %gone = load i32, ptr %exited, align 4", "  ret i32 %gone", "}"]
        return "\n".join([head, "entry:", *b.allocas, *b.lines, *body, *tail])

    def register_type(self, r: Register) -> str:
        varying = r.index in self.divergence.varying
        return f"<32 x {r.type.llvm}>" if varying else r.type.llvm

    def _constants(self) -> dict[int, Operand]:
        """Registers written once, with a literal or a symbol: known wherever they are read."""
        found: dict[int, Operand] = {}
        count: dict[int, int] = {}
        for block in self.graph.blocks:
            for ins in block.instructions:
                for r in writes(ins):
                    count[r.index] = count.get(r.index, 0) + 1
                    if ins.opcode == "mov" and ins.guard is None and len(ins.operands) == 2:
                        source = ins.operands[1]
                        if isinstance(source, Immediate) and ins.operands[0] is r:
                            found[r.index] = source
        live = self.divergence.live[0]
        return {r: v for r, v in found.items() if count[r] == 1 and not live >> r & 1}

    def _frame(self) -> int:
        offset = 0
        for variable in self.function.variables:
            if variable.space == "local":
                offset = align_up(offset, variable.align)
                variable.offset = offset
                offset += variable.bytes
        if offset > abi.LOCAL_MAX:
            raise PtxError(self.function.line, "more than 512 KiB of local memory")
        return align_up(offset, 16)

    # ---- blocks ----------------------------------------------------------------------------------

    def _emit_block(self, block: Block) -> None:
        b = self.b
        self.block = block
        self.mask_cache = {}
        index = block.index
        component = self.divergence.component.get(index)
        if component is not None:
            b.label(f"T{index}")
            waiting = b.load("i32", f"%pend{index}", 4)
            some = b.icmp("ne", waiting, integer("i32", 0))
            b.branch(some, f"B{index}", self.flow.after(component, index))
            b.label(f"B{index}")
            self.mask = b.load("i32", f"%pend{index}", 4)
            b.store(integer("i32", 0), f"%pend{index}", 4)
            if component.holds and names_members(block):
                self.mask = hold(self, block, self.flow.after(component, index))
        else:
            b.label(f"B{index}")
            self.mask = b.load("i32", "%live", 4)
        self.neighbours = Neighbours()
        for position, ins in enumerate(block.instructions):
            self.position = position
            b.next_instruction()
            self._instruction(ins)
            for register in writes(ins):
                self.neighbours.written(register)
            if ins.call is not None:
                self.neighbours = Neighbours()
        self.turn = None
        if block.index in self.spins:
            spin(self, block)
        self.flow.terminate(block, component)

    # ---- instructions ----------------------------------------------------------------------------

    def _instruction(self, ins: Instruction) -> None:
        self.ins = ins
        emit = emitter_for(ins)
        if ins.guard is None:
            emit(self, ins)
            return
        guard = self.guard_value(ins.guard, ins.guard_negated)
        b = self.b
        if not guard.per_lane:
            self._inside(guard, lambda: emit(self, ins))
            return
        outer = self.mask
        self.mask = b.and_(outer, b.mask_bits(guard))
        self.guard_lanes = guard
        if effect_of(ins) is Effect.ACTS:
            some = b.icmp("ne", self.mask, integer("i32", 0))
            self._inside(some, lambda: emit(self, ins))
        else:
            emit(self, ins)
        self.mask, self.guard_lanes = outer, None

    def _inside(self, condition: Value, emit: Callable[[], None]) -> None:
        b = self.b
        yes, after = b.fresh_label("if"), b.fresh_label("endif")
        b.branch(condition, yes, after)
        b.label(yes)
        self.mask_cache = {}
        self.depth += 1
        emit()
        self.depth -= 1
        b.jump(after)
        b.label(after)
        self.mask_cache = {}

    def guard_value(self, register: Register, negated: bool) -> Value:
        value = self.read(register, "i1")
        return self.b.not_(value) if negated else value

    @property
    def mask_lanes(self) -> Value:
        """The current lanes as predicates."""
        known = self.mask_cache.get(self.mask.text)
        if known is None:
            known = self.mask_cache[self.mask.text] = self.b.mask_lanes(self.mask)
        return known

    def error(self, message: str) -> PtxError:
        """An error at the current instruction."""
        line = self.ins.line if self.ins else self.function.line
        name = self.ins.full_name if self.ins else self.function.name
        return PtxError(line, f"{name}: {message}")

    def unsupported(self, message: str) -> UnsupportedError:
        """That the current instruction cannot be compiled, though it is right."""
        error = self.error(message)
        return UnsupportedError(error.line, error.message)

    # ---- operands --------------------------------------------------------------------------------

    def read(self, operand: Operand, type_: str, signed: bool = False) -> Value:
        """An operand's bits as an integer of LLVM type `type_`."""
        b = self.b
        if isinstance(operand, Register):
            constant = self.constants.get(operand.index)
            if constant is not None:
                value = self.read(constant, operand.type.llvm)
            else:
                varying = operand.index in self.divergence.varying
                value = b.load(operand.type.llvm, f"%r{operand.index}", 64, varying)
            return b.resize(value, type_, signed)
        if isinstance(operand, Immediate):
            return self._literal(operand, type_)
        if isinstance(operand, Negated):
            return b.not_(self.read(operand.register, "i1"))
        if isinstance(operand, Special):
            from .specials import read_special

            return b.resize(read_special(self, operand.name), type_)
        if isinstance(operand, Symbol):
            return b.resize(self.symbol_address(operand), type_)
        if isinstance(operand, Sink):
            return integer(type_, 0)
        raise self.error("operand of a kind that does not fit")

    def _literal(self, operand: Immediate, type_: str) -> Value:
        if operand.float_bits == 0 or operand.float_bits == Value(type_, "").bits:
            return integer(type_, operand.value)
        from ..numbers import convert_float_bits

        return integer(
            type_, convert_float_bits(operand.value, operand.float_bits, Value(type_, "").bits)
        )

    def read_as(self, operand: Operand, type_: PtxType) -> Value:
        """An operand in the LLVM type that computes with it: float and double as such, else
        integers."""
        if isinstance(operand, Immediate) and not operand.float_bits and type_.kind == "f":
            from ..numbers import bits_of_integer

            if operand.value <= 1 << 24:  # `0` and other plain integers where a float is due
                return self.b.bitcast(
                    integer(type_.llvm, bits_of_integer(operand.value, type_.bits)),
                    float_type(type_),
                )
        value = self.read(operand, type_.llvm, type_.signed)
        if type_.kind == "f" and type_.lanes == 1:
            return self.b.bitcast(value, float_type(type_))
        return value

    def write(self, operand: Operand, value: Value, signed: bool = False) -> None:
        """Set a destination, in the lanes where that must show."""
        if isinstance(operand, Sink):
            return
        if not isinstance(operand, Register):
            raise self.error("the destination is not a register")
        b = self.b
        value = b.bitcast(value, f"i{value.bits}")
        value = b.resize(value, operand.type.llvm, signed)
        slot = f"%r{operand.index}"
        if operand.index not in self.divergence.varying:
            if value.per_lane:
                value = b.lane(value, 0)  # equal in all lanes that take part
            b.store(value, slot, 64)
            return
        value = b.splat(value)
        blend = (self.block.index, operand.index) in self.divergence.blends
        where = self.mask_lanes if blend else self.guard_lanes
        if where is not None:
            value = b.select(where, value, b.load(operand.type.llvm, slot, 64, True))
        b.store(value, slot, 64)

    def symbol_address(self, symbol: Symbol) -> Value:
        """The address of a variable or function, in its own space."""
        b, variable = self.b, symbol.variable
        if variable is None:
            return integer("i64", self.program.function_handle(symbol.name))
        offset = integer("i64", variable.offset + symbol.offset)
        if variable.space in ("global", "const"):
            if variable.extern:
                raise self.unsupported(f"unresolved external '{variable.name}'")
            return b.add(Value("i64", "%globals.i"), offset)
        if variable.space == "shared":
            return integer(
                "i64", self.program.shared_offset(self.function, variable) + symbol.offset
            )
        if variable.space == "local":
            return b.add(self._local_base(), offset)
        if variable in self.function.parameters and self.function.entry:
            base = b.cast("ptrtoint", Value("ptr", "%args"), "i64")
            return b.add(base, offset)
        raise self.error(f"the address of '{variable.name}' is not available")

    def _local_base(self) -> Value:
        b = self.b
        lanes = lanes_constant("i64", [lane * self.frame_bytes for lane in range(32)])
        return b.add(b.splat(Value("i64", "%local")), lanes)

    def address(self, operand: Operand) -> Value:
        """An address operand as i64."""
        if not isinstance(operand, Address):
            raise self.error("an address in brackets is needed")
        base = self.read(operand.base, "i64")
        return self.b.add(base, integer("i64", operand.offset))

    def scratch_slot(self, name: str, bytes_: int = 8) -> str:
        """Memory for 32 values of up to so many bytes, shared by all calls to C in the function."""
        slot = self.scratch_slots.get(name)
        if slot is None:
            slot = self.scratch_slots[name] = self.b.keep(f"[32 x i{bytes_ * 8}]")
        return slot

    def scratch(self, name: str, value: Value, offset: int = 0) -> str:
        """A value, or addresses moved by `offset`, in scratch memory."""
        slot = self.scratch_slot(name)
        if offset:
            value = self.b.add(value, integer("i64", offset))
        self.b.store(self.b.splat(value), slot, 64)
        return slot

    # ---- calls to C ------------------------------------------------------------------------------

    def call_helper(self, name: str, result: str, arguments: str) -> Value:
        """Call a function of native/softgpu by its place in the table."""
        b = self.b
        index = abi.HELPERS.index(name)
        slot = b.offset("%f.helpers_at", index * 8)
        target = b.name()
        b.line(f"{target} = load ptr, ptr {slot}, align 8, !invariant.load !0")
        if result == "void":
            b.line(f"call void {target}({arguments})")
            return Value("void", "")
        return b.value(result, False, f"call {result} {target}({arguments})")


def float_type(type_: PtxType) -> str:
    return "double" if type_.bits == 64 else "float"
