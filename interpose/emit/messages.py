"""How one generated message carries a function's parameters.

Each parameter becomes a Field: where it sits in the request or reply struct, and the C statements
that fill it in on the client and read it on the engine's side.
"""

from __future__ import annotations

from dataclasses import dataclass

from tally.interpose.handling import Handlings
from tally.interpose.table import Function, Param, TableError

HANDLES = {
    "CUstream": "stream",
    "CUevent": "event",
    "CUfunction": "function",
    "CUmodule": "module",
}
WIDE = {"size_t", "CUdeviceptr", "cuuint64_t", "unsigned long long"}
FLOATS = {"float"}
LAUNCH_CONFIG = "CUlaunchConfig"


@dataclass(frozen=True)
class Field:
    """One parameter on the wire.

    `request` and `reply` are struct members ("" where the parameter does not travel that way),
    `bytes_each` their alignment class: 8, 4 or 1 (byte arrays whose size is a multiple of 8).
    """

    param: Param
    kind: str  # scalar, address, handle, handle?, in, out, inout, array, launch_config
    element: str = ""
    count: str = ""
    count_max: int = 1

    @property
    def wire_type(self) -> str:
        if self.kind in ("address", "handle", "handle?"):
            return "uint64_t"
        return _wire_type(self.element or self.param.type)

    @property
    def bytes_each(self) -> int:
        return {"uint64_t": 8, "uint32_t": 4, "float": 4}.get(self.wire_type, 1)

    def member(self) -> str:
        """Declaration inside a message struct."""
        name = self.param.name
        if self.kind == "launch_config":
            return f"struct tally_launch_config {name};"
        if self.kind == "array":
            return f"{self.wire_type} {name}[{self.count_max}];"
        if self.wire_type == "bytes":
            return f"uint8_t {name}[sizeof({self.element})];"
        return f"{self.wire_type} {name};"

    @property
    def in_request(self) -> bool:
        return self.kind != "out"

    @property
    def in_reply(self) -> bool:
        return self.kind in ("out", "inout")


def _wire_type(c_type: str) -> str:
    if c_type in WIDE:
        return "uint64_t"
    if c_type in FLOATS:
        return "float"
    if c_type in ("int", "unsigned int", "cuuint32_t", "CUdevice") or _is_enum(c_type):
        return "uint32_t"
    return "bytes"


# Enumerations that generated messages carry; any other type that is no integer travels as bytes.
ENUMS = {
    "CUfunc_cache",
    "CUfunction_attribute",
    "CUsharedconfig",
    "CUstreamAttrID",
    "CUtensorMapDataType",
    "CUtensorMapFloatOOBfill",
    "CUtensorMapIm2ColWideMode",
    "CUtensorMapInterleave",
    "CUtensorMapL2promotion",
    "CUtensorMapSwizzle",
}


def _is_enum(c_type: str) -> bool:
    return c_type in ENUMS


def fields(handlings: Handlings, function: Function) -> list[Field]:
    """Fields of a function's messages, in the order of its parameters."""
    roles = handlings.of(function).roles
    return [_field(function, p, roles.get(p.name, "")) for p in function.params]


def _field(function: Function, param: Param, role: str) -> Field:
    if role.startswith("array:"):
        _, count, count_max = role.split(":")
        return Field(param, "array", param.pointee, count, int(count_max))
    if role == "inout":
        return Field(param, "inout", param.pointee)
    if role not in ("", "optional"):
        raise TableError(f"{function.symbol}: unknown role {role!r} of {param.name}")
    if param.type in HANDLES:
        return Field(param, "handle?" if role == "optional" else "handle")
    if not param.is_pointer:
        return Field(param, "scalar")
    if param.pointee == "void":
        return Field(param, "address")
    if param.pointee == LAUNCH_CONFIG:
        return Field(param, "launch_config")
    return Field(param, "in" if param.is_const_pointer else "out", param.pointee)


def layout(members: list[Field]) -> list[str]:
    """Members of a message struct, widest first, padded to a multiple of 8 bytes."""
    ordered = sorted(members, key=lambda f: -f.bytes_each if f.bytes_each != 1 else -9)
    words = sum(f.count_max for f in members if f.bytes_each == 4)
    lines = [f.member() for f in ordered]
    if words % 2:
        lines.append("uint32_t reserved;")
    return lines
