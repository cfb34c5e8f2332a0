"""Which files of the engine may look into which part of a session: one noun, one header, one owner.

    python tests/support/engine_parts.py [native/engine]

struct session is made of parts. Each belongs to the file, or the folder, that the table below
names; everybody else asks that file's functions. What is not in the table is everybody's: the
session's number, its configuration, whether it is ending.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

OWNERS = {
    "books": ("launch/",),
    "control": ("launch/control.c",),
    "events": ("streams/event.c",),
    "events_free": ("session/event_pool.c",),
    "functions": ("code/function.c",),
    "gates": ("launch/gate.c",),
    "handover": ("session/handover.c",),
    "lanes": ("launch/completion.c",),
    "memory": ("memory/",),
    "modules": ("code/loading.c", "code/module.c"),
    "notices": ("session/notice.c", "session/session.c"),
    "open": ("launch/open.c",),
    "replies": ("session/reply.c", "session/output.c", "session/sockets.c"),
    "request": ("session/request.c",),
    "rescue_stream": ("launch/rescue.c",),
    "rewritten_turn": ("code/rewriter.c",),
    "segment": ("session/segment.c", "session/slot_mark.c"),
    "streams": ("streams/", "ops/op_stream.c"),
    "timing": ("launch/timing.c",),
    "uploads": ("code/upload.c",),
    "waits_outstanding": ("streams/later.c",),
    "waker": ("session/ending.c", "session/session.c", "session/sockets.c"),
    "watch": ("session/watch.c", "session/sockets.c"),
}


def trespasses(folder: Path) -> list[str]:
    """Each line of the engine that looks into a part of another file's, as "FILE:LINE: what"."""
    found = []
    for path in sorted(folder.rglob("*.c")):
        name = path.relative_to(folder).as_posix()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for part in re.findall(r"\bsession->(\w+)", line):
                owners = OWNERS.get(part)
                if owners is not None and not any(
                    name == owner or name.startswith(owner) for owner in owners
                ):
                    found.append(f"{name}:{number}: session->{part} is {' and '.join(owners)}'s")
    return found


def main() -> int:
    """1 and the lines, if there are any."""
    found = trespasses(Path(sys.argv[1] if len(sys.argv) > 1 else "native/engine"))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
