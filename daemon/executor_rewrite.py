"""What the engine calls to get rewritten kernels: the passes of tally.scheduler.ptx, cached on
disk.

The cache is keyed by the image's content and the version of the passes; a file is written under
another name and renamed, so a reader sees a whole one. Any failure means that the kernels run
whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from tally._native import ffi, lib
from tally.scheduler.ptx import variants
from tally.scheduler.ptx.image import ImageError, extract
from tally.scheduler.ptx.module import RewriteError

log = logging.getLogger("tallyd.rewrite")

PASSES_VERSION = 2  # raise it with every change of what the passes write
CACHE_FILES_MAX = 4096


class RewriteCache:
    """Rewritten modules by content, under a folder that outlives the process (None: nowhere)."""

    def __init__(self, folder: Path | None):
        self._folder = folder
        if folder is not None:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)

    def rewrite(self, image: bytes) -> bytes | None:
        """PTX with all forms, or None where the module can only run as it is."""
        digest = hashlib.sha256(image, usedforsecurity=False).hexdigest()
        path = self._folder / f"{digest}-{PASSES_VERSION}.ptx" if self._folder else None
        if path is not None:
            with contextlib.suppress(OSError):
                return path.read_bytes() or None
        try:
            made = variants.run(extract(image))
        except (ImageError, RewriteError) as error:
            log.debug("module %s runs whole: %s", digest[:12], error)
            return None
        for name, reason in made.refused.items():
            log.debug("module %s: %s has no sub-grid form: %s", digest[:12], name, reason)
        text = made.text.encode("utf-8", "surrogateescape")
        if path is not None:
            self._keep(path, text)
        return text

    def _keep(self, path: Path, text: bytes) -> None:
        # A full disk only costs the work of rewriting again.
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(text)
                os.replace(name, path)
            except OSError:
                os.unlink(name)
                raise
            kept = sorted(path.parent.glob("*.ptx"), key=lambda p: p.stat().st_mtime)
            for old in kept[:-CACHE_FILES_MAX]:
                old.unlink()


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
