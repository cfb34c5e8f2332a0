"""What the engine calls to get rewritten kernels: made by a worker (rewrite_work.py), kept on disk.

The cache is keyed by the image's content and the version of the passes. A file is written under
another name and renamed, and begins with a hash of the rest: after a crash of the machine its bytes
may be missing though its name is there. A second line has notes for `tally doctor`. Any failure
means that the kernels run whole; a disk that is full or broken costs the work of rewriting again,
and one warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tally._native import ffi, lib
from tally.config import default_of

from ..kept_files import KeptFiles
from ..workers import LeftError, Pool, WorkerError
from .refusals import Note, Refusals

log = logging.getLogger("tallyd.rewrite")

PASSES_VERSION = 6  # raise it with every change of what the passes write
WORK_MODULE = "tally.daemon.executor.rewrite_work"


def seal(text: bytes) -> bytes:
    """The content of a cache file."""
    return f"// {hashlib.sha256(text, usedforsecurity=False).hexdigest()}\n".encode() + text


def unseal(content: bytes) -> bytes | None:
    """The text in a cache file's content; None if it is not what was written."""
    _, _, text = content.partition(b"\n")
    return text if seal(text) == content else None


NOTES = b"// notes: "


def annotate(text: bytes, notes: Sequence[Note]) -> bytes:
    """The text with notes ahead of it, in a comment."""
    return NOTES + json.dumps([list(note) for note in notes]).encode() + b"\n" + text


def split_notes(text: bytes) -> tuple[bytes, list[Note]]:
    """The text without its notes, and these. ValueError or TypeError if they are not ours."""
    if not text.startswith(NOTES):
        return text, []
    line, _, rest = text.partition(b"\n")
    return rest, [Note(*map(str, note)) for note in json.loads(line.removeprefix(NOTES))]


class RewriteCache:
    """Rewritten modules by content, under a folder that outlives the process (None: nowhere)."""

    def __init__(
        self,
        folder: Path | None,
        pool: Pool | None = None,
        bytes_max: int = default_of("code_cache_bytes_max"),
    ):
        self.refusals = Refusals()
        self.architecture = 0  # the device's compute capability, 90 for 9.0; 0: not known
        self._pool = pool or Pool([WORK_MODULE])
        self._told = False
        self._files = KeptFiles(folder, ".ptx", bytes_max, self._tell) if folder else None

    def _tell(self, folder: Path, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("rewritten modules are not kept: %s: %s", folder, error.strerror)

    def _name(self, digest: str) -> str:
        """Of the file: which of an image's PTX is used depends on the device."""
        return f"{digest}-{PASSES_VERSION}-{self.architecture}"

    def _kept(self, digest: str) -> bytes | None:
        content = self._files.get(self._name(digest)) if self._files else None
        with contextlib.suppress(ValueError, TypeError):
            if content is not None and (kept := unseal(content)) is not None:
                text, notes = split_notes(kept)
                self.refusals.add(digest, notes)
                return text
        return None

    def rewrite(self, image: bytes) -> bytes | None:
        """PTX with all forms (of these alone, if `beside` says so), or None where the module can
        only run as it is. Raises LeftError.
        """
        digest = hashlib.sha256(image, usedforsecurity=False).hexdigest()
        if (text := self._kept(digest)) is not None:
            return text
        head = {"module": digest, "architecture": self.architecture}
        try:
            answer, text = self._pool.run("rewrite", head, image)
        except WorkerError as error:
            reason = f"rewriting it {error}"
            log.warning("module %s runs whole: %s", digest[:12], reason)
            self.refusals.add(digest, [Note("", "whole", reason)])
            return None
        notes = [Note(*note) for note in answer["notes"]]
        self.refusals.add(digest, notes)
        if not answer["made"]:
            return None
        if self._files:
            self._files.put(self._name(digest), seal(annotate(text, notes)))
        return text

    def beside(self, image: bytes) -> tuple[bool, bytes | None]:
        """Whether the module's forms may be in a module of their own, made in the background; and
        the PTX that they will come from, if the image has other code as well. Raises LeftError.
        """
        try:
            answer, text = self._pool.run("beside", {"architecture": self.architecture}, image)
        except WorkerError:  # the background is where that is noted
            return True, None
        return bool(answer["beside"]), text if answer["mixed"] else None


_cache: RewriteCache | None = None


def install(folder: Path | None, pool: Pool, bytes_max: int) -> tuple[Any, Any]:
    """The native functions for the engine's configuration."""
    global _cache
    _cache = RewriteCache(folder, pool, bytes_max)
    return lib.tally_rewrite, lib.tally_rewrite_beside


def know_device(architecture: int) -> None:
    """What images are rewritten for, once the engine has its device."""
    assert _cache is not None
    _cache.architecture = architecture


def note_refused(module: str, kernel: str, reason: str) -> None:
    """A launch of the kernel failed, as it cannot run on this device."""
    assert _cache is not None
    _cache.refusals.add(module, [Note(kernel, "not at all", reason)])


def refusals() -> dict[str, Any]:
    """What the passes could not rewrite so far."""
    assert _cache is not None
    return _cache.refusals.report()


@ffi.def_extern(name="tally_rewrite", error=ffi.NULL)
def _tally_rewrite(image: Any, size: int, text_bytes: Any) -> Any:
    assert _cache is not None
    try:
        text = _cache.rewrite(bytes(ffi.buffer(image, size)))
    except LeftError:
        return ffi.NULL
    if text is None:
        return ffi.NULL
    text_bytes[0] = len(text)
    return _buffer(text)


def _buffer(text: bytes) -> Any:
    """The text with a NUL, for the engine; NULL: short of memory."""
    buffer = lib.tally_engine_buffer(len(text) + 1)
    if buffer:
        ffi.memmove(buffer, text, len(text))
    return buffer


@ffi.def_extern(name="tally_rewrite_beside", error=0)
def _tally_rewrite_beside(image: Any, size: int, text: Any) -> int:
    assert _cache is not None
    try:
        answer, ptx = _cache.beside(bytes(ffi.buffer(image, size)))
    except LeftError:
        return 1
    if answer and ptx is not None:
        text[0] = ffi.cast("char *", _buffer(ptx))
    return int(answer)
