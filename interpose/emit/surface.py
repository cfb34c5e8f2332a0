"""The shim's surface: exported wrappers, the export list, and cuGetProcAddress's table."""

from __future__ import annotations

import tomllib

from tally.interpose.emit.headers import NOTICE
from tally.interpose.handling import Handling, Handlings
from tally.interpose.table import HERE, Function, Table, TableError

RESULTS_PATH = HERE / "results.toml"

EXPORTS_HEAD = f"""\
{NOTICE}
#include <limits.h>
#include <stdint.h>

#include "../connection.h"
#include "../context.h"
#include "../shelter.h"
#include "calls.h"
#include "custom.h"

#define EXPORT __attribute__((visibility("default")))
/* Before cuInit every function but the few that need none fails, whatever its arguments. */
#define NEED_INIT \\
    do {{ \\
        CUresult ready = shim_initialized(); \\
        if (ready) \\
            return ready; \\
    }} while (0)
/* Around what exchanges messages: see shelter.h. */
#define SHELTERED(call) \\
    do {{ \\
        struct shim_cancel cancel = shim_cancel_hold(); \\
        CUresult result = call; \\
        shim_cancel_release(cancel); \\
        return result; \\
    }} while (0)
"""


def exports_source(handlings: Handlings) -> str:
    """One wrapper per symbol; per-thread variants differ in one argument."""
    bodies = [_wrapper(handlings, f) for f in sorted(handlings.table, key=lambda f: f.symbol)]
    return EXPORTS_HEAD + "\n" + "\n".join(bodies) + "\n"


def _wrapper(handlings: Handlings, function: Function) -> str:
    handling = handlings.of(function)
    head = f"EXPORT CUresult {function.symbol}({function.prototype_params}) {{ "
    if handling.kind == "unsupported":
        count = f'shim_unsupported("{function.stem}", &calls)'
        return head + f"static uint64_t calls; return {count}; }}"
    if not handlings.works_before_init(function):
        head += "NEED_INIT; "
    if handling.kind == "widen":
        return head + _widened(handlings.table, function, handling) + " }"
    call = f"{_callee(handling)}({_arguments(handlings, function)})"
    target = handlings.of(handlings.table.stems()[handling.target]) if handling.target else handling
    if target.kind == "local":
        return head + f"return {call}; }}"
    return head + f"SHELTERED({call}); }}"


def _callee(handling: Handling) -> str:
    if handling.kind in ("call", "async"):
        return f"wire_{handling.stem}"
    return f"shim_{handling.target or handling.stem}"


def _arguments(handlings: Handlings, function: Function) -> str:
    arguments = [p.name for p in function.params]
    handling = handlings.of(function)
    if (handling.target or handling.stem) in handlings.table.per_thread():
        arguments.insert(0, "true" if function.suffix else "false")
    return ", ".join(arguments)


def _widened(table: Table, function: Function, handling: Handling) -> str:
    """Calls the wide target; 32-bit outputs that do not fit are clamped."""
    target = table.stems()[handling.target]
    before, after, arguments = "", "", []
    for narrow, wide in zip(function.params, target.params, strict=True):
        if narrow.type == wide.type or not narrow.is_pointer:
            arguments.append(narrow.name)
            continue
        before += f"{wide.pointee} wide_{narrow.name} = 0; "
        value = f"wide_{narrow.name}"
        after += f"*{narrow.name} = {value} > UINT_MAX ? UINT_MAX : (unsigned int){value}; "
        arguments.append(f"{narrow.name} != NULL ? &wide_{narrow.name} : NULL")
    call = f"shim_{handling.target}({', '.join(arguments)})"
    if not after:
        return f"return {call};"
    return (
        f"{before}CUresult status = {call}; if (status != CUDA_SUCCESS) return status; "
        f"{after}return CUDA_SUCCESS;"
    )


def export_list(handlings: Handlings) -> str:
    """Linker version script: exactly the driver API is visible."""
    symbols = "".join(f"    {f.symbol};\n" for f in sorted(handlings.table, key=lambda f: f.symbol))
    return f"{NOTICE}\n{{\n  global:\n{symbols}  local: *;\n}};\n"


def lookup_table(handlings: Handlings) -> str:
    """Rows sorted by (base name, per-thread, version), for a binary search."""
    ordered = sorted(handlings.table, key=lambda f: (f.base.encode(), bool(f.suffix), f.introduced))
    rows = "".join(
        f'    {{"{f.base}", {f.introduced}, {int(bool(f.suffix))}, (void (*)(void)){f.symbol}}},\n'
        for f in ordered
    )
    return (
        f'{NOTICE}\n#include "../lookup.h"\n\n'
        f"const struct shim_symbol shim_symbols[] = {{\n{rows}}};\n\n"
        "const uint32_t shim_symbol_count = sizeof shim_symbols / sizeof shim_symbols[0];\n"
    )


def results(handlings: Handlings) -> str:
    """Names and texts of CUresult values, sorted by value."""
    with RESULTS_PATH.open("rb") as stream:
        texts = tomllib.load(stream)
    known = handlings.table.results
    if unknown := set(texts) - set(known):
        raise TableError(f"results.toml: {sorted(unknown)} are no results")
    rows = "".join(
        f'    {{{value}, "{name}", "{texts.get(name, name)}"}},\n'
        for name, value in sorted(known.items(), key=lambda item: item[1])
    )
    return (
        f'{NOTICE}\n#include "../errors.h"\n\n'
        f"const struct shim_result shim_results[] = {{\n{rows}}};\n\n"
        "const uint32_t shim_result_count = sizeof shim_results / sizeof shim_results[0];\n"
    )
