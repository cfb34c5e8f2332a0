"""softgpu's table of instructions: whoever registers one must say what it is, and the analyses ask.

Each test of the second part registers an instruction of its own, and sees the analysis change with
what its entry says.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tally.daemon.softgpu import table
from tally.daemon.softgpu.analysis import cfg, divergence, waiting
from tally.daemon.softgpu.analysis.shapes import FLAT, Shapes
from tally.daemon.softgpu.analysis.uses import reads, writes
from tally.daemon.softgpu.front import ptx
from tally.daemon.softgpu.ir import Function, Instruction
from tally.daemon.softgpu.program import Program
from tally.daemon.softgpu.table import Effect, Result, Trait, instruction

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
Register = Callable[..., None]


def emit(emitter: Any, ins: Instruction) -> None:
    """Leaves a mark in the code."""
    emitter.b.line("; probed")


@pytest.fixture
def probe() -> Iterator[Register]:
    """Registers `probe`, for one test."""
    table.opcodes()  # all others are there

    def register(
        result: Result = Result.FIRST, effect: Effect = Effect.NONE, traits: Trait = Trait.NONE
    ) -> None:
        instruction("probe", mods="sync red warp cc", result=result, effect=effect, traits=traits)(
            emit
        )

    yield register
    table._TABLE.pop("probe", None)


def program(body: str) -> tuple[Program, Function]:
    registers = ".reg .pred %p<9>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n"
    text = f"{HEAD}.visible .entry k(.param .u64 a)\n{{\n{registers}{body}\nret;\n}}\n"
    made = Program(ptx.read(text))
    return made, made.kernels[0]


def probed(function: Function) -> Instruction:
    return next(
        i for i in function.body or [] if isinstance(i, Instruction) and i.opcode == "probe"
    )


def names(registers: tuple[Any, ...]) -> list[str]:
    return [register.name for register in registers]


# ---- registering ---------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["result", "effect"])
def test_an_instruction_without_a_rule_is_not_registered(missing: str) -> None:
    rules: dict[str, Any] = {"result": Result.FIRST, "effect": Effect.NONE}
    del rules[missing]
    with pytest.raises(TypeError, match=missing):
        instruction("probe", **rules)
    rules[missing] = None
    with pytest.raises(ValueError, match="needs a rule"):
        instruction("probe", **rules)
    assert "probe" not in table.opcodes()


@pytest.mark.parametrize(
    "rules",
    [
        {"effect": Effect.LANEWISE, "result": Result.NONE},
        {"effect": Effect.LANEWISE, "result": Result.FIRST, "traits": Trait.VARYING},
        {"effect": Effect.LANEWISE, "result": Result.FIRST, "traits": Trait.READS_CARRY},
        {
            "effect": Effect.ACTS,
            "result": Result.FIRST,
            "traits": Trait.VARYING | Trait.COLLECTIVE,
        },
    ],
)
def test_contradictions_are_not_registered(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="probe"):
        instruction("probe", **rules)


def test_an_opcode_has_one_entry() -> None:
    assert "ld" in table.opcodes()
    again = instruction("ld", result=Result.FIRST, effect=Effect.ACTS)
    with pytest.raises(ValueError, match="'ld' is registered twice"):
        again(emit)


# ---- the analyses ask ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "name", "written", "read"),
    [
        (Result.FIRST, "probe.b32", ["%r1"], ["%r2"]),
        (Result.NONE, "probe.b32", [], ["%r1", "%r2"]),
        (Result.REDUCTION, "probe.red.b32", ["%r1"], ["%r2"]),
        (Result.REDUCTION, "probe.b32", [], ["%r1", "%r2"]),
    ],
)
def test_what_is_written_is_in_the_table(
    probe: Register, result: Result, name: str, written: list[str], read: list[str]
) -> None:
    probe(result)
    ins = probed(program(f"{name} %r1, %r2;")[1])
    assert names(writes(ins)) == written
    assert names(reads(ins)) == read


def test_an_address_is_not_written(probe: Register) -> None:
    probe(Result.FIRST)
    ins = probed(program("probe.b64 [%rd1], %rd2;")[1])
    assert names(writes(ins)) == []
    assert names(reads(ins)) == ["%rd1", "%rd2"]


@pytest.mark.parametrize("traits", [Trait.NONE, Trait.READS_CARRY])
def test_who_reads_the_carry_is_in_the_table(probe: Register, traits: Trait) -> None:
    probe(traits=traits)
    ins = probed(program("add.cc.u32 %r3, %r3, 1;\nprobe.b32 %r1, %r2;")[1])
    assert len(reads(ins)) == (2 if traits else 1)


VARYING_MASK = "mov.u32 %r2, %tid.x;\n"


@pytest.mark.parametrize(
    ("traits", "text", "varies"),
    [
        (Trait.NONE, "probe.b32 %r1, 1;", False),
        (Trait.NONE, f"{VARYING_MASK}probe.b32 %r1, %r2;", True),
        (Trait.VARYING, "probe.b32 %r1, 1;", True),
        (Trait.COLLECTIVE, f"{VARYING_MASK}probe.b32 %r1, %r2;", False),
        (
            Trait.COLLECTIVE | Trait.NAMES_MEMBERS,
            f"{VARYING_MASK}probe.sync.b32 %r1, %r2, 15;",
            False,
        ),
        (
            Trait.COLLECTIVE | Trait.NAMES_MEMBERS,
            f"{VARYING_MASK}probe.sync.b32 %r1, 1, %r2;",
            True,
        ),
    ],
)
def test_what_varies_is_in_the_table(
    probe: Register, traits: Trait, text: str, varies: bool
) -> None:
    probe(traits=traits)
    function = program(text)[1]
    result = divergence.analyse(function, cfg.build(function), 0)
    assert (writes(probed(function))[0].index in result.varying) == varies


@pytest.mark.parametrize(
    ("effect", "shape"), [(Effect.NONE, None), (Effect.LANEWISE, FLAT), (Effect.ACTS, None)]
)
def test_what_keeps_a_shape_is_in_the_table(probe: Register, effect: Effect, shape: object) -> None:
    """A register that varies by its guard alone: all lanes in which it is written agree."""
    probe(effect=effect)
    text = "mov.u32 %r2, %ntid.x;\nprobe.b32 %r1, %r2;\n"
    function = program(text)[1]
    graph = cfg.build(function)
    result = divergence.analyse(function, graph, 0)
    target = writes(probed(function))[0]
    result.varying.add(target.index)
    assert Shapes(function, graph, result, 0).of(target) == shape


@pytest.mark.parametrize("effect", list(Effect))
def test_what_acts_is_not_run_with_no_lane(probe: Register, effect: Effect) -> None:
    probe(effect=effect)
    made, kernel = program(
        "mov.u32 %r2, %tid.x;\nsetp.eq.u32 %p1, %r2, 3;\n@%p1 probe.b32 %r1, %r2;"
    )
    lines = made.emit(kernel, 0).splitlines()
    before = lines[: next(i for i, line in enumerate(lines) if "; probed" in line)]
    assert before[-1].startswith("if") == (effect is Effect.ACTS), before[-3:]


@pytest.mark.parametrize(
    ("traits", "name", "meets", "named", "fibers"),
    [
        (Trait.NONE, "probe.sync.b32", False, False, False),
        (Trait.MEETS, "probe.sync.b32", True, False, False),
        (Trait.MEETS, "probe.b32", False, False, False),
        (Trait.NAMES_MEMBERS, "probe.sync.b32", False, True, False),
        (Trait.NAMES_MEMBERS, "probe.b32", False, False, False),
        (Trait.MEETS | Trait.WAITS, "probe.b32", True, False, True),
        (
            Trait.MEETS | Trait.WAITS | Trait.NAMES_MEMBERS,
            "probe.warp.sync.b32",
            True,
            True,
            False,
        ),
    ],
)
def test_who_meets_and_waits_is_in_the_table(
    probe: Register, traits: Trait, name: str, meets: bool, named: bool, fibers: bool
) -> None:
    probe(traits=traits)
    made, function = program(f"mov.b32 %r2, 1;\n{name} %r1, %r2;")
    ins = probed(function)
    assert waiting.meets(ins) == meets
    assert waiting.names_its_members(ins) == named
    assert made.needs_fibers(function) == fibers
    starts = [b.instructions[0].opcode for b in cfg.build(function, meetings=True).blocks]
    assert ("probe" in starts) == (Trait.MEETS in traits)


# ---- packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "unknown"), [("front", {"analysis", "emit"}), ("analysis", {"front", "emit"})]
)
def test_packages_know_nothing_above_them(package: str, unknown: set[str]) -> None:
    """So that another front end needs no analysis of its own."""
    folder = Path(str(table.__file__)).parent
    files = [*(folder / package).rglob("*.py")]
    assert files
    for file in files:
        depth = len(file.relative_to(folder).parts)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == depth:
                named = node.module.split(".") if node.module else [a.name for a in node.names]
                assert not unknown & set(named[:1]), f"{file.name} imports {named[0]}"
