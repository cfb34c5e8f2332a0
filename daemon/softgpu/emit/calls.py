"""Calls: of functions by name or by pointer, of printf and assert."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import device_runtime
from ..ir import CallOperands, Function, Instruction, Operand, Register, Symbol, Variable
from ..table import Effect, Result, Trait, instruction
from .builder import Value, integer
from .param_space import PLANE, area, words

if TYPE_CHECKING:
    from .emitter import Emitter


@instruction(
    "call", mods="uni", types=False, result=Result.CALL, effect=Effect.ACTS, traits=Trait.VARYING
)
def call(e: Emitter, ins: Instruction) -> None:
    operands = ins.call
    assert operands is not None
    if not isinstance(operands.target, Symbol):
        _call_pointer(e, operands)
        return
    name = operands.target.name
    if name == "vprintf":
        _print(e, operands)
    elif name == "__assertfail":
        _assert(e, operands)
    elif name in ("malloc", "free") and e.program.is_external(name):
        _heap(e, operands, name)
    else:
        function = e.program.find(name)
        if function is None or function.body is None:
            raise e.unsupported(device_runtime.refusal(name))
        if function.entry:
            raise e.error("a kernel cannot be called")
        _check(e, operands, function)
        arguments, results = _areas(e, operands)
        _after_call(e, _invoke(e, function, e.mask, arguments, results))
        _take_results(e, operands, results)


def _variable(e: Emitter, operand: Operand) -> Variable:
    if isinstance(operand, Symbol) and operand.variable is not None:
        return operand.variable
    raise e.error("an argument is not a .param variable")


def _check(e: Emitter, operands: CallOperands, function: Function) -> None:
    for given, wanted in (
        (operands.arguments, function.parameters),
        (operands.results, function.results),
    ):
        if len(given) != len(wanted):
            raise e.error(f"'{function.name[:60]}' is called with {len(given)} operands")
        for operand, variable in zip(given, wanted, strict=True):
            if isinstance(operand, Symbol) and words(_variable(e, operand)) != words(variable):
                raise e.error(f"an argument of '{function.name[:60]}' has the wrong size")


def _areas(e: Emitter, operands: CallOperands) -> tuple[str, str]:
    """Arguments gathered in the callee's layout, and room for results."""
    b = e.b
    sizes = [_words(e, o) for o in operands.arguments]
    arguments = b.alloca(f"[{max(sum(sizes), 1) * 32} x i32]")
    at = 0
    for operand, size in zip(operands.arguments, sizes, strict=True):
        _copy_argument(e, operand, size, arguments, at)
        at += size
    room = sum(_words(e, o) for o in operands.results)
    return arguments, b.alloca(f"[{max(room, 1) * 32} x i32]")


def _words(e: Emitter, operand: Operand) -> int:
    if isinstance(operand, Symbol):
        return words(_variable(e, operand))
    if isinstance(operand, Register):
        return max(operand.type.bytes // 4, 1)
    return 1


def _copy_argument(e: Emitter, operand: Operand, size: int, area_: str, at: int) -> None:
    b = e.b
    if not isinstance(operand, Symbol):  # a register or literal where a .reg parameter is
        value = b.splat(e.read(operand, f"i{size * 32}"))
        for i in range(size):
            part = b.resize(b.lshr(value, integer(value.type, 32 * i)), "i32")
            b.store(part, b.offset(area_, (at + i) * PLANE), 64)
        return
    source = area(e, _variable(e, operand))
    for i in range(size):
        word = b.load("i32", b.offset(source, i * PLANE), 64, True)
        b.store(word, b.offset(area_, (at + i) * PLANE), 64)


def _take_results(e: Emitter, operands: CallOperands, results: str) -> None:
    b = e.b
    at = 0
    for operand in operands.results:
        size = _words(e, operand)
        if isinstance(operand, Symbol):
            target = area(e, _variable(e, operand))
            for i in range(size):
                word = b.load("i32", b.offset(results, (at + i) * PLANE), 64, True)
                word = b.value("i32", True, f"freeze {word}")
                b.store(word, b.offset(target, i * PLANE), 64)
        else:
            value = b.load("i32", b.offset(results, at * PLANE), 64, True)
            if size == 2:
                high = b.load("i32", b.offset(results, (at + 1) * PLANE), 64, True)
                wide = b.shl(b.resize(high, "i64"), integer("i64", 32))
                value = b.or_(b.resize(value, "i64"), wide)
            e.write(operand, b.value(value.type, True, f"freeze {value}"))
        at += size


def _invoke(e: Emitter, function: Function, mask: Value, arguments: str, results: str) -> Value:
    b = e.b
    name = e.program.symbol(function, e.variant)
    frame = b.add(Value("i64", "%local"), integer("i64", e.frame_bytes * 32))
    return b.value(
        "i32", False,
        f"call i32 @{name}(ptr %w, i32 {mask.text}, i64 {frame.text}, ptr {arguments}, "
        f"ptr {results})",
    )  # fmt: skip


def _after_call(e: Emitter, exited: Value) -> None:
    """Lanes that left the kernel in there are gone here too."""
    b = e.b
    if not e.program.may_exit():
        return
    stay = b.not_(exited)
    b.store(b.and_(b.load("i32", "%live", 4), stay), "%live", 4)
    b.store(b.or_(b.load("i32", "%exited", 4), exited), "%exited", 4)
    e.mask = b.and_(e.mask, stay)


def _call_pointer(e: Emitter, operands: CallOperands) -> None:
    """One call for each function that lanes point to."""
    b = e.b
    prototype = e.function.prototypes.get(operands.prototype)
    candidates = [f for f in e.program.taken if not f.entry and _fits(f, operands, prototype, e)]
    arguments, results = _areas(e, operands)
    target = b.splat(e.read(operands.target, "i64"))
    left = e.mask
    for function in candidates:
        handle = integer("i64", e.program.function_handle(function.name))
        lanes = b.and_(e.mask, b.mask_bits(b.icmp("eq", target, handle)))
        left = b.and_(left, b.not_(lanes))
        yes, after = b.fresh_label("callee"), b.fresh_label("called")
        b.branch(b.icmp("ne", lanes, integer("i32", 0)), yes, after)
        b.label(yes)
        exited = _invoke(e, function, lanes, arguments, results)
        if e.program.may_exit():
            b.store(b.and_(b.load("i32", "%live", 4), b.not_(exited)), "%live", 4)
            b.store(b.or_(b.load("i32", "%exited", 4), exited), "%exited", 4)
        b.jump(after)
        b.label(after)
    e.mask_cache = {}
    bad, good = b.fresh_label("wild"), b.fresh_label("called")
    b.branch(b.icmp("ne", left, integer("i32", 0)), bad, good)
    b.label(bad)
    e.call_helper("trap", "void", "ptr %w, i32 718")  # CUDA_ERROR_INVALID_PC
    b.line("unreachable")
    b.label(good)
    if e.program.may_exit():
        e.mask = b.and_(e.mask, b.load("i32", "%live", 4))
    _take_results(e, operands, results)


def _fits(
    function: Function, operands: CallOperands, prototype: Function | None, e: Emitter
) -> bool:
    if prototype is not None:
        given = ([words(v) for v in prototype.parameters], [words(v) for v in prototype.results])
    else:
        given = (
            [_words(e, o) for o in operands.arguments],
            [_words(e, o) for o in operands.results],
        )
    return given == ([words(v) for v in function.parameters], [words(v) for v in function.results])


# ---- functions of the runtime --------------------------------------------------------------------


def _argument(e: Emitter, operand: Operand, bits: int) -> str:
    """A built-in function's argument, in memory by lane."""
    from ..ir import Address
    from .param_space import load_param

    if isinstance(operand, Symbol):
        value = load_param(e, Address(operand, 0), bits // 8, 1)[0]
    else:
        value = e.read(operand, f"i{bits}")
    return e.b.spill(value)


def _print(e: Emitter, operands: CallOperands) -> None:
    b = e.b
    if len(operands.arguments) != 2:
        raise e.error("vprintf takes two arguments")
    format_, values = (_argument(e, a, 64) for a in operands.arguments)
    out = b.alloca("<32 x i32>")
    e.call_helper(
        "print", "void", f"ptr %w, i32 {e.mask.text}, ptr {format_}, ptr {values}, ptr {out}"
    )
    if operands.results:
        _take_results(e, operands, out)


def _assert(e: Emitter, operands: CallOperands) -> None:
    if len(operands.arguments) < 4:
        raise e.error("__assertfail takes five arguments")
    message, file, line, function = (
        _argument(e, a, bits) for a, bits in zip(operands.arguments, (64, 64, 32, 64), strict=False)
    )
    e.call_helper(
        "assert", "void",
        f"ptr %w, i32 {e.mask.text}, ptr {message}, ptr {file}, ptr {line}, ptr {function}",
    )  # fmt: skip


def _heap(e: Emitter, operands: CallOperands, name: str) -> None:
    """malloc and free of device code: from a heap of the session's device memory."""
    b = e.b
    if len(operands.arguments) != 1 or len(operands.results) != (name == "malloc"):
        raise e.error(f"{name} takes one argument")
    argument = _argument(e, operands.arguments[0], 64)
    if name == "free":
        e.call_helper("free", "void", f"ptr %w, i32 {e.mask.text}, ptr {argument}")
        return
    out = b.alloca("<32 x i64>")
    e.call_helper("malloc", "void", f"ptr %w, i32 {e.mask.text}, ptr {argument}, ptr {out}")
    both = b.value("i64", True, f"freeze {b.load('i64', out, 64, True)}")
    words = b.alloca("[64 x i32]")
    b.store(b.resize(both, "i32"), words, 64)
    b.store(b.resize(b.lshr(both, integer("i64", 32)), "i32"), b.offset(words, PLANE), 64)
    _take_results(e, operands, words)
