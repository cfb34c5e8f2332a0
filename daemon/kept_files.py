"""Files that are kept so as not to be made again, within a limit of bytes.

Whatever is wrong with the folder or a file is a miss, never an error; the owner may be told.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

SCRATCH_SECONDS_MAX = 3600.0  # a file without its final name is older only if its writer was killed
LOOKS = 16  # the folder is measured when 1/16 of the limit has been written


def _ignore(_folder: Path, _error: OSError) -> None:
    return


class KeptFiles:
    """Files by name, with one suffix, in one folder that others may write to as well."""

    def __init__(
        self,
        folder: Path,
        suffix: str,
        bytes_max: int,
        tell: Callable[[Path, OSError], None] = _ignore,
    ):
        self.folder = folder
        self.bytes_max = bytes_max
        self._suffix = suffix
        self._tell = tell
        self._lock = threading.Lock()
        self._written = bytes_max  # measure it at the first occasion
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._remove_scratch()
        except OSError as error:
            tell(folder, error)

    def path(self, name: str) -> Path:
        """Where that file is, or would be."""
        return self.folder / f"{name}{self._suffix}"

    def get(self, name: str) -> bytes | None:
        """The content, which may be damaged; None if there is none. It counts as used now."""
        path = self.path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return content

    def put(self, name: str, content: bytes) -> None:
        """Keep it, if that works: written under another name and renamed."""
        if len(content) > self.bytes_max:
            return
        try:
            descriptor, scratch = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                os.replace(scratch, self.path(name))
            except OSError:
                os.unlink(scratch)
                raise
        except OSError as error:
            self._tell(self.folder, error)
            self._shrink(self.bytes_max // 2)  # the disk may be full
            return
        with self._lock:
            self._written += len(content)
            due = self._written > self.bytes_max // LOOKS
            if due:
                self._written = 0
        if due:
            self._shrink(self.bytes_max)

    def remove(self, name: str) -> None:
        """Drop a file that turned out to be damaged."""
        with contextlib.suppress(OSError):
            self.path(name).unlink()

    def _shrink(self, bytes_max: int) -> None:
        """Drop what was used longest ago, if there is too much, until three quarters are left."""
        entries = []
        with contextlib.suppress(OSError):
            for path in self.folder.glob(f"*{self._suffix}"):
                with contextlib.suppress(OSError):
                    status = path.stat()
                    entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        if total <= bytes_max:
            return
        for _, size, path in sorted(entries):
            if total <= bytes_max * 3 // 4:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size

    def _remove_scratch(self) -> None:
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):
                age_s = time.time() - path.stat().st_mtime
                if path.suffix != self._suffix and age_s > SCRATCH_SECONDS_MAX:
                    path.unlink()
