"""Special registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..abi import GROUPS
from .builder import Value, integer, lanes_constant

if TYPE_CHECKING:
    from .emitter import Emitter

_IOTA = list(range(32))
_LANEMASKS = {
    "lanemask_eq": [1 << i for i in _IOTA],
    "lanemask_le": [(2 << i) - 1 for i in _IOTA],
    "lanemask_lt": [(1 << i) - 1 for i in _IOTA],
    "lanemask_ge": [0xFFFFFFFF & ~((1 << i) - 1) for i in _IOTA],
    "lanemask_gt": [0xFFFFFFFF & ~((2 << i) - 1) for i in _IOTA],
}
_FIELDS = {
    "warpid": "%f.index",
    "nwarpid": "%f.warp_count",
    "smid": "%f.sm",
    "dynamic_smem_size": "%f.dynamic_shared",
    "total_smem_size": "%f.total_shared",
    "aggr_smem_size": "%f.total_shared",
}
_CONSTANTS = {
    "cluster_ctarank": 0,
    "cluster_nctarank": 1,
    "is_explicit_cluster": 0,
    "nsmid": 128,
    "current_graph_exec": 0,
}


def read_special(e: Emitter, name: str) -> Value:
    """The value of %name, i32 or i64."""
    base, _, component = name.partition(".")
    if base == "laneid":
        return lanes_constant("i32", _IOTA)
    if base in _LANEMASKS:
        return lanes_constant("i32", _LANEMASKS[base])
    if base == "tid":
        return _thread_index(e, component or "x")
    if base in ("ntid", "ctaid", "nctaid"):
        return Value("i32", f"%f.{base}{component or 'x'}")
    if base in ("clusterid", "nclusterid"):
        return Value("i32", f"%f.{'ctaid' if base == 'clusterid' else 'nctaid'}{component or 'x'}")
    if base in ("cluster_ctaid", "cluster_nctaid"):
        return integer("i32", 0 if base == "cluster_ctaid" else 1)
    if base in _FIELDS:
        return Value("i32", _FIELDS[base])
    if base in _CONSTANTS:
        return integer("i32", _CONSTANTS[base])
    if base == "gridid":
        return Value("i64", "%f.grid_id")
    if base.startswith(("clock", "globaltimer")):
        return _clock(e, base)
    if base in ("envreg1", "envreg2"):  # where a cooperative grid's barrier is: high, low
        where = Value("i64", "%f.workspace")
        return e.b.resize(
            e.b.lshr(where, integer("i64", 32)) if base == "envreg1" else where, "i32"
        )
    if base.startswith(("envreg", "pm", "reserved_smem")):
        return integer("i32", 0)
    raise e.error(f"unknown special register %{name}")


def _clock(e: Emitter, name: str) -> Value:
    value = e.call_helper("clock", "i64", f"i32 {int(name.startswith('globaltimer'))}")
    if name in ("clock64", "globaltimer"):
        return value
    if name.endswith("_hi"):
        value = e.b.lshr(value, integer("i64", 32))
    return e.b.resize(value, "i32")


def _thread_index(e: Emitter, component: str) -> Value:
    b = e.b
    group = GROUPS[e.variant]
    axis = "xyz".index(component)
    first = Value("i32", f"%f.tid{component}")
    if group == 0:
        pointer = b.offset("%f.lanes", axis * 128)
        return b.value("i32", True, f"load <32 x i32>, ptr {pointer}, align 4, !invariant.load !0")
    if axis == 0:
        lanes = lanes_constant("i32", [i % group for i in _IOTA])
        return b.add(b.splat(first), lanes) if group == 32 else lanes
    if axis == 1 and group < 32:
        return b.add(b.splat(first), lanes_constant("i32", [i // group for i in _IOTA]))
    return first
