"""Collectives of part of a warp against a scalar model: each lane names the lanes it acts with.

Groups are what cooperative groups make: tiles of 1 to 32, labeled, binary and coalesced partitions.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from support.kernels import HEAD
from support.soft_device import Array, soft_device

pytestmark = pytest.mark.beside

MASK = 0xFFFFFFFF
LANES = 32

Model = Callable[[list[int], int, Array], int]  # lanes of the group, the lane, all values


def bits(lanes: list[int], values: Array, test: Callable[[int], bool]) -> int:
    return sum(1 << i for i in lanes if test(int(values[i])))


def odd(value: int) -> bool:
    return value & 1 == 1


def mask_of(lanes: list[int]) -> int:
    return sum(1 << i for i in lanes)


def signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def fold(operation: Callable[[int, int], int], lanes: list[int], values: Array) -> int:
    result = int(values[lanes[0]])
    for lane in lanes[1:]:
        result = operation(result, int(values[lane]))
    return result & MASK


def neighbour(lanes: list[int], lane: int) -> int:
    """The next lane of the group, round about."""
    return lanes[(lanes.index(lane) + 1) % len(lanes)]


# {v}: the value, {q}: whether it is odd, {m}: the members, {n}: the group's next lane.
CASES: dict[str, tuple[str, Model]] = {
    "vote.sync.ballot.b32 {d}, {q}, {m};": ("", lambda g, i, v: bits(g, v, odd)),
    "vote.sync.any.pred %t, {q}, {m};": ("t", lambda g, i, v: int(bits(g, v, odd) != 0)),
    "vote.sync.all.pred %t, {q}, {m};": ("t", lambda g, i, v: int(bits(g, v, odd) == mask_of(g))),
    "vote.sync.uni.pred %t, {q}, {m};": (
        "t", lambda g, i, v: int(bits(g, v, odd) in (0, mask_of(g)))
    ),
    "match.any.sync.b32 {d}, {v}, {m};": ("", lambda g, i, v: bits(g, v, lambda x: x == v[i])),
    "match.any.sync.b64 {d}, {w}, {m};": ("", lambda g, i, v: bits(g, v, lambda x: x == v[i])),
    "match.all.sync.b32 {d}|%t, {v}, {m};": (
        "", lambda g, i, v: mask_of(g) if len({int(v[j]) for j in g}) == 1 else 0
    ),
    "match.all.sync.b32 {d}|%t, {s}, {m};": ("t", lambda g, i, v: 1),
    "redux.sync.add.s32 {d}, {v}, {m};": ("", lambda g, i, v: fold(lambda a, b: a + b, g, v)),
    "redux.sync.add.u32 {d}, {v}, {m};": ("", lambda g, i, v: fold(lambda a, b: a + b, g, v)),
    "redux.sync.min.u32 {d}, {v}, {m};": ("", lambda g, i, v: fold(min, g, v)),
    "redux.sync.max.u32 {d}, {v}, {m};": ("", lambda g, i, v: fold(max, g, v)),
    "redux.sync.min.s32 {d}, {v}, {m};": (
        "", lambda g, i, v: min(signed(int(v[j])) for j in g) & MASK
    ),
    "redux.sync.max.s32 {d}, {v}, {m};": (
        "", lambda g, i, v: max(signed(int(v[j])) for j in g) & MASK
    ),
    "redux.sync.and.b32 {d}, {v}, {m};": ("", lambda g, i, v: fold(lambda a, b: a & b, g, v)),
    "redux.sync.or.b32 {d}, {v}, {m};": ("", lambda g, i, v: fold(lambda a, b: a | b, g, v)),
    "redux.sync.xor.b32 {d}, {v}, {m};": ("", lambda g, i, v: fold(lambda a, b: a ^ b, g, v)),
    "elect.sync {d}|%t, {m};": ("", lambda g, i, v: g[0]),
    "elect.sync _|%t, {m};": ("t", lambda g, i, v: int(i == g[0])),
    "shfl.sync.idx.b32 {d}, {v}, {n}, 31, {m};": ("", lambda g, i, v: int(v[neighbour(g, i)])),
    "activemask.b32 {d};": ("skip", lambda g, i, v: 0),
}  # fmt: skip
ONE_BY_ONE = [text for text, (kind, _) in CASES.items() if kind != "skip"]


def partitions(rng: random.Random) -> dict[str, list[list[int]]]:
    """Groups by the name of their kind; coalesced ones leave lanes out."""
    everyone = list(range(LANES))
    found = {
        f"tile {n}": [everyone[i : i + n] for i in range(0, LANES, n)] for n in (1, 2, 4, 8, 16, 32)
    }
    labels = [rng.randrange(5) for _ in everyone]
    found["labeled"] = [[i for i in everyone if labels[i] == k] for k in set(labels)]
    halves = [rng.random() < 0.5 for _ in everyone]
    found["binary"] = [[i for i in everyone if halves[i] == k] for k in set(halves)]
    found["coalesced"] = [[i for i in everyone if rng.random() < 0.6] or [3]]
    inside = [i for i in everyone if rng.random() < 0.7] or [31]
    found["coalesced labeled"] = [
        g for k in range(3) if (g := [i for i in inside if labels[i] % 3 == k])
    ]
    found["alone in lane 31"] = [[31]]
    found["two that interleave"] = [everyone[::2], everyone[1::2]]
    return found


def collective(text: str, values: Array, groups: list[list[int]], part: str) -> Array:
    """What each lane gets, 0xdead for those in no group.

    part: how lanes come to the collective: "mask" all at once, "branch" each group in a branch of
    its own, "late" after loops of a length of their own."""
    kind = CASES[text][0]
    masks, nexts, group_of = (np.zeros(LANES, np.uint32) for _ in range(3))
    for number, lanes in enumerate(groups):
        for lane in lanes:
            masks[lane], group_of[lane] = mask_of(lanes), number
            nexts[lane] = neighbour(lanes, lane)
    line = text.format(d="%d", v="%v", w="%w", q="%q", m="%m", n="%n", s="%s")
    after = "selp.u32 %d, 1, 0, %t;" if kind == "t" else ""
    body = f"{line}\n{after}\n"
    if part == "branch":
        lines = []
        for number in range(len(groups)):
            lines += [f"setp.ne.u32 %p, %g, {number};", f"@%p bra N{number};", body, f"N{number}:"]
        body = "\n".join(lines)
    elif part == "late":
        body = (
            "LOOP: sub.u32 %c, %c, 1; setp.gt.s32 %p, %c, 0; xor.b32 %x, %x, %c; @%p bra LOOP;\n"
            + body
        )
    ptx = f"""{HEAD}
.visible .entry k(.param .u64 p)
{{
  .reg .b64 %a, %w; .reg .b32 %d, %v, %m, %n, %g, %l, %o, %c, %x, %s; .reg .pred %p, %q, %t;
  ld.param.u64 %a, [p];
  mov.u32 %l, %tid.x;
  mul.lo.u32 %o, %l, 4;
  cvt.u64.u32 %w, %o;
  add.u64 %a, %a, %w;
  ld.global.u32 %v, [%a];
  ld.global.u32 %m, [%a+128];
  ld.global.u32 %n, [%a+256];
  ld.global.u32 %g, [%a+384];
  and.b32 %c, %l, 7;
  mul.lo.u32 %c, %c, 3;
  mov.u32 %x, 0;
  and.b32 %x, %v, 1;
  setp.eq.u32 %q, %x, 1;
  cvt.u64.u32 %w, %v;
  mov.u32 %s, 7;
  mov.u32 %d, 0xdead;
  setp.eq.u32 %p, %m, 0;
  @%p bra OUT;
  {body}
OUT:
  st.global.u32 [%a+512], %d;
  ret;
}}
"""
    device = soft_device()
    data = np.concatenate([values, masks, nexts, group_of, np.zeros(LANES, np.uint32)])
    buffer = device.buffer(data.astype(np.uint32))
    device.load(ptx).launch("k", [1], [LANES], buffer)
    result = buffer.read()[4 * LANES :]
    buffer.free()
    return result


@pytest.mark.parametrize("part", ["mask", "branch", "late"])
@pytest.mark.parametrize("text", ONE_BY_ONE)
def test_collectives_of_part_of_a_warp(text: str, part: str) -> None:
    rng = random.Random(f"{text} {part}")
    model = CASES[text][1]
    for name, groups in partitions(rng).items():
        if part == "branch" and len(groups) > 8:
            continue
        few = rng.random() < 0.5
        values = np.array(
            [rng.randrange(4) if few else rng.getrandbits(32) for _ in range(LANES)], np.uint32
        )
        if part == "mask" and rng.random() < 0.3:
            values[:] = values[0]
        expected = np.full(LANES, 0xDEAD, np.uint32)
        for lanes in groups:
            for lane in lanes:
                expected[lane] = model(lanes, lane, values)
        found = collective(text, values, groups, part)
        assert (found == expected).all(), (name, values, expected, found)


MEET = {
    # Each half writes, meets the other in its own branch, and reads what the other wrote.
    "in two branches": """
  @%p bra ELSE;
  st.shared.u32 [%o], %l;
  bar.warp.sync 0xffffffff;
  ld.shared.u32 %d, [%other];
  bra END;
ELSE:
  mul.lo.u32 %x, %l, 3;
  st.shared.u32 [%o], %x;
  bar.warp.sync 0xffffffff;
  ld.shared.u32 %d, [%other];
END:
""",
    # The same thrice, in branches that swap: a value moves one place each time.
    "again and again": """
  st.shared.u32 [%o], %l;
  mov.u32 %i, 0;
  bar.warp.sync 0xffffffff;
LOOP:
  add.u32 %x, %l, %i;
  and.b32 %x, %x, 1;
  setp.eq.u32 %p, %x, 1;
  @%p bra ODD;
  ld.shared.u32 %d, [%next];
  bar.warp.sync 0xffffffff;
  st.shared.u32 [%o], %d;
  bar.warp.sync 0xffffffff;
  bra MORE;
ODD:
  ld.shared.u32 %d, [%next];
  bar.warp.sync 0xffffffff;
  add.u32 %d, %d, 0;
  st.shared.u32 [%o], %d;
  bar.warp.sync 0xffffffff;
MORE:
  add.u32 %i, %i, 1;
  setp.lt.u32 %p, %i, 3;
  @%p bra LOOP;
""",
}


def meeting(body: str) -> Array:
    ptx = f"""{HEAD}
.visible .entry k(.param .u64 p)
{{
  .reg .b64 %a, %w; .reg .b32 %d, %l, %o, %other, %next, %x, %i; .reg .pred %p;
  .shared .align 4 .b8 s[128];
  ld.param.u64 %a, [p];
  mov.u32 %l, %tid.x;
  mov.u32 %x, s;
  mul.lo.u32 %o, %l, 4;
  cvt.u64.u32 %w, %o;
  add.u64 %a, %a, %w;
  xor.b32 %other, %o, 64;
  add.u32 %other, %other, %x;
  add.u32 %next, %o, 4;
  and.b32 %next, %next, 127;
  add.u32 %next, %next, %x;
  add.u32 %o, %o, %x;
  setp.ge.u32 %p, %l, 16;
  {body}
  st.global.u32 [%a], %d;
  ret;
}}
"""
    device = soft_device()
    buffer = device.buffer(np.zeros(LANES, np.uint32))
    device.load(ptx).launch("k", [1], [LANES], buffer)
    return buffer.read()


def test_halves_of_a_warp_meet_in_branches_of_their_own() -> None:
    lanes = np.arange(LANES)
    other = lanes ^ 16
    assert (meeting(MEET["in two branches"]) == np.where(lanes < 16, other * 3, other)).all()


def test_parted_lanes_meet_again_and_again() -> None:
    assert (meeting(MEET["again and again"]) == (np.arange(LANES) + 3) % LANES).all()
