"""Object files on disk: $TALLY_CACHE_DIR/softgpu, else ~/.cache/tally/softgpu.

Whatever is wrong with the folder or a file is a miss, never an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

BYTES_MAX = 512 << 20


def default_folder() -> Path:
    """Where compiled code is kept."""
    configured = os.environ.get("TALLY_CACHE_DIR")
    base = Path(configured) if configured else Path.home() / ".cache" / "tally"
    return base / "softgpu"


class ObjectCache:
    """Files named by key; each starts with the digest of what follows."""

    def __init__(self, folder: Path | None = None, bytes_max: int = BYTES_MAX) -> None:
        self.folder = folder or default_folder()
        self.bytes_max = bytes_max
        self.written = 0

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.o"

    def get(self, key: str) -> bytes | None:
        """The object file, or None."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        digest, image = data[:32], data[32:]
        if hashlib.sha256(image).digest() != digest:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the oldest are dropped first
        return image

    def put(self, key: str, image: bytes) -> None:
        """Keep it, if that works."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(image).digest() + image)
                os.replace(name, self._path(key))
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
        except OSError:
            return
        self.written += len(image)
        if self.written > self.bytes_max // 16:
            self.written = 0
            self._shrink()

    def _shrink(self) -> None:
        """Drop the files that were used longest ago until three quarters of the limit are left."""
        entries = []
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                with contextlib.suppress(OSError):
                    status = path.stat()
                    entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        if total <= self.bytes_max:
            return
        for _, size, path in sorted(entries):
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
            if total <= self.bytes_max * 3 // 4:
                return
