"""What workers do for softgpu: read modules, and compile kernels."""

from __future__ import annotations

from typing import Any

from .code import CompiledModule
from .errors import PtxError
from .flat import flatten

_WARM = """.version 8.0
.target sm_80
.address_size 64
.visible .entry warm(.param .u64 out)
{
.reg .b64 %rd<3>; .reg .b32 %r<2>;
ld.param.u64 %rd1, [out];
mov.u32 %r1, %tid.x;
mad.wide.u32 %rd2, %r1, 4, %rd1;
st.global.u32 [%rd2], %r1;
ret;
}
"""

_last: list[tuple[str, CompiledModule]] = []  # the module worked on, at most one


def _module(digest: str, text: bytes) -> CompiledModule:
    if not _last or _last[0][0] != digest:
        _last.clear()
        decoded = text.rstrip(b"\0").decode("utf-8", "surrogateescape")
        _last.append((digest, CompiledModule(decoded)))
    return _last[0][1]


def _error(error: PtxError) -> tuple[dict[str, Any], bytes]:
    fields = {"line": error.line, "message": error.message, "result": error.result}
    return {"error": fields}, b""


def describe(head: dict[str, Any], text: bytes) -> tuple[dict[str, Any], bytes]:
    """The module as native/softgpu sees it, see flat.py; or `error`."""
    try:
        module = _module(head["digest"], text)
    except PtxError as error:
        return _error(error)
    answer, blob = flatten(module)
    return answer | {"refused": module.refusals()}, blob


def compile_kernel(head: dict[str, Any], text: bytes) -> tuple[dict[str, Any], bytes]:
    """An image of one kernel, see image.py; or `error`."""
    try:
        return {}, _module(head["digest"], text).image(head["kernel"], head["variant"])
    except PtxError as error:
        return _error(error)


def warm() -> None:
    """What LLVM does at its first use, done once for all workers."""
    CompiledModule(_WARM).image(0, 0)


WORKS = {"describe": describe, "compile": compile_kernel}
