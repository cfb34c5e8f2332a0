"""Pass `guard`: before a kernel's first instruction, every block decides whether to run.

The added last parameter is the address of a control block in device memory (u32 words):

    0 flag      non-zero: blocks that have not begun do not begin
    1 epoch     tag of this launch, never 0
    2 lo, 3 hi  linear block indices [lo, hi) may run
    4 started   blocks that ran in this epoch, so far
    16 ...      done[linear block index] == epoch: this block ran already

One barrier reduction makes the decision the same for all threads of the block; only then is the
block marked done, so no thread can read its own block's mark. One 16-byte load gets flag, epoch and
range together: a block can never see the range of one launch with the epoch of another.
"""

from __future__ import annotations

from dataclasses import dataclass

from tally.scheduler.ptx.edit import add_parameter, insert_prologue, refuse_reserved
from tally.scheduler.ptx.module import Module

PARAMETER = "tally_control"
STARTED_OFFSET = 16  # bytes
DONE_OFFSET = 64  # bytes
BLOCKS_MAX = 1 << 31  # linear indices are computed in 32 bits

# barrier=False makes the negative control of the tests: a guard whose threads may disagree.
_DECIDE = "bar.red.or.pred %tally_p0, 0, %tally_p0;"

_PROLOGUE = """
	.reg .pred %tally_p<4>;
	.reg .b32 %tally_r<16>;
	.reg .b64 %tally_rd<3>;
	ld.param.u64 %tally_rd0, [tally_control];
	cvta.to.global.u64 %tally_rd0, %tally_rd0;
	mov.u32 %tally_r0, %ctaid.x;
	mov.u32 %tally_r1, %ctaid.y;
	mov.u32 %tally_r2, %ctaid.z;
	mov.u32 %tally_r3, %nctaid.x;
	mov.u32 %tally_r4, %nctaid.y;
	mad.lo.u32 %tally_r5, %tally_r4, %tally_r2, %tally_r1;
	mad.lo.u32 %tally_r5, %tally_r3, %tally_r5, %tally_r0;
	mul.wide.u32 %tally_rd1, %tally_r5, 4;
	add.u64 %tally_rd1, %tally_rd0, %tally_rd1;
	ld.volatile.global.v4.u32 {{%tally_r6, %tally_r7, %tally_r8, %tally_r9}}, [%tally_rd0];
	ld.volatile.global.u32 %tally_r10, [%tally_rd1+{done}];
	setp.ne.u32 %tally_p0, %tally_r6, 0;
	setp.eq.u32 %tally_p1, %tally_r10, %tally_r7;
	or.pred %tally_p0, %tally_p0, %tally_p1;
	sub.u32 %tally_r11, %tally_r5, %tally_r8;
	sub.u32 %tally_r12, %tally_r9, %tally_r8;
	setp.ge.u32 %tally_p1, %tally_r11, %tally_r12;
	or.pred %tally_p0, %tally_p0, %tally_p1;
	{decide}
	@%tally_p0 exit;
	mov.u32 %tally_r13, %tid.x;
	mov.u32 %tally_r14, %tid.y;
	mov.u32 %tally_r15, %tid.z;
	or.b32 %tally_r13, %tally_r13, %tally_r14;
	or.b32 %tally_r13, %tally_r13, %tally_r15;
	setp.ne.u32 %tally_p2, %tally_r13, 0;
	@%tally_p2 bra tally_run_{number};
	st.volatile.global.u32 [%tally_rd1+{done}], %tally_r7;
	red.global.add.u32 [%tally_rd0+{started}], 1;
tally_run_{number}:
"""


@dataclass(frozen=True, slots=True)
class Guarded:
    """The rewritten module and, per kernel, the byte offset of the control block's address."""

    module: Module
    parameter_offsets: dict[str, int]


def run(module: Module, names: set[str] | None = None, *, barrier: bool = True) -> Guarded:
    """Guard the named kernels (all by default); raises RewriteError, changing nothing."""
    refuse_reserved(module)
    offsets: dict[str, int] = {}
    edits = {}
    for number, entry in enumerate(module.entries):
        if names is not None and entry.name not in names:
            continue
        header = module.statements[entry.header]
        new_header, offsets[entry.name] = add_parameter(header, entry, f".u64 {PARAMETER}")
        prologue = _PROLOGUE.format(
            number=number,
            done=DONE_OFFSET,
            started=STARTED_OFFSET,
            decide=_DECIDE if barrier else "",
        )
        edits[entry.name] = (new_header, prologue)
    return Guarded(insert_prologue(module, edits), offsets)
