"""Which kernels cannot give way within a block, and why: what `tally doctor` shows.

Noted once for each module that is rewritten, or was found rewritten in the cache; bounded. Session
threads note, the executor's Python thread reports.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from tally.scheduler.ptx.classify import Treatment
from tally.scheduler.ptx.variants import NoFormsError, Variants

NOTES_MAX = 256  # beyond it they are counted only
TEXT_CHARACTERS_MAX = 300


class Note(NamedTuple):
    """kernel: its name; empty: all of the module. runs: whole, in slices, or not at all."""

    kernel: str
    runs: str
    reason: str


def of_variants(made: Variants) -> list[Note]:
    """Of the kernels that have no guarded form."""
    notes = []
    for kernel, verdict in made.verdicts.items():
        if verdict.treatment is Treatment.PREEMPT:
            continue
        refused = made.refused.get(kernel)
        if verdict.treatment is Treatment.SLICE and refused is None:
            notes.append(Note(kernel, "in slices", verdict.reason))
        else:
            reason = f"{verdict.reason}; not sliced: {refused}" if refused else verdict.reason
            notes.append(Note(kernel, "whole", reason))
    return notes


def of_error(error: Exception) -> list[Note]:
    """Of a module that is loaded as it came."""
    if isinstance(error, NoFormsError):
        return [Note(kernel, "whole", verdict.reason) for kernel, verdict in error.verdicts.items()]
    return [Note("", "whole", str(error))]


def plain(text: str) -> str:
    """Not too long, and harmless to terminals: it is out of somebody's program."""
    return "".join(c if c.isprintable() else "?" for c in text[:TEXT_CHARACTERS_MAX])


class Refusals:
    """All notes of this executor's life, by module."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: dict[tuple[str, str], Note] = {}
        self._more: set[int] = set()  # hashes of those beyond the bound

    def add(self, module: str, notes: Sequence[Note]) -> None:
        """module: a hash of its image."""
        with self._lock:
            for note in notes:
                key = (module[:12], note.kernel[:TEXT_CHARACTERS_MAX])
                if key in self._notes or len(self._notes) < NOTES_MAX:
                    self._notes[key] = Note(*map(plain, note))
                elif len(self._more) < NOTES_MAX * NOTES_MAX:
                    self._more.add(hash(key))

    def report(self) -> dict[str, Any]:
        """For tallyd: the notes, and how many there are beside them."""
        with self._lock:
            notes = [{"module": key[0], **note._asdict()} for key, note in self._notes.items()]
            return {"notes": notes, "more": len(self._more)}
