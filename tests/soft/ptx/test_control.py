"""Lanes that part and meet: random control-flow graphs against a thread-by-thread interpreter."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from support.soft_device import Array, soft_device

pytestmark = pytest.mark.beside

REGISTERS = 5
MASK = 0xFFFFFFFF
THREADS = 50  # the last warp has lanes that do not exist
FUEL = 60  # blocks that a thread runs at most


@dataclass
class Block:
    operations: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    exit: tuple[str, int, int, int] = ("ret", 0, 0, 0)  # kind, register or predicate, targets


def random_program(rng: random.Random, blocks: int) -> list[Block]:
    """Blocks of a few operations that branch to any block: loops, irreducible ones too."""
    program = []
    for _ in range(blocks):
        block = Block()
        for _ in range(rng.randrange(4)):
            kind = rng.choice(["add", "xor", "mul", "addi", "guarded", "uniform"])
            d, a, b = (rng.randrange(REGISTERS) for _ in range(3))
            block.operations.append((kind, d, a, b, rng.randrange(1, 1 << 16)))
        kind = rng.choices(["branch", "jump", "guarded ret", "ret", "switch"], [10, 4, 1, 1, 1])[0]
        block.exit = (
            kind, rng.randrange(REGISTERS), rng.randrange(blocks), rng.randrange(blocks)
        )  # fmt: skip
        program.append(block)
    return program


def structured_program(rng: random.Random, blocks: int) -> list[Block]:
    """Mostly forward branches, so that lanes meet often."""
    program = random_program(rng, blocks)
    for i, block in enumerate(program):
        kind, register, *targets = block.exit
        forward = [min(i + 1 + t % 3, blocks - 1) for t in targets]
        if rng.random() < 0.2:
            forward[0] = max(i - rng.randrange(3), 0)
        block.exit = (kind, register, forward[0], forward[1])
    program[-1].exit = ("ret", 0, 0, 0)
    return program


def text_of(program: list[Block]) -> str:
    lines = []
    for i, block in enumerate(program):
        lines += [f"B{i}:", "sub.u32 %fuel, %fuel, 1;", "setp.eq.u32 %q, %fuel, 0;", "@%q bra END;"]
        for kind, d, a, b, c in block.operations:
            if kind == "addi":
                lines.append(f"add.u32 %r{d}, %r{a}, {c};")
            elif kind == "mul":
                lines.append(f"mad.lo.u32 %r{d}, %r{a}, %r{b}, {c};")
            elif kind == "guarded":
                lines.append(f"setp.lt.u32 %p, %r{a}, %r{b};")
                lines.append(f"@%p add.u32 %r{d}, %r{a}, {c};")
            elif kind == "uniform":
                lines.append(f"mov.u32 %u, %ctaid.x; add.u32 %r{d}, %u, {c};")
            else:
                lines.append(f"{kind}{'.u32' if kind == 'add' else '.b32'} %r{d}, %r{a}, %r{b};")
        kind, register, first, second = block.exit
        lines.append(f"and.b32 %t, %r{register}, 4; setp.ne.u32 %p, %t, 0;")
        if kind == "branch":
            lines += [f"@%p bra B{first};", f"bra.uni B{second};"]
        elif kind == "jump":
            lines.append(f"bra B{first};")
        elif kind == "switch":
            lines.append(f"and.b32 %t, %r{register}, 3;")
            lines.append(f"T{i}: .branchtargets B{first}, B{second}, END, B{first};")
            lines.append(f"brx.idx %t, T{i};")
        elif kind == "guarded ret":
            lines += ["@%p bra END;", f"bra B{first};"]
        else:
            lines.append("bra END;")
    body = "\n    ".join(lines)
    stores = "\n    ".join(f"st.global.u32 [%o+{4 * i}], %r{i};" for i in range(REGISTERS))
    inits = "\n    ".join(f"mad.lo.u32 %r{i}, %x, {2654435761 + i}, {i};" for i in range(REGISTERS))
    return f""".version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{{
    .reg .b32 %r<{REGISTERS}>; .reg .b32 %x, %t, %u, %fuel, %w; .reg .b64 %o; .reg .pred %p, %q;
    mov.u32 %x, %tid.x; mov.u32 %w, %ctaid.x; mad.lo.u32 %x, %w, 64, %x;
    ld.param.u64 %o, [out]; mad.wide.u32 %o, %x, {4 * REGISTERS}, %o;
    mov.u32 %fuel, {FUEL};
    {inits}
    {body}
END:
    {stores}
    ret;
}}
"""


def interpret(program: list[Block], thread: int, block_index: int) -> list[int]:
    r = [(thread * (2654435761 + i) + i) & MASK for i in range(REGISTERS)]
    fuel, at = FUEL, 0
    while True:
        fuel -= 1
        if fuel == 0:
            return r
        block = program[at]
        for kind, d, a, b, c in block.operations:
            if kind == "add":
                r[d] = r[a] + r[b]
            elif kind == "xor":
                r[d] = r[a] ^ r[b]
            elif kind == "mul":
                r[d] = r[a] * r[b] + c
            elif kind == "addi" or (kind == "guarded" and r[a] < r[b]):
                r[d] = r[a] + c
            elif kind == "uniform":
                r[d] = block_index + c
            r[d] &= MASK
        kind, register, first, second = block.exit
        taken = bool(r[register] & 4)
        if kind == "branch":
            at = first if taken else second
        elif kind == "jump":
            at = first
        elif kind == "switch":
            choice = r[register] & 3
            if choice == 2:
                return r
            at = second if choice == 1 else first
        elif kind == "guarded ret" and not taken:
            at = first
        else:
            return r


@pytest.mark.parametrize("seed", range(60))
def test_random_graph(seed: int) -> None:
    rng = random.Random(seed)
    make = random_program if seed % 2 else structured_program
    program = make(rng, rng.randrange(2, 14))
    device = soft_device()
    out = device.buffer(np.zeros((128, REGISTERS), dtype=np.uint32))
    device.load(text_of(program)).launch("k", (2,), (THREADS,), out)
    got: Array = out.read()
    out.free()
    for block in range(2):
        for thread in range(THREADS):
            index = block * 64 + thread
            wanted = interpret(program, index, block)
            assert got[index].tolist() == wanted, f"seed {seed}, thread {index}"
