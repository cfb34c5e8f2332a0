"""Which kernels cannot give way, and why: noted when modules are rewritten, kept with the cache."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.console import run
from support.supervised import Supervised

from tally.daemon.executor.refusals import NOTES_MAX, TEXT_CHARACTERS_MAX, Note, Refusals
from tally.daemon.executor.rewrite import RewriteCache, seal

HEAD = ".version 8.0\n.target sm_90\n.address_size 64\n"
PLAIN = """
.visible .entry plain(.param .u64 data)
{
    ret;
}
"""
SPIN = """
.visible .entry spin(.param .u64 flag)
{
    .reg .u64 %d0;
    .reg .u32 %r0;
    .reg .pred %p0;
    ld.param.u64 %d0, [flag];
again:
    ld.volatile.global.u32 %r0, [%d0];
    setp.eq.u32 %p0, %r0, 0;
    @%p0 bra again;
    ret;
}
"""
ATOMIC = """
.visible .entry flags(.param .u64 data)
{
    .reg .u64 %d0;
    ld.param.u64 %d0, [data];
    red.global.sys.add.u32 [%d0], 1;
    ret;
}
"""


def notes(cache: RewriteCache) -> dict[str, tuple[str, str]]:
    return {n["kernel"]: (n["runs"], n["reason"]) for n in cache.refusals.report()["notes"]}


def test_kernels_that_cannot_be_stopped_are_named_with_the_reason(tmp_path: Path) -> None:
    cache = RewriteCache(tmp_path)
    text = cache.rewrite((HEAD + PLAIN + SPIN + ATOMIC).encode())
    assert text is not None and b"notes" not in text
    found = notes(cache)
    assert found.keys() == {"spin", "flags"}
    assert found["spin"][0] == "in slices" and "line 17" in found["spin"][1]
    assert found["flags"] == ("whole", "system-scope atomics (red.global.sys)")
    # Another executor finds the module in the cache, and the notes with it.
    again = RewriteCache(tmp_path)
    assert again.rewrite((HEAD + PLAIN + SPIN + ATOMIC).encode()) == text
    assert notes(again) == found


def test_modules_that_are_loaded_as_they_came() -> None:
    cache = RewriteCache(None)
    assert cache.rewrite((HEAD + ATOMIC).encode()) is None
    assert cache.rewrite(b"\x7fELF and so on") is None
    assert cache.rewrite((HEAD + "nonsense {").encode()) is None
    report = cache.refusals.report()["notes"]
    assert (report[0]["kernel"], report[0]["runs"]) == ("flags", "whole")
    assert (report[1]["kernel"], report[1]["reason"]) == ("", "machine code only")
    assert (report[2]["kernel"], report[2]["runs"]) == ("", "whole") and report[2]["reason"]
    assert len({note["module"] for note in report}) == 3


@pytest.mark.parametrize("text", [b"// notes: 7\nx", b"// notes: [[1]]\nx", b"// notes: {\nx"])
def test_notes_that_make_no_sense_cost_a_rewriting(tmp_path: Path, text: bytes) -> None:
    cache = RewriteCache(tmp_path)
    image = (HEAD + PLAIN).encode()
    first = cache.rewrite(image)
    (path,) = tmp_path.glob("*.ptx")
    path.write_bytes(seal(text))
    assert cache.rewrite(image) == first


def test_notes_are_bounded_and_the_rest_is_counted() -> None:
    refusals = Refusals()
    total = NOTES_MAX + 10
    for _ in range(2):
        refusals.add("m", [Note(f"k{i}", "whole", "x\x1b" * 999) for i in range(total)])
    report = refusals.report()
    assert len(report["notes"]) == NOTES_MAX and report["more"] == 10
    assert report["notes"][0]["reason"] == "x?" * (TEXT_CHARACTERS_MAX // 2)


def test_doctor_shows_them() -> None:
    with Supervised() as running:
        ready = running.supervisor.executors[0].wait_ready()
        asyncio.run_coroutine_threadsafe(ready, running.loop).result(10)
        done = run("tally", "doctor", runtime_dir=running.runtime_dir)
        lines = [line.rstrip().split(maxsplit=2) for line in done.stdout.splitlines()]
        assert ["note", "scan", "runs in slices: it waits"] in lines
        assert ["note", "rewriting", "2 more kernels run whole or in slices only"] in lines
