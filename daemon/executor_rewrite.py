"""What the engine calls to get rewritten kernels: the passes of tally.scheduler.ptx, cached on
disk.

The cache is keyed by the image's content and the version of the passes. A file is written under
another name and renamed, and begins with a hash of the rest: after a crash of the machine its bytes
may be missing though its name is there. Any failure means that the kernels run whole; a disk that
is full or broken costs the work of rewriting again, and one warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from tally._native import ffi, lib
from tally.scheduler.ptx import variants
from tally.scheduler.ptx.image import ImageError, extract
from tally.scheduler.ptx.module import RewriteError

log = logging.getLogger("tallyd.rewrite")

PASSES_VERSION = 2  # raise it with every change of what the passes write
CACHE_FILES_MAX = 4096
SCRATCH_SECONDS_MAX = 3600.0  # a file without its final name is older only if its writer was killed


def seal(text: bytes) -> bytes:
    """The content of a cache file."""
    return f"// {hashlib.sha256(text, usedforsecurity=False).hexdigest()}\n".encode() + text


def unseal(content: bytes) -> bytes | None:
    """The text in a cache file's content; None if it is not what was written."""
    _, _, text = content.partition(b"\n")
    return text if seal(text) == content else None


class RewriteCache:
    """Rewritten modules by content, under a folder that outlives the process (None: nowhere)."""

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._told = False
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

    def rewrite(self, image: bytes) -> bytes | None:
        """PTX with all forms, or None where the module can only run as it is."""
        digest = hashlib.sha256(image, usedforsecurity=False).hexdigest()
        path = self._folder / f"{digest}-{PASSES_VERSION}.ptx" if self._folder else None
        if path is not None:
            with contextlib.suppress(OSError):
                if (kept := unseal(path.read_bytes())) is not None:
                    return kept
        try:
            made = variants.run(extract(image))
        except (ImageError, RewriteError) as error:
            log.debug("module %s runs whole: %s", digest[:12], error)
            return None
        except Exception:  # a defect of the passes must not cost the program its module
            log.exception("module %s cannot be rewritten, and runs whole", digest[:12])
            return None
        for name, reason in made.refused.items():
            log.debug("module %s: %s has no sub-grid form: %s", digest[:12], name, reason)
        text = made.text.encode("utf-8", "surrogateescape")
        if path is not None:
            self._keep(path, text)
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


def install(folder: Path | None) -> Any:
    """The native function for the engine's configuration."""
    global _cache
    _cache = RewriteCache(folder)
    return lib.tally_rewrite


@ffi.def_extern(name="tally_rewrite", error=ffi.NULL)  # type: ignore[untyped-decorator]
def _tally_rewrite(image: Any, size: int, text_bytes: Any) -> Any:
    text = _cache.rewrite(bytes(ffi.buffer(image, size)))
    if text is None:
        return ffi.NULL
    buffer = lib.tally_engine_buffer(len(text) + 1)
    if buffer:
        ffi.memmove(buffer, text, len(text))
        text_bytes[0] = len(text)
    return buffer
