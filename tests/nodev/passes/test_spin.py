"""Which loops count as waiting for another block: every spelling of a poll, each way on which its
result can reach the loop's end, and the loops of plain kernels, which must stay preemptible.
"""

from __future__ import annotations

import pytest

from tally.scheduler.ptx.classify import Treatment, classify
from tally.scheduler.ptx.module import Module

HEAD = """.version 8.5
.target sm_90
.address_size 64
"""


def treatment(body: str, functions: str = "") -> Treatment:
    """Of a kernel with one pointer parameter in %rd1, this block's number in %r0, tid in %r8."""
    module = Module.parse(
        f"""{HEAD}{functions}
.visible .entry k(.param .u64 lock)
{{
	.reg .pred %p<9>;
	.reg .b32 %r<20>;
	.reg .b64 %rd<20>;
	.shared .align 4 .b8 word[4];
	ld.param.u64 %rd1, [lock];
	mov.u32 %r0, %ctaid.x;
	mov.u32 %r8, %tid.x;
	setp.ne.s32 %p8, %r8, 0;
{body}
	ret;
}}
"""
    )
    return classify(module)[module.entries[0].name].treatment


LOOP = """
again:
	{poll};
	setp.ne.s32 %p1, %r1, %r0;
	@%p1 bra again;
"""


POLLS = [
    "ld.volatile.global.u32 %r1, [%rd1]",
    "ld.volatile.u32 %r1, [%rd1]",
    "ld.global.volatile.u32 %r1, [%rd1]",
    "ld.acquire.gpu.global.b32 %r1, [%rd1]",
    "ld.global.acquire.gpu.b32 %r1, [%rd1]",
    "ld.global.gpu.acquire.b32 %r1, [%rd1+16]",
    "ld.acquire.cta.b32 %r1, [%rd1]",
    "ld.relaxed.gpu.global.L1::no_allocate.b32 %r1, [%rd1]",
    "ld.global.relaxed.gpu.b32 %r1, [%rd1]",
    "ld.relaxed.cluster.global.b32 %r1, [%rd1]",
    "ld.global.cg.s32 %r1, [%rd1]",
    "ld.cg.global.s32 %r1, [%rd1]",
    "ld.global.cv.s32 %r1, [%rd1]",
    "ld.cv.u32 %r1, [%rd1]",
    "ld.volatile.global.v2.u32 {%r1, %r2}, [%rd1]",
    "ld.volatile.global.v2.u32 {%r2, %r1}, [%rd1]",
    "ld.global.acquire.gpu.b32 %r1, [counter]",
    "atom.global.add.u32 %r1, [%rd1], 0",
    "atom.acquire.gpu.global.exch.b32 %r1, [%rd1], 1",
    "atom.global.gpu.acq_rel.or.b32 %r1, [%rd1], 0",
    "atom.cas.b32 %r1, [%rd1], 0, 1",
    "atom.global.relaxed.gpu.cas.b32 %r1, [%rd1], 0, 1",
    "ld.global.u32 %r1, [%rd1]; membar.gl",
    "ld.global.u32 %r1, [%rd1]; fence.acq_rel.gpu",
    "ld.u32 %r1, [%rd1]; nanosleep.u32 20",
    "ld.global.u32 %r1, [%rd1]",  # repeated though nothing in the loop writes: asked for
    "cvta.to.global.u64 %rd2, %rd1; ld.volatile.global.u32 %r1, [%rd2]",
    "ld.param.u64 %rd2, [lock]; ld.volatile.u32 %r1, [%rd2]",
    "mad.wide.u32 %rd2, %r0, 4, %rd1; ld.volatile.global.u32 %r1, [%rd2]",
]


@pytest.mark.parametrize("poll", POLLS)
def test_every_spelling_of_a_poll_counts(poll: str) -> None:
    assert treatment(LOOP.format(poll=poll)) is Treatment.SLICE


@pytest.mark.parametrize(
    "poll",
    ["ld.relaxed.sys.global.b32", "ld.global.mmio.relaxed.sys.b32", "ld.global.acquire.sys.b32"],
)
def test_system_scope_is_stricter_still(poll: str) -> None:
    loop = LOOP.format(poll=f"{poll} %r1, [%rd1]")
    assert treatment(loop) is Treatment.AT_ONCE


POLL = "ld.global.cg.u32 %r1, [%rd1]"
WAYS = {
    "barrier reduction": f"""
	mov.u32 %r1, 0;
again:
	setp.ne.s32 %p1, %r1, %r0;
	bar.red.and.pred %p2, 0, %p1;
	@!%p2 bra out;
	@%p8 bra again;
	{POLL};
	bra.uni again;
out:""",
    "barrier reduction, long name": f"""
again:
	{POLL};
	setp.ne.s32 %p1, %r1, %r0;
	barrier.cta.red.popc.u32 %r2, 0, %p1;
	setp.ne.s32 %p2, %r2, 0;
	@%p2 bra again;""",
    "shared memory": f"""
again:
	@%p8 bra meet;
	{POLL};
	st.shared.u32 [word], %r1;
meet:
	bar.sync 0;
	ld.shared.u32 %r2, [word];
	bar.sync 0;
	setp.ne.s32 %p2, %r2, %r0;
	@%p2 bra again;""",
    "shared memory, by two addresses": f"""
	mov.u32 %r9, word;
again:
	{POLL};
	st.volatile.shared.u32 [%r9], %r1;
	bar.sync 0;
	ld.shared.u32 %r2, [word+0];
	setp.ne.s32 %p2, %r2, %r0;
	@%p2 bra again;""",
    "shared atomic": f"""
again:
	{POLL};
	setp.eq.s32 %p1, %r1, %r0;
	selp.u32 %r2, 1, 0, %p1;
	atom.shared.or.b32 %r3, [word], %r2;
	setp.eq.s32 %p2, %r3, 0;
	@%p2 bra again;""",
    "shuffle": f"""
again:
	mov.u32 %r1, 0;
	@%p8 bra meet;
	{POLL};
meet:
	shfl.sync.idx.b32 %r2|%p3, %r1, 0, 31, -1;
	setp.ne.s32 %p2, %r2, %r0;
	@%p2 bra again;""",
    "vote": f"""
again:
	{POLL};
	setp.eq.s32 %p1, %r1, %r0;
	vote.sync.all.pred %p2, %p1, -1;
	@!%p2 bra again;""",
    "ballot, match and select": f"""
again:
	{POLL};
	match.any.sync.b32 %r2, %r1, -1;
	redux.sync.max.u32 %r3, %r2, -1;
	setp.eq.s32 %p1, %r3, 0;
	@%p1 bra again;""",
    "inline assembly's own names": """
again:
	{
	.reg .pred done;
	.reg .b32 value;
	ld.global.acquire.gpu.b32 value, [%rd1];
	setp.eq.s32 done, value, %r0;
	@done bra out;
	}
	bra again;
out:""",
    "unrolled": "again:\n"
    + f"\t{POLL};\n\tsetp.ne.s32 %p1, %r1, 0;\n\t@%p1 bra out;\n" * 400
    + "\tbra again;\nout:",
    "an early return": f"""
again:
	{POLL};
	setp.eq.s32 %p1, %r1, %r0;
	@%p1 ret;
	bra again;""",
    "laid out in pieces": f"""
	bra head;
body:
	nanosleep.u32 100;
	bra head;
head:
	{POLL};
	setp.ne.s32 %p1, %r1, %r0;
	@%p1 bra body;""",
    "kept on the stack, as without optimisation": """
	.local .align 8 .b8 depot[16];
	.reg .b64 %SP;
	mov.u64 %SP, depot;
	st.u64 [%SP+0], %rd1;
again:
	ld.u64 %rd3, [%SP+0];
	ld.volatile.u32 %r1, [%rd3];
	st.u32 [%SP+8], %r1;
	ld.u32 %r2, [%SP+8];
	setp.ne.s32 %p1, %r2, %r0;
	@%p1 bra again;""",
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_the_result_to_the_exit_counts(way: str) -> None:
    assert treatment(WAYS[way]) is Treatment.SLICE


PEEK = """
.func (.param .b32 result) peek(.param .b64 from)
{{
	.reg .b32 %r<2>;
	.reg .b64 %rd<2>;
	ld.param.u64 %rd1, [from];
	{poll};
	st.param.b32 [result+0], %r1;
	ret;
}}
"""
ASIDE = """
.func (.param .b32 result) aside(.param .b64 from)
{
	.reg .b32 %r<2>;
	.reg .b64 %rd<2>;
	ld.param.u64 %rd1, [from];
	{ .param .b64 p0; .param .b32 r0;
	st.param.b64 [p0+0], %rd1;
	call.uni (r0), peek, (p0);
	ld.param.b32 %r1, [r0+0]; }
	st.param.b32 [result+0], %r1;
	ret;
}
"""
CALL = """
again:
	{{ .param .b64 p0; .param .b32 r0;
	st.param.b64 [p0+0], %rd1;
	call.uni (r0),
	{name},
	(
	p0
	);
	ld.param.b32 %r1, [r0+0]; }}
	setp.ne.s32 %p1, %r1, %r0;
	@%p1 bra again;
"""
OUT = """
.func store(.param .b64 from, .param .b64 to)
{
	.reg .b32 %r<2>;
	.reg .b64 %rd<3>;
	ld.param.u64 %rd1, [from];
	ld.param.u64 %rd2, [to];
	ld.volatile.u32 %r1, [%rd1];
	st.u32 [%rd2], %r1;
	ret;
}
"""


@pytest.mark.parametrize("poll", POLLS[:20])
def test_a_poll_in_a_called_function_counts(poll: str) -> None:
    functions = f".global .u32 counter;\n{PEEK.format(poll=poll)}"
    assert treatment(CALL.format(name="peek"), functions) is Treatment.SLICE


def test_a_poll_two_calls_away_counts() -> None:
    functions = PEEK.format(poll=POLLS[0]) + ASIDE
    assert treatment(CALL.format(name="aside"), functions) is Treatment.SLICE
    functions = PEEK.format(poll="add.u32 %r1, %r1, 1") + ASIDE
    assert treatment(CALL.format(name="aside"), functions) is Treatment.PREEMPT


def test_a_call_through_a_pointer_may_poll() -> None:
    functions = PEEK.format(poll=POLLS[0])
    assert treatment(CALL.format(name="%rd7"), functions) is Treatment.SLICE


def test_a_function_that_leaves_what_it_saw_in_memory_counts() -> None:
    body = """
	.local .align 4 .b8 seen[4];
	mov.u64 %rd5, seen;
	cvta.local.u64 %rd6, %rd5;
again:
	{ .param .b64 p0; .param .b64 p1;
	st.param.b64 [p0+0], %rd1;
	st.param.b64 [p1+0], %rd6;
	call.uni store, (p0, p1); }
	ld.local.u32 %r1, [%rd5];
	setp.ne.s32 %p1, %r1, %r0;
	@%p1 bra again;"""
    assert treatment(body, OUT) is Treatment.SLICE


STEP = "add.s32 %r3, %r3, 1; add.s64 %rd2, %rd2, 4; setp.lt.s32 %p1, %r3, 100; @%p1 bra again;"
PLAIN = {
    "streaming past the first cache": f"again:\n\tld.global.cg.u32 %r1, [%rd2];\n{STEP}",
    "volatile in order": f"again:\n\tld.volatile.global.u32 %r1, [%rd2];\n{STEP}",
    "following a list": """
again:
	ld.volatile.global.u64 %rd1, [%rd1];
	setp.ne.s64 %p1, %rd1, 0;
	@%p1 bra again;""",
    "a histogram": f"again:\n\tatom.global.add.u32 %r1, [%rd2], 1;\n{STEP}",
    "counting into one word": f"again:\n\tatom.global.add.u32 %r1, [%rd1], 1;\n{STEP}",
    "a limit that is read again": """
again:
	st.global.u32 [%rd2], %r3;
	ld.global.u32 %r4, [%rd1];
	add.s64 %rd2, %rd2, 4;
	add.s32 %r3, %r3, 1;
	setp.lt.s32 %p1, %r3, %r4;
	@%p1 bra again;""",
    "a reduction in shared memory": """
again:
	bar.sync 0;
	ld.volatile.shared.u32 %r1, [word];
	add.u32 %r2, %r2, %r1;
	shr.u32 %r3, %r3, 1;
	setp.ne.s32 %p1, %r3, 0;
	@%p1 bra again;""",
    "constants": f"again:\n\tld.global.nc.u32 %r1, [%rd1];\n{STEP}",
    "the last block": """
	membar.gl;
	atom.global.inc.u32 %r1, [%rd1], 100;
	setp.ne.s32 %p1, %r1, 100;
	@%p1 ret;
again:
	ld.global.u32 %r1, [%rd2];
	add.s64 %rd2, %rd2, 4;
	add.s32 %r3, %r3, 1;
	setp.lt.s32 %p1, %r3, 100;
	@%p1 bra again;""",
    "once": f"\t{POLL};\n\tsetp.ne.s32 %p1, %r1, 0;\n\t@%p1 bra out;\nout:",
    "the clock": """
again:
	mov.u64 %rd2, %globaltimer;
	setp.lt.u64 %p1, %rd2, %rd1;
	@%p1 bra again;""",
}


@pytest.mark.parametrize("kernel", PLAIN)
def test_plain_loops_stay_preemptible(kernel: str) -> None:
    assert treatment(PLAIN[kernel]) is Treatment.PREEMPT


def test_only_other_blocks_memory_counts() -> None:
    for space in ("shared", "shared::cta", "local", "param", "const"):
        loop = LOOP.format(poll=f"ld.volatile.{space}.u32 %r1, [%rd1]")
        assert treatment(loop) is Treatment.PREEMPT, space
