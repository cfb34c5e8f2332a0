"""What the engine calls to get rewritten kernels: the passes of tally.scheduler.ptx, cached on
disk.

The cache is keyed by the image's content and the version of the passes. A file is written under
another name and renamed, and begins with a hash of the rest: after a crash of the machine its bytes
may be missing though its name is there. A second line has notes for `tally doctor`. Any failure
means that the kernels run whole; a disk that is full or broken costs the work of rewriting again,
and one warning.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tally._native import ffi, lib
from tally.scheduler.ptx import variables, variants
from tally.scheduler.ptx.image import ImageError, extract, is_mixed
from tally.scheduler.ptx.module import RewriteError

from .executor_refusals import Note, Refusals, of_error, of_variants

log = logging.getLogger("tallyd.rewrite")

PASSES_VERSION = 6  # raise it with every change of what the passes write
CACHE_FILES_MAX = 4096
SCRATCH_SECONDS_MAX = 3600.0  # a file without its final name is older only if its writer was killed


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


class InterruptedRewritingError(BaseException):
    """The executor ends, and does not wait for rewriting that may take long."""


class RewriteCache:
    """Rewritten modules by content, under a folder that outlives the process (None: nowhere)."""

    def __init__(self, folder: Path | None):
        self.refusals = Refusals()
        self._folder = folder
        self._told = False
        self._lock = threading.Lock()
        self._threads: set[int] = set()  # that rewrite
        self._ending = False
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._remove_scratch(folder)
            except OSError as error:
                self._tell(error)

    @staticmethod
    def _remove_scratch(folder: Path) -> None:
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                age_s = time.time() - path.stat().st_mtime
                if path.suffix != ".ptx" and age_s > SCRATCH_SECONDS_MAX:
                    path.unlink()

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("rewritten modules are not kept: %s: %s", self._folder, error.strerror)

    def interrupt(self) -> None:
        """Nothing is rewritten any more, also what is being rewritten now."""
        with self._lock:
            self._ending = True
            for thread in self._threads:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread), ctypes.py_object(InterruptedRewritingError)
                )

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        thread = threading.get_ident()
        with self._lock:
            if self._ending:
                raise InterruptedRewritingError
            self._threads.add(thread)
        try:
            yield
        finally:
            with self._lock:
                self._threads.discard(thread)

    def rewrite(self, image: bytes) -> bytes | None:
        """PTX with all forms (of these alone, if `beside` says so), or None where the module can
        only run as it is. Raises InterruptedRewritingError.
        """
        digest = hashlib.sha256(image, usedforsecurity=False).hexdigest()
        path = self._folder / f"{digest}-{PASSES_VERSION}.ptx" if self._folder else None
        if path is not None:
            with contextlib.suppress(OSError, ValueError, TypeError):
                if (kept := unseal(path.read_bytes())) is not None:
                    text, notes = split_notes(kept)
                    self.refusals.add(digest, notes)
                    return text
        try:
            with self._interruptible():
                source = extract(image)
                made = variants.run(source, alone=None)
        except (ImageError, RewriteError) as error:
            log.debug("module %s runs whole: %s", digest[:12], error)
            self.refusals.add(digest, of_error(error))
            return None
        except Exception:  # a defect of the passes must not cost the program its module
            log.exception("module %s cannot be rewritten, and runs whole", digest[:12])
            self.refusals.add(digest, [Note("", "whole", "a defect of Tally: see tallyd's log")])
            return None
        for name, reason in made.refused.items():
            log.debug("module %s: %s has no sub-grid form: %s", digest[:12], name, reason)
        text = made.text.encode("utf-8", "surrogateescape")
        notes = of_variants(made)
        self.refusals.add(digest, notes)
        if path is not None:
            self._keep(path, annotate(text, notes))
        return text

    def _keep(self, path: Path, text: bytes) -> None:
        try:
            descriptor, name = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(seal(text))
                os.replace(name, path)
            except OSError:
                os.unlink(name)
                raise
            kept = sorted(path.parent.glob("*.ptx"), key=lambda p: p.stat().st_mtime)
            for old in kept[:-CACHE_FILES_MAX]:
                old.unlink()
        except OSError as error:
            self._tell(error)


_cache = RewriteCache(None)


def install(folder: Path | None) -> tuple[Any, Any]:
    """The native functions for the engine's configuration."""
    global _cache
    _cache = RewriteCache(folder)
    return lib.tally_rewrite, lib.tally_rewrite_beside


def interrupt() -> None:
    """Ahead of the engine's end, which waits for what is being rewritten."""
    _cache.interrupt()


def refusals() -> dict[str, Any]:
    """What the passes could not rewrite so far."""
    return _cache.refusals.report()


@ffi.def_extern(name="tally_rewrite", error=ffi.NULL)  # type: ignore[untyped-decorator]
def _tally_rewrite(image: Any, size: int, text_bytes: Any) -> Any:
    try:
        text = _cache.rewrite(bytes(ffi.buffer(image, size)))
    except InterruptedRewritingError:
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


def beside(image: bytes | memoryview) -> tuple[bool, str | None]:
    """Whether the module's forms may be in a module of their own, made in the background; and the
    PTX that they will come from, if the image has other code as well.
    """
    try:
        text = extract(image)
        return variables.reachable(text) is not None, text if is_mixed(image) else None
    except ImageError:
        return True, None  # nothing to rewrite: the background is where that is found and noted


@ffi.def_extern(name="tally_rewrite_beside", error=0)  # type: ignore[untyped-decorator]
def _tally_rewrite_beside(image: Any, size: int, text: Any) -> int:
    answer, ptx = beside(memoryview(ffi.buffer(image, size)))
    if answer and ptx is not None:
        text[0] = ffi.cast("char *", _buffer(ptx.encode("utf-8", "surrogateescape")))
    return int(answer)
