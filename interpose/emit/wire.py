"""Generated ops: the messages, the client's side that sends them, the engine's that serves them."""

from __future__ import annotations

from tally.interpose.emit.headers import NOTICE, guarded
from tally.interpose.emit.messages import HANDLES, Field, fields, layout
from tally.interpose.handling import Handlings
from tally.interpose.table import Function

OPS_NOTES = """\
/* Messages of the generated ops: a request holds scalar inputs and handles, a reply the outputs.
 * Byte arrays hold a struct of the driver API as it lies in memory. */"""

CALLS_NOTES = """\
/* One function per generated op: encodes it, sends it to the current context's executor and, for
 * calls, waits for the answer. */"""

DISPATCH_NOTES = """\
/* Serves one generated op: `message` of `bytes` bytes (any alignment) starts with its tally_op.
 * False: the message is malformed. Else *result is the driver's answer; for a call, *reply_bytes
 * bytes of `reply` are to be sent once its struct tally_reply is filled in (0: one-way). */
bool engine_dispatch_generated(struct session *session, const void *message, size_t bytes,
                               void *reply, size_t *reply_bytes, CUresult *result);"""

LAUNCH_CONFIG = """\
#define TALLY_QUERY_ATTRIBUTES_MAX 8u

/* A CUlaunchConfig without pointers. */
struct tally_launch_config {
    uint64_t stream;
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared_bytes;
    uint32_t attribute_count;
    CUlaunchAttribute attributes[TALLY_QUERY_ATTRIBUTES_MAX];
};"""


def ops_header(handlings: Handlings) -> str:
    functions = handlings.wired()
    codes = "".join(
        f"    TALLY_OP_{f.symbol} = TALLY_OP_GENERATED + {i},\n" for i, f in enumerate(functions)
    )
    end = f"    TALLY_OP_GENERATED_END = TALLY_OP_GENERATED + {len(functions)},\n"
    return guarded(
        "TALLY_OPS_H",
        OPS_NOTES,
        '#include "tally/cuda.h"\n#include "tally/protocol.h"',
        f"enum tally_generated_op {{\n{codes}{end}}};",
        LAUNCH_CONFIG,
        *(_structs(handlings, f) for f in functions),
    )


def _structs(handlings: Handlings, function: Function) -> str:
    members = fields(handlings, function)
    text = _struct("op", function, [f for f in members if f.in_request])
    if handlings.of(function).wire == "call":
        text += "\n" + _struct("reply", function, [f for f in members if f.in_reply])
    return text


def _struct(what: str, function: Function, members: list[Field]) -> str:
    name = f"tally_{what}_{function.symbol}"
    lines = "".join(f"    {line}\n" for line in layout(members))
    sizes = " + ".join([f"sizeof(struct tally_{what})", *(_size(f) for f in members)])
    return (
        f"struct {name} {{\n    struct tally_{what} {what};\n{lines}}};\n"
        f'_Static_assert((({sizes}) + 7) / 8 * 8 == sizeof(struct {name}), "layout");'
    )


def _size(field: Field) -> str:
    if field.kind == "launch_config":
        return "sizeof(struct tally_launch_config)"
    if field.wire_type == "bytes":
        return f"sizeof({field.element})"
    return str(field.bytes_each * field.count_max)


# ---- client --------------------------------------------------------------------------------------


def wire_prototype(handlings: Handlings, function: Function) -> str:
    params = [p.decl for p in function.params]
    if function.symbol in handlings.table.per_thread():
        params.insert(0, "bool per_thread")
    return f"CUresult wire_{function.symbol}({', '.join(params) or 'void'})"


def calls_header(handlings: Handlings) -> str:
    lines = [f"{wire_prototype(handlings, f)};" for f in handlings.wired()]
    return guarded(
        "TALLY_SHIM_CALLS_H",
        CALLS_NOTES,
        '#include <stdbool.h>\n\n#include "tally/cuda.h"',
        "\n".join(lines),
    )


def calls_source(handlings: Handlings) -> str:
    includes = (
        '#include "calls.h"\n\n#include <string.h>\n\n#include "../context.h"\n'
        '#include "../wire_args.h"\n#include "tally/generated/ops.h"\n'
    )
    bodies = [_client(handlings, f) for f in handlings.wired()]
    return f"{NOTICE}\n{includes}\n" + "\n\n".join(bodies) + "\n"


def _client(handlings: Handlings, function: Function) -> str:
    members = fields(handlings, function)
    is_call = handlings.of(function).wire == "call"
    per_thread = "per_thread" if function.symbol in handlings.table.per_thread() else "false"
    symbol = function.symbol
    lines = [wire_prototype(handlings, function), "{"]
    lines += _client_checks(members)
    lines += [
        "    struct shim_channel *channel;",
        "    CUresult status = shim_current(NULL, &channel);",
        "    if (status != CUDA_SUCCESS)",
        "        return status;",
        f"    struct tally_op_{symbol} op = {{.op.code = TALLY_OP_{symbol}}};",
    ]
    for field in members:
        if field.in_request:
            lines += _encode(field, per_thread)
    if not is_call:
        lines += ["    return shim_send(channel, &op, sizeof op, NULL, 0);", "}"]
        return "\n".join(lines)
    lines += [
        f"    struct tally_reply_{symbol} reply;",
        "    status = shim_call(channel, &op, sizeof op, NULL, 0, &reply, sizeof reply);",
    ]
    outputs = [line for f in members if f.in_reply for line in _decode_reply(f)]
    if outputs:
        lines += ["    if (status != CUDA_SUCCESS)", "        return status;", *outputs]
        lines += ["    return CUDA_SUCCESS;", "}"]
    else:
        lines += ["    return status;", "}"]
    return "\n".join(lines)


def _client_checks(members: list[Field]) -> list[str]:
    conditions = [
        f"{f.param.name} == NULL"
        for f in members
        if f.kind in ("in", "out", "inout", "array", "launch_config")
    ]
    conditions += [f"({f.count}) > {f.count_max}u" for f in members if f.kind == "array"]
    if not conditions:
        return []
    unique = list(dict.fromkeys(conditions))
    return [f"    if ({' || '.join(unique)})", "        return CUDA_ERROR_INVALID_VALUE;"]


def _encode(field: Field, per_thread: str) -> list[str]:
    name = field.param.name
    check = ["    if (status != CUDA_SUCCESS)", "        return status;"]
    if field.kind in ("handle", "handle?"):
        kind = HANDLES[field.param.type]
        flag = f"{per_thread}, " if kind == "stream" else ""
        call = f"    status = shim_wire_{kind}({flag}{name}, &op.{name});"
        if field.kind == "handle":
            return [call, *check]
        return [f"    if ({name} != NULL)", f"    {call}", *check]
    if field.kind == "launch_config":
        return [f"    status = shim_wire_launch_config({name}, &op.{name});", *check]
    if field.kind == "address":
        return [f"    op.{name} = (uint64_t)(uintptr_t){name};"]
    if field.kind == "array":
        size = f"({field.count}) * sizeof {name}[0]"
        return [f"    memcpy(op.{name}, {name}, {size});"]
    if field.wire_type == "bytes":
        return [f"    memcpy(op.{name}, {name}, sizeof op.{name});"]
    return [f"    op.{name} = ({field.wire_type}){name};"]


def _decode_reply(field: Field) -> list[str]:
    name = field.param.name
    if field.wire_type == "bytes":
        return [f"    memcpy({name}, reply.{name}, sizeof reply.{name});"]
    return [f"    *{name} = ({field.element})reply.{name};"]


# ---- engine --------------------------------------------------------------------------------------


def dispatch_header(handlings: Handlings) -> str:
    return guarded(
        "TALLY_DISPATCH_GEN_H",
        '#include <stdbool.h>\n#include <stddef.h>\n\n#include "tally/generated/ops.h"',
        "#define ENGINE_GENERATED_REPLY_BYTES_MAX 512u",
        "struct session;",
        DISPATCH_NOTES,
    )


def dispatch_source(handlings: Handlings) -> str:
    functions = handlings.wired()
    includes = (
        '#include "engine/ops/generated/dispatch_gen.h"\n\n#include <string.h>\n\n'
        '#include "engine/ops/resolve.h"\n'
    )
    bodies = [_server(handlings, f) for f in functions]
    rows = "".join(_row(handlings, f) for f in functions)
    return f"{NOTICE}\n{includes}\n{CONFIG_READER}\n\n" + "\n\n".join(bodies) + DISPATCH % rows


CONFIG_READER = """\
/* A launch configuration from the wire; `attributes` are the message's own. */
static CUresult read_config(struct session *session, struct tally_launch_config *in,
                            CUlaunchConfig *out)
{
    if (in->attribute_count > TALLY_QUERY_ATTRIBUTES_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    *out = (CUlaunchConfig){
        .gridDimX = in->grid[0], .gridDimY = in->grid[1], .gridDimZ = in->grid[2],
        .blockDimX = in->block[0], .blockDimY = in->block[1], .blockDimZ = in->block[2],
        .sharedMemBytes = in->dynamic_shared_bytes,
        .attrs = in->attribute_count > 0 ? in->attributes : NULL,
        .numAttrs = in->attribute_count,
    };
    if (in->stream == 0)
        return CUDA_SUCCESS;
    return engine_resolve_stream(session, in->stream, &out->hStream);
}"""

DISPATCH = """

static const struct handler {
    CUresult (*serve)(struct session *session, const void *message, void *reply);
    uint32_t op_bytes, reply_bytes;
} handlers[] = {
%s};

bool engine_dispatch_generated(struct session *session, const void *message, size_t bytes,
                               void *reply, size_t *reply_bytes, CUresult *result)
{
    struct tally_op op;
    if (bytes < sizeof op)
        return false;
    memcpy(&op, message, sizeof op);
    if (op.code < TALLY_OP_GENERATED || op.code >= TALLY_OP_GENERATED_END)
        return false;
    const struct handler *handler = &handlers[op.code - TALLY_OP_GENERATED];
    if (bytes != handler->op_bytes || (op.call_id != 0) != (handler->reply_bytes != 0))
        return false;
    memset(reply, 0, handler->reply_bytes);
    *reply_bytes = handler->reply_bytes;
    *result = handler->serve(session, message, reply);
    return true;
}
"""


def _row(handlings: Handlings, function: Function) -> str:
    symbol = function.symbol
    is_call = handlings.of(function).wire == "call"
    reply = f"sizeof(struct tally_reply_{symbol})" if is_call else "0"
    return f"    {{serve_{symbol}, sizeof(struct tally_op_{symbol}), {reply}}},\n"


def _server(handlings: Handlings, function: Function) -> str:
    members = fields(handlings, function)
    symbol = function.symbol
    is_call = handlings.of(function).wire == "call"
    lines = [
        "static CUresult",
        f"serve_{symbol}(struct session *session, const void *message, void *answer)",
        "{",
        "    const struct tally_driver *driver = engine_driver(session);",
        f"    if (driver->{symbol} == NULL)",
        "        return CUDA_ERROR_NOT_SUPPORTED;",
        f"    struct tally_op_{symbol} op;",
        "    memcpy(&op, message, sizeof op);",
    ]
    if any(f.kind in ("handle", "handle?", "launch_config") for f in members):
        lines.append("    CUresult status;")
    for field in members:
        lines += _decode(field)
    arguments = ", ".join(_argument(f) for f in members)
    call = f"driver->{symbol}({arguments})"
    outputs = [line for f in members if f.in_reply for line in _encode_reply(f)]
    if not (is_call and outputs):
        lines += [f"    return {call};", "}"]
        return "\n".join(lines)
    lines += [
        f"    CUresult result = {call};",
        f"    struct tally_reply_{symbol} *reply = answer;",
        *outputs,
        "    return result;",
        "}",
    ]
    return "\n".join(lines)


def _decode(field: Field) -> list[str]:
    """Locals named as the parameters, so that counts may be expressions of them."""
    name = field.param.name
    check = ["    if (status != CUDA_SUCCESS)", "        return status;"]
    if field.kind in ("handle", "handle?"):
        kind = HANDLES[field.param.type]
        resolve = f"    status = engine_resolve_{kind}(session, op.{name}, &{name});"
        declare = f"    {field.param.type} {name} = NULL;"
        if field.kind == "handle":
            return [declare, resolve, *check]
        return [
            declare,
            f"    if (op.{name} != 0) {{",
            f"    {resolve}",
            *(f"    {line}" for line in check),
            "    }",
        ]
    if field.kind == "launch_config":
        read = f"    status = read_config(session, &op.{name}, &{name});"
        return [f"    CUlaunchConfig {name};", read, *check]
    if field.kind == "address":
        return [f"    void *{name} = (void *)(uintptr_t)op.{name};"]
    if field.kind == "scalar":
        return [f"    {field.param.type} {name} = ({field.param.type})op.{name};"]
    if field.kind == "array":
        invalid = [f"    if (({field.count}) > {field.count_max}u)"]
        invalid += ["        return CUDA_ERROR_INVALID_VALUE;"]
        declare = f"    {field.element} {name}[{field.count_max}];"
        return [*invalid, declare, f"    memcpy({name}, op.{name}, sizeof {name});"]
    declare = f"    {field.element} {name};"
    if field.kind in ("in", "inout"):
        return [declare, f"    memcpy(&{name}, op.{name}, sizeof {name});"]
    return [declare, f"    memset(&{name}, 0, sizeof {name});"]


def _argument(field: Field) -> str:
    name = field.param.name
    return f"&{name}" if field.kind in ("in", "out", "inout", "launch_config") else name


def _encode_reply(field: Field) -> list[str]:
    name = field.param.name
    if field.wire_type == "bytes":
        return [f"    memcpy(reply->{name}, &{name}, sizeof {name});"]
    return [f"    reply->{name} = ({field.wire_type}){name};"]
