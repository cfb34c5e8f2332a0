"""The PTX passes against golden files and against ptxas for every architecture Tally serves.

After a wanted change of a pass: `TALLY_UPDATE_GOLDEN=1 pytest tests/nodev/passes/test_passes.py`,
then read the diff.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from tally.scheduler.ptx import guard, subgrid
from tally.scheduler.ptx.classify import Treatment, classify
from tally.scheduler.ptx.module import Module, RewriteError

GOLDEN = Path(__file__).parent / "golden"
SOURCE = (GOLDEN / "passes.ptx").read_text()
ARCHITECTURES = ["sm_80", "sm_90", "sm_100", "sm_120"]


def module() -> Module:
    return Module.parse(SOURCE)


def ptxas() -> Path:
    spec = importlib.util.find_spec("nvidia")
    assert spec is not None and spec.submodule_search_locations
    for folder in spec.submodule_search_locations:
        path = Path(folder) / "cu13" / "bin" / "ptxas"
        if path.exists():
            return path
    pytest.fail("ptxas is missing: install the extra `test`")


def assemble(text: str, architecture: str, tmp_path: Path) -> None:
    source = tmp_path / "module.ptx"
    source.write_text(text)
    output = tmp_path / "module.cubin"
    command = [str(ptxas()), f"-arch={architecture}", str(source), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def rewritten() -> dict[str, str]:
    guarded = guard.run(module())
    return {
        "guard": guarded.module.text(),
        "subgrid": subgrid.run(module()).module.text(),
        "guard_subgrid": subgrid.run(guarded.module).module.text(),
    }


@pytest.mark.parametrize("name", ["guard", "subgrid", "guard_subgrid"])
def test_golden(name: str) -> None:
    path = GOLDEN / f"passes.{name}.ptx"
    text = rewritten()[name]
    if os.environ.get("TALLY_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", ["guard", "subgrid", "guard_subgrid"])
def test_ptxas_accepts(name: str, architecture: str, tmp_path: Path) -> None:
    assemble(rewritten()[name], architecture, tmp_path)


def test_ptxas_sees_a_broken_pass(tmp_path: Path) -> None:
    broken = rewritten()["guard"].replace("%tally_rd1, %tally_rd0", "%tally_rd1, %tally_r0", 1)
    with pytest.raises(AssertionError):
        assemble(broken, "sm_80", tmp_path)


def test_parameters_come_last_and_aligned() -> None:
    offsets = guard.run(module()).parameter_offsets
    assert offsets["plain"] == 16
    assert offsets["without_parameters"] == 0
    assert offsets["through_a_function"] == 16
    assert subgrid.run(guard.run(module()).module).parameter_offsets["plain"] == 24


def test_named_kernels_only() -> None:
    result = guard.run(module(), {"plain"})
    assert set(result.parameter_offsets) == {"plain"}
    assert result.module.text().count("tally_control]") == 1


def test_kernels_whose_functions_read_the_block_index_are_refused() -> None:
    result = subgrid.run(module())
    assert set(result.refused) == {"through_a_function"}
    assert "block_number" in result.refused["through_a_function"]


def test_no_block_index_is_left() -> None:
    text = subgrid.run(guard.run(module()).module, {"plain"}).module.text()
    body = text[text.index(".entry plain") : text.index(".entry without_parameters")]
    assert body.count("%ctaid") == 1  # the prologue's own
    assert "%nctaid" not in body


def test_rewriting_twice_is_refused() -> None:
    with pytest.raises(RewriteError, match="in use"):
        guard.run(guard.run(module()).module)
    with pytest.raises(RewriteError, match="in use"):
        subgrid.run(subgrid.run(module()).module)


def test_too_many_parameters_are_refused() -> None:
    text = ".version 8.0\n.target sm_80\n.address_size 64\n.entry k(.param .b8 big[4090]) { ret; }"
    with pytest.raises(RewriteError, match="no room"):
        guard.run(Module.parse(text))


@pytest.mark.parametrize(
    ("kernel", "treatment"),
    [
        ("plain", Treatment.PREEMPT),
        ("without_parameters", Treatment.PREEMPT),
        ("through_a_function", Treatment.PREEMPT),
        ("waits_for_another_block", Treatment.SLICE),
        ("locks", Treatment.SLICE),
        ("walks", Treatment.PREEMPT),  # the address changes: it follows a list, it does not wait
        ("talks_to_the_host", Treatment.AT_ONCE),
    ],
)
def test_classes(kernel: str, treatment: Treatment) -> None:
    parsed = module()
    entry = next(e for e in parsed.entries if e.name == kernel)
    assert classify(parsed)[entry.name].treatment is treatment


def test_spinning_in_a_called_function_counts() -> None:
    text = SOURCE.replace(
        "mov.u32 %r1, %ctaid.x;\n\tst.param.b32",
        "wait: ld.volatile.global.u32 %r1, [counter]; setp.eq.u32 %p1, %r1, 0;\n"
        "\t@%p1 bra wait;\n\tst.param.b32",
    ).replace(
        ".func (.param .b32 result) block_number()\n{",
        ".func (.param .b32 result) block_number()\n{ .reg .pred %p<2>;",
    )
    parsed = Module.parse(text)
    entry = next(e for e in parsed.entries if e.name == "through_a_function")
    assert classify(parsed)[entry.name].treatment is Treatment.SLICE


def test_unrolled_polling_counts() -> None:
    poll = "ld.volatile.global.u32 %r1, [%rd1]; setp.ne.u32 %p1, %r1, 0; @%p1 bra out;\n\t"
    text = (
        SOURCE.replace("ld.volatile.global.u64 %rd1, [%rd1];", poll * 40)
        .replace(
            ".visible .entry walks(.param .u64 list)\n{",
            ".visible .entry walks(.param .u64 list)\n{ .reg .b32 %r<2>;",
        )
        .replace("@%p1 bra next;\n", "@%p1 bra next;\nout:\n")
    )
    parsed = Module.parse(text)
    entry = next(e for e in parsed.entries if e.name == "walks")
    assert classify(parsed)[entry.name].treatment is Treatment.SLICE
