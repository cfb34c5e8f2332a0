"""File descriptors: as many as the system allows, and never the last one for a connection.

libzmq ends its process when no descriptor is left for a connection that it accepts;
native/wire/gate.c says how that is kept from happening.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import time
from pathlib import Path

from tally._native import lib

KEPT = 64  # no connection gets these: programs to start, files to read
KEPT_FOR_REFUSALS = 128  # no session does; so there are connections on which to say so
TELL_SECONDS = 60.0

log = logging.getLogger("tallyd")


def raise_limit(most: int = 0) -> int:
    """Raise the soft limit to the hard one, or to `most` if that is not 0; what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = int(Path("/proc/sys/fs/nr_open").read_text(encoding="ascii"))
    wanted = min(hard, most) if most else hard
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft


def free() -> int:
    """How many the process may still open."""
    return int(lib.tally_descriptors_free())


def guard(per_process_max: int = 0) -> int:
    """Let libzmq accept within limits from now on; a descriptor for tell_refused.

    per_process_max: connections of one process, 0 for any number.
    """
    if lib.tally_gate_install(KEPT, per_process_max) != 0:
        log.warning("libzmq is not a library of its own: a flood of connections could end us")
    return int(lib.tally_gate_event_fd())


_told_s = -TELL_SECONDS


def tell_refused(to: logging.Logger) -> None:
    """Log that connections were refused, once a minute at most. Call when guard()'s is readable."""
    global _told_s
    count = int(lib.tally_gate_refused())
    if count and time.monotonic() - _told_s >= TELL_SECONDS:
        _told_s = time.monotonic()
        to.warning(
            "%d connections were closed: more than one process may have (a session one to each of "
            "its sockets, others `connections_per_process_max`), or than there are descriptors "
            "for (%d are free, see `descriptors_max`)",
            *(count, free()),
        )
