"""Limits that users can meet and cannot set, for docs/configuration.md.

Their values stand in the sources, which this reads: it needs a checkout.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class Fixed(NamedTuple):
    """A constant of that name in the file."""

    what: str
    file: str
    name: str
    met: str

    def value(self) -> int:
        """ValueError if the file has none, or one that is no number, shift or product."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        number = r"\(?(\d+)[ul]*(?: (<<|\*) (\d+)[ul]*)?\)?"
        line = rf"^(?:#define )?{self.name} (?:= )?{number} *(?:/\*|#|$)"
        found = re.search(line, text, re.MULTILINE)
        if found is None:
            raise ValueError(f"{self.file} has no number {self.name}")
        first, last = int(found[1]), int(found[3] or 0)
        return first * last if found[2] == "*" else first << last

    def shown(self) -> str:
        """For people."""
        value = self.value()
        if "BYTES" in self.name or "HEAP" in self.name:
            for size, unit in UNITS:
                if value % size == 0:
                    return f"{value // size} {unit}"
        return str(value)


TOLD = "a line on the program's standard error says it"

FIXED = (
    Fixed(
        "Streams, events, modules and functions of one program, each",
        "native/include/tally/protocol.h",
        "TALLY_INDEX_MAX",
        f"The call returns out of memory; {TOLD}.",
    ),
    Fixed(
        "Contexts of one program",
        "native/shim/context.h",
        "SHIM_CONTEXTS_MAX",
        f"`cuCtxCreate` returns out of memory; {TOLD}.",
    ),
    Fixed(
        "Contexts on one thread's stack",
        "native/shim/context.c",
        "STACK_MAX",
        f"The call returns out of memory; {TOLD}.",
    ),
    Fixed(
        "Bytes of a kernel's or variable's mangled name",
        "native/include/tally/protocol.h",
        "TALLY_NAME_BYTES_MAX",
        f"It is not found; {TOLD}.",
    ),
    Fixed(
        "Launches and copies of all programs that one device's scheduler holds",
        "native/engine/launch/books.h",
        "LAUNCHES_MAX",
        "High ones go on, and are counted only; a best-effort one returns out of memory, and "
        f"{TOLD}.",
    ),
    Fixed(
        "What kernels print between two waits of their program",
        "native/engine/session/output.h",
        "OUTPUT_BYTES_MAX",
        "The rest is lost, as with CUDA, and counted (`output_lost_bytes` of `tally stats`).",
    ),
    Fixed(
        "Different lines that one process is told for one device",
        "native/engine/session/notice.h",
        "NOTICES_MAX",
        "Later ones are dropped.",
    ),
    Fixed(
        "Kernels of one module",
        "scheduler/ptx/variants.py",
        "KERNELS_MAX",
        "The module's kernels run whole; `tally doctor` says why.",
    ),
    Fixed(
        "Bytes of one module's PTX, unpacked",
        "scheduler/ptx/image.py",
        "TEXT_BYTES_MAX",
        "As for kernels; a software GPU does not load the module, and says so.",
    ),
    Fixed(
        "Bytes of a request to tallyd's control socket",
        "client/protocol.py",
        "CONTROL_BYTES_MAX",
        "The connection is closed.",
    ),
    Fixed(
        "Software GPU: blocks that wait for other blocks, besides one per worker",
        "native/softgpu/driver/soft.h",
        "SOFT_SPARES_MAX",
        "The others have to wait until one of these has ended.",
    ),
    Fixed(
        "Software GPU: bytes that kernels of one program have from `malloc`",
        "native/softgpu/driver/heap.c",
        "SESSION_HEAP_MAX",
        "`malloc` returns NULL, as with CUDA.",
    ),
)
