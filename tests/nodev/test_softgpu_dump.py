"""`python -m tally.daemon.softgpu`: a program after each pass, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tally.daemon.softgpu.__main__ import main
from tally.daemon.softgpu.dump import pass_names

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
# Lanes 0 to 2 add what the others have; the value that they wait for comes from another block.
KERNEL = """.visible .entry sum(.param .u64 sum_out)
{
.reg .pred %p<3>; .reg .b32 %r<5>; .reg .b64 %rd<4>;
ld.param.u64 %rd1, [sum_out];
mov.u32 %r1, %tid.x;
mad.wide.u32 %rd2, %r1, 4, %rd1;
setp.gt.u32 %p1, %r1, 2;
@%p1 bra DONE;
WAIT:
ld.volatile.global.u32 %r2, [%rd2];
setp.eq.u32 %p2, %r2, 0;
@%p2 bra WAIT;
shfl.sync.bfly.b32 %r3, %r2, 1, 31, 7;
st.global.u32 [%rd2+8], %r3;
DONE:
ret;
}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sum.ptx"
    path.write_text(HEAD + KERNEL + KERNEL.replace("sum", "other"))
    return path


def dumped(capsys: pytest.CaptureFixture[str], file: Path, *arguments: str) -> str:
    assert main(["dump", str(file), "--kernel", "sum", *arguments]) == 0
    return capsys.readouterr().out


READ = """kernel sum(sum_out: 8 bytes)
    ld.param.u64 %rd1, [sum_out];
    mov.u32 %r1, %tid.x;
    mad.wide.u32 %rd2, %r1, 4, %rd1;
    setp.gt.u32 %p1, %r1, 2;
    @%p1 bra DONE#0;
WAIT#0:
    ld.volatile.global.u32 %r2, [%rd2];
    setp.eq.u32 %p2, %r2, 0;
    @%p2 bra WAIT#0;
    shfl.sync.bfly.b32 %r3, %r2, 1, 31, 7;
    st.global.u32 [%rd2+8], %r3;
DONE#0:
    ret;
"""
SHAPES = """kernel sum(sum_out: 8 bytes) (row)
  block 0: from the start; ways meet at 1
    // all lanes
    ld.param.u64 %rd1, [sum_out];
    mov.u32 %r1', %tid.x;  // %r1 grows by 1 a lane
    mad.wide.u32 %rd2', %r1', 4, %rd1;  // %rd2 grows by 4 a lane, and may wrap
    setp.gt.u32 %p1', %r1', 2;
    go to the end if %p1', else to 1
  block 1: from 0, 1; loop of 1; ways meet at 2
    // some lanes, which meet at 2; some may wait for others
    // keeps %r2, %p2 of the others
    // lets others run while %r2, %rd2 stays as it is
    ld.volatile.global.u32 %r2', [%rd2'];
    setp.eq.u32 %p2', %r2', 0;
    go to 1 if %p2', else to 2
  block 2: from 1
    // all lanes
    shfl.sync.bfly.b32 %r3', %r2', 1, 31, 7;
    st.global.u32 [%rd2'+8], %r3';
    go to the end
  ' behind a register: it differs between lanes
"""


@pytest.mark.parametrize(("after", "text"), [("read", READ), ("shapes", SHAPES)])
def test_the_program_after_a_pass(
    file: Path, capsys: pytest.CaptureFixture[str], after: str, text: str
) -> None:
    assert dumped(capsys, file, "--after", after) == f"{text}\n"


def test_each_pass_adds_its_own(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not found out yet does not show."""
    texts = {name: dumped(capsys, file, "--after", name) for name in pass_names()}
    first = {
        "loop of 1": "blocks",
        "%tid.x;": "read",
        "// all lanes": "divergence",
        "// lets others run": "waiting",
        "grows by 4 a lane": "shapes",
        "define i32": "emit",
    }
    order = list(texts)
    for sign, pass_ in first.items():
        assert next(name for name in order if sign in texts[name]) == pass_, sign
    assert "@f0_row(" in texts["optimize"]
    assert texts["optimize"] != texts["emit"]
    assert ".text" in texts["assemble"]


def test_lanes_that_have_parted_are_held(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    """After `meetings` and not before."""
    body = KERNEL.replace("DONE:\nret;", "bra END;\nDONE:\nadd.u32 %r3, %r1, 1;\nEND:\nret;")
    file.write_text(HEAD + body.replace("%p2 bra WAIT", "%p1 bra END"))
    assert "held at collectives" not in dumped(capsys, file, "--after", "divergence")
    assert "held at collectives" in dumped(capsys, file, "--after", "meetings")


def test_without_a_pass_all_are_printed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = dumped(capsys, file)
    ours = [name for name in pass_names() if name not in ("optimize", "assemble")]
    at = [text.index(f"==== after {name}\n") for name in ours]
    assert at == sorted(at)
    assert "==== after assemble" not in text


def test_the_passes_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", "--list"]) == 0
    listed = capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["dump", "--help"])
    assert ended.value.code == 0
    assert listed in capsys.readouterr().out
    for name, text in pass_names().items():
        assert f"  {name} " in listed
        assert len(text) > 10


def test_all_kernels_or_one(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", str(file), "--after", "blocks"]) == 0
    text = capsys.readouterr().out
    assert "kernel sum(" in text
    assert "kernel other(" in text
    assert "kernel other(" not in dumped(capsys, file, "--after", "blocks")


@pytest.mark.parametrize("command", ["compile", "dump"])
def test_what_is_wrong_is_said_in_a_line(
    file: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, str(file), "--kernel", "absent"]) == 1
    assert capsys.readouterr().err == f"{file}: no kernel 'absent'; it has sum, other\n"
    assert main([command, str(file.parent / "none.ptx")]) == 2
    assert capsys.readouterr().err == f"{file.parent / 'none.ptx'}: No such file or directory\n"
    file.write_text(f"{HEAD}.visible .entry k()\n{{\nfrobnicate;\n}}\n")
    assert main([command, str(file)]) == 1
    assert capsys.readouterr().err == f"{file}: line 6: unknown instruction 'frobnicate'\n"


@pytest.mark.parametrize("arguments", [["dump"], ["dump", "FILE", "--after", "magic"], []])
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_kernels_are_compiled(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["sum", "other"]
    assert "1 parameters, 0 bytes shared" in lines[0]
