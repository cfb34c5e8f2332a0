"""ld, st and what moves data between spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir import Address, Immediate, Instruction, Vector
from ..table import Effect, Result, instruction
from .access import Access, make_access
from .builder import Value, integer
from .ints import type_of
from .loads import load
from .param_space import is_param_slot, kernel_parameter, load_param, store_param
from .stores import store

if TYPE_CHECKING:
    from .emitter import Emitter

SPACES = (
    "global const shared shared__cta shared__cluster local param param__entry param__func generic"
)
_CACHE = (
    "ca cg cs lu cv wb wt nc volatile relaxed acquire release weak mmio cta gpu sys cluster "
    "unified L1__evict_normal L1__evict_unchanged L1__evict_first L1__evict_last L1__no_allocate "
    "L2__evict_normal L2__evict_first L2__evict_last L2__cache_hint L2__64B L2__128B L2__256B"
)


def _count(ins: Instruction) -> int:
    return 2 if "v2" in ins.mods else 4 if "v4" in ins.mods else 8 if "v8" in ins.mods else 1


@instruction(
    "ld",
    "ldu",
    mods=f"v2 v4 v8 {SPACES} {_CACHE}",
    operands=(2, 4),
    result=Result.FIRST,
    effect=Effect.ACTS,
)
def ld(e: Emitter, ins: Instruction) -> None:
    type_ = type_of(e, ins)
    count = _count(ins)
    volatile = bool({"volatile", "relaxed", "acquire", "mmio"} & set(ins.mods))
    target, where = ins.operands[:2]
    if type_.bits == 128:
        values = _wide_values(e, load(e, make_access(e, ins, where, 8, 2), volatile))
    elif isinstance(where, Address) and is_param_slot(e, where):
        values = load_param(e, where, type_.bytes, count)
    elif isinstance(where, Address) and (found := kernel_parameter(e, where, type_.bytes * count)):
        values = [
            e.b.value(
                type_.llvm, False,
                f"load {type_.llvm}, ptr {e.b.offset('%args', found - 1 + i * type_.bytes)}, "
                f"align {min(type_.bytes, 16)}, !invariant.load !0",
            )
            for i in range(count)
        ]  # fmt: skip
    else:
        values = load(e, make_access(e, ins, where, type_.bytes, count), volatile)
    if type_.bits == 1:
        raise e.error("predicates do not lie in memory")
    targets = target.parts if isinstance(target, Vector) else (target,)
    if len(targets) != len(values):
        raise e.error("vector of the wrong length")
    for one, value in zip(targets, values, strict=True):
        e.write(one, value, type_.signed)


def _wide_values(e: Emitter, parts: list[Value]) -> list[Value]:
    b = e.b
    low, high = (b.resize(p, "i128") for p in parts)
    return [b.or_(low, b.shl(high, integer("i128", 64)))]


@instruction(
    "st",
    mods=f"v2 v4 v8 {SPACES} {_CACHE}",
    operands=(2, 3),
    result=Result.NONE,
    effect=Effect.ACTS,
)
def st(e: Emitter, ins: Instruction) -> None:
    b, type_ = e.b, type_of(e, ins)
    where, source = ins.operands[:2]
    sources = source.parts if isinstance(source, Vector) else (source,)
    if type_.bits == 1 or len(sources) != _count(ins):
        raise e.error("vector of the wrong length")
    volatile = bool({"volatile", "relaxed", "release", "mmio"} & set(ins.mods))
    if type_.bits == 128:
        whole = e.read(source, "i128")
        values = [b.resize(whole, "i64"), b.resize(b.lshr(whole, integer("i128", 64)), "i64")]
        store(e, make_access(e, ins, where, 8, 2), values, volatile)
        return
    if type_.is_float:
        values = [b.bitcast(e.read_as(s, type_), type_.llvm) for s in sources]
    else:
        values = [e.read(s, type_.llvm) for s in sources]
    if isinstance(where, Address) and is_param_slot(e, where):
        store_param(e, where, values, type_.bytes)
        return
    store(e, make_access(e, ins, where, type_.bytes, len(values)), values, volatile)


@instruction(
    "prefetch",
    "prefetchu",
    "discard",
    "applypriority",
    mods=f"{SPACES} {_CACHE} L1 L2 tensormap",
    operands=(1, 2),
    result=Result.NONE,
    effect=Effect.NONE,
)
def hint(e: Emitter, ins: Instruction) -> None:
    """Hints about caches: nothing to do."""


@instruction(
    "createpolicy",
    mods=f"{_CACHE} fractional range cvt L2 {SPACES}",
    operands=(1, 4),
    result=Result.FIRST,
    effect=Effect.NONE,
)
def create_policy(e: Emitter, ins: Instruction) -> None:
    e.write(ins.operands[0], integer("i64", 0))


@instruction(
    "cp",
    mods=f"async {SPACES} {_CACHE} commit_group wait_group wait_all bulk mbarrier arrive noinc",
    operands=(0, 5),
    result=Result.NONE,
    effect=Effect.ACTS,
)
def cp_async(e: Emitter, ins: Instruction) -> None:
    """cp.async at once; its groups have nothing left to wait for."""
    if "bulk" in ins.mods or "async" not in ins.mods:
        raise e.unsupported("only cp.async of up to 16 bytes is supported")
    if not {"commit_group", "wait_group", "wait_all"}.isdisjoint(ins.mods):
        return
    if "mbarrier" in ins.mods:
        from .mbarrier import arrive_on_copies

        arrive_on_copies(e, ins)
        return
    b = e.b
    size = ins.operands[2]
    if not isinstance(size, Immediate) or size.value not in (4, 8, 16):
        raise e.error("the size must be 4, 8 or 16")
    bytes_, count = (4, 1) if size.value == 4 else (8, size.value // 8)
    source = Access(e.address(ins.operands[1]), False, bytes_, count, None)
    shape = e.shapes.of(ins.operands[1])
    source.step = shape.stride if shape else None
    target = Access(
        b.and_(e.address(ins.operands[0]), integer("i64", 0xFFFFFFFF)), True, bytes_, count, None
    )
    values = _with_size(e, ins, source)
    store(e, target, values)


def _with_size(e: Emitter, ins: Instruction, source: Access) -> list[Value]:
    """Only the first `source size` bytes are read (0 or all of them where front ends use this)."""
    b = e.b
    if len(ins.operands) < 4:
        return load(e, source)
    given = e.read(ins.operands[3], "i32")
    outer = e.mask
    some = b.splat(b.icmp("ne", given, integer("i32", 0)))
    e.mask = b.and_(outer, b.mask_bits(some))
    source.address = b.splat(source.address)
    values = load(e, source)
    e.mask = outer
    results = []
    for i, value in enumerate(values):
        kept = b.intrinsic("usub.sat", "i32", given, integer("i32", i * source.bytes))
        whole = b.icmp("uge", kept, integer("i32", source.bytes))
        bits = b.resize(
            b.shl(b.intrinsic("umin", "i32", kept, integer("i32", 7)), integer("i32", 3)),
            value.type,
        )
        mask = b.sub(
            b.shl(
                integer(value.type, 1),
                b.intrinsic("umin", value.type, bits, integer(value.type, source.bytes * 8 - 1)),
            ),
            integer(value.type, 1),
        )
        results.append(b.select(whole, value, b.and_(value, mask)))
    return results
