"""A software GPU on which no launch runs in one go, and a tallyd that serves it.

`programs/restless.c` is the driver; this is its other half, which rewrites the modules: so a test
sees all code that a program brings, and can answer with broken forms of it.
"""

from __future__ import annotations

import mmap
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support import soft_driver
from support.daemon import Daemon
from tally.scheduler.ptx import variables, variants
from tally.scheduler.ptx.image import ImageError, extract
from tally.scheduler.ptx.module import RewriteError

_COUNTS = struct.Struct("5Q256s")
_PROGRAMS = Path(__file__).parent.parent / "soft" / "programs"

ALONE = "// alone\n"  # begins an answer that is to be loaded beside the module

Rewrite = Callable[[str], str]


def usual(text: str) -> str:
    """What the executor does with the modules of best-effort programs."""
    alone = variables.reachable(text) is not None
    return (ALONE if alone else "") + variants.run(text, alone=alone).text


@dataclass(frozen=True)
class Counts:
    """What became of launches: whole is what is neither guarded nor sliced."""

    launches: int
    guarded: int
    sliced: int
    starts: int  # parts that guarded and sliced launches took
    twice: int  # guarded launches in which some block ran twice
    running: str  # the kernel that is running

    @property
    def resumes(self) -> int:
        return self.starts - self.guarded - self.sliced


@dataclass
class Restless:
    """The device's tallyd. `texts`: PTX of all modules so far; `refused`: why some stay whole;
    `broken`: what a test's own rewriting raised beside that."""

    daemon: Daemon
    _counts: mmap.mmap
    texts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)

    def counts(self) -> Counts:
        *numbers, running = _COUNTS.unpack_from(self._counts)
        return Counts(*numbers, running.split(b"\0", 1)[0].decode())


@contextmanager
def restless(seed: int, rewrite: Rewrite = usual, *flags: str) -> Iterator[Restless]:
    """A device whose stops are drawn from the seed; `flags` are tallyd's. Modules that cannot be
    rewritten run whole; an error in `rewrite` itself is raised at the end, as every module would
    run whole then, and nothing be tried."""
    driver = soft_driver.build(_PROGRAMS / "restless.c")
    with tempfile.TemporaryDirectory(prefix="restless-") as name:
        folder = Path(name)
        with (folder / "counts").open("wb+") as file:
            file.truncate(_COUNTS.size)
            counts = mmap.mmap(file.fileno(), _COUNTS.size)
        env = {
            **soft_driver.environment(driver),
            "RESTLESS_COUNTS": str(folder / "counts"),
            "RESTLESS_SOCKET": str(folder / "socket"),
            "RESTLESS_SEED": str(seed),
        }
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(env["RESTLESS_SOCKET"])
        listener.listen(16)
        with Daemon(*flags, env=env) as daemon:
            device = Restless(daemon, counts)
            server = threading.Thread(target=_serve, args=(listener, device, rewrite))
            server.start()
            try:
                yield device
            finally:
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
                server.join()
                listener.close()
        counts.close()
    if device.broken:
        raise device.broken[0]


def _serve(listener: socket.socket, device: Restless, rewrite: Rewrite) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rwb") as file:
            (size,) = struct.unpack("Q", file.read(8))
            answer = _answer(file.read(size), device, rewrite)
            file.write(struct.pack("Q", len(answer)) + answer)


def _answer(image: bytes, device: Restless, rewrite: Rewrite) -> bytes:
    try:
        text = extract(image)
        device.texts.append(text)
        return rewrite(text).encode("utf-8", "surrogateescape")
    except (ImageError, RewriteError) as error:
        device.refused.append(str(error))
    except Exception as error:
        device.broken.append(error)
    return b""
