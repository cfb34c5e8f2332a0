"""A program as text after each pass of the compiler, for whoever works on one of them."""

from __future__ import annotations

from .abi import VARIANTS
from .analysis import passes
from .analysis.cfg import RETURN, Block
from .analysis.passes import Facts
from .analysis.uses import writes
from .analysis.waiting import polled
from .ir import (
    Address,
    CallOperands,
    Function,
    Immediate,
    Instruction,
    Label,
    Negated,
    Operand,
    Pair,
    Register,
    Sink,
    Special,
    Symbol,
    Vector,
)
from .jit import jit
from .program import Program

# Around the passes of analysis/passes.py, which run on each function that the kernel reaches.
_BEFORE = {"read": "what the front end gives: instructions and labels"}
_BEHIND = {
    "emit": "LLVM IR of the kernel and of all functions that it reaches",
    "optimize": "LLVM IR as LLVM's own passes leave it",
    "assemble": "machine code of this CPU",
}


def pass_names() -> dict[str, str]:
    """All passes in order, and what each adds."""
    analyses = {name: pass_.__doc__ or "" for name, pass_ in passes.PASSES.items()}
    return {**_BEFORE, **analyses, **_BEHIND}


def dump(program: Program, kernel: Function, variant: int, after: str) -> str:
    """The kernel, and what it reaches, after a pass of pass_names(). PtxError."""
    if after in _BEHIND:
        text = program.emit(kernel, variant)
        if after == "emit":
            return text
        return jit().optimized_text(text) if after == "optimize" else jit().assembly(text)
    functions = program.reached(kernel)
    if after in _BEFORE:
        return "\n".join(_function(f, [_item(item) for item in f.body or []]) for f in functions)
    found: list[str] = []

    def look(name: str, facts: Facts) -> None:
        if name == after:
            found.append(_function(facts.function, _blocks(facts), f" ({VARIANTS[variant]})"))

    for function in functions:
        passes.run(function, variant, look)
    return "\n".join(found)


def _function(function: Function, lines: list[str], what: str = "") -> str:
    kind = "kernel" if function.entry else "function"
    parameters = ", ".join(f"{v.name}: {v.bytes} bytes" for v in function.parameters)
    return "\n".join([f"{kind} {function.name}({parameters}){what}", *lines, ""])


def _item(item: Instruction | Label) -> str:
    return f"{item.name}:" if isinstance(item, Label) else f"    {_instruction(item, set())}"


# ---- blocks, with what is known of them ----------------------------------------------------------


def _blocks(facts: Facts) -> list[str]:
    lines = []
    varying = facts.divergence.varying if "divergence" in facts.passed else set()
    for block in facts.graph.blocks:
        lines.append(f"  block {block.index}: {'; '.join(_control(facts, block))}")
        lines += [f"    // {note}" for note in (*_lanes(facts, block), *_waits(facts, block))]
        for ins in block.instructions:
            shape = _shape(facts, ins) if "shapes" in facts.passed else ""
            lines.append(f"    {_instruction(ins, varying)}{shape}")
        lines.append(f"    {_end(block, varying)}")
    if varying:
        lines.append("  ' behind a register: it differs between lanes")
    return lines


def _name(block: int) -> str:
    return "the end" if block == RETURN else str(block)


def _control(facts: Facts, block: Block) -> list[str]:
    graph = facts.graph
    notes = [f"from {', '.join(map(str, graph.predecessors[block.index])) or 'the start'}"]
    if block.index in graph.loops:
        notes.append(f"loop of {', '.join(map(str, sorted(graph.loops[block.index])))}")
    if len(set(block.targets)) > 1:
        notes.append(f"ways meet at {_name(graph.postdominator[block.index])}")
    return notes


def _lanes(facts: Facts, block: Block) -> list[str]:
    if "divergence" not in facts.passed:
        return []
    component = facts.divergence.component.get(block.index)
    if component is None:
        return ["all lanes"]
    how = ""
    if component.holds:
        how = "; they are held at collectives"
    elif component.waits:
        how = "; some may wait for others"
    notes = [f"some lanes, which meet at {_name(component.exit)}{how}"]
    names = [r.name for i in block.instructions for r in writes(i)
             if (block.index, r.index) in facts.divergence.blends]  # fmt: skip
    return [*notes, f"keeps {', '.join(dict.fromkeys(names))} of the others"] if names else notes


def _waits(facts: Facts, block: Block) -> list[str]:
    if "waiting" not in facts.passed or block.index not in facts.waiting:
        return []
    watched = ", ".join(r.name for r in polled(facts.graph, block.index))
    return [f"lets others run while {watched or 'nothing'} stays as it is"]


def _shape(facts: Facts, ins: Instruction) -> str:
    shapes = [
        (r.name, facts.shapes.of(r)) for r in writes(ins) if r.index in facts.divergence.varying
    ]
    known = [
        f"{name} grows by {shape.stride} a lane{', and may wrap' if shape.wraps else ''}"
        for name, shape in shapes
        if shape is not None
    ]
    return f"  // {'; '.join(known)}" if known else ""


# ---- instructions --------------------------------------------------------------------------------


def _end(block: Block, varying: set[int]) -> str:
    if block.selector is not None:
        selector = _operand(block.selector.operands[0], varying)
        return f"go by {selector} to {', '.join(map(_name, block.targets))}"
    if block.guard is None:
        return f"go to {_name(block.targets[0])}"
    yes, no = (_name(t) for t in block.targets)
    negated = "!" if block.guard_negated else ""
    return f"go to {yes} if {negated}{_operand(block.guard, varying)}, else to {no}"


def _instruction(ins: Instruction, varying: set[int]) -> str:
    guard = ""
    if ins.guard is not None:
        guard = f"@{'!' if ins.guard_negated else ''}{_operand(ins.guard, varying)} "
    operands = _call(ins.call, varying) if ins.call else _list(ins.operands, varying)
    name = ins.full_name.replace("__", "::")
    return f"{guard}{name} {operands}".rstrip() + ";"


def _list(operands: tuple[Operand, ...], varying: set[int]) -> str:
    return ", ".join(_operand(operand, varying) for operand in operands)


def _call(call: CallOperands, varying: set[int]) -> str:
    results = f"({_list(call.results, varying)}), " if call.results else ""
    target = _operand(call.target, varying)
    return f"{results}{target}, ({_list(call.arguments, varying)})"


def _operand(operand: Operand, varying: set[int]) -> str:
    match operand:
        case Register():
            return operand.name + ("'" if operand.index in varying else "")
        case Immediate(value, bits):
            return f"0{'f' if bits == 32 else 'd'}{value:0{bits // 4}X}" if bits else str(value)
        case Special(name):
            return f"%{name}"
        case Symbol(name, offset):
            return f"{name}+{offset}" if offset else name
        case Address(base, offset):
            return f"[{_operand(base, varying)}{f'+{offset}' if offset else ''}]"
        case Vector(parts):
            return f"{{{_list(parts, varying)}}}"
        case Negated(register):
            return f"!{_operand(register, varying)}"
        case Pair(first, second):
            return f"{_operand(first, varying)}|{_operand(second, varying)}"
        case Sink():
            return "_"
        case Label(name):
            return name
