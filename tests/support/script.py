"""A driver that plays what a test tells it (driver_script.c): slow, blocking, failing calls.

An executor is started over it in one of MODES: `events`, softgpu whose ends are learnt from events;
`cuda`, softgpu taken for a GPU, with all that the engine does on one: one context for all, flags
written through a stream.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import soft_driver
from .client import wait_until
from .executor import ExecutorProcess

SOURCE = Path(__file__).parent / "driver_script.c"
MODES = ("events", "cuda")


class Script:
    """What the driver's functions do, as long as a test says so."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        self.mode = mode

    def fail(self, function: str, result: int) -> None:
        """Every call returns the CUresult, and does nothing."""
        self._write(function, f"fail {result}")

    def slow(self, function: str, microseconds: int) -> None:
        """Every call takes so much longer."""
        self._write(function, f"slow {microseconds}")

    def lose(self, result: int) -> None:
        """The context is lost: every call of the driver returns that from now on."""
        self._write("lost", str(result))

    @contextmanager
    def blocked(self, function: str) -> Iterator[None]:
        """No call returns before the end of the block."""
        reached = self.folder / f"{function}.reached"
        reached.unlink(missing_ok=True)
        self._write(function, "block")
        try:
            yield
        finally:
            self.clear(function)

    def wait_reached(self, function: str) -> None:
        """Until a call that is blocked has been made."""
        wait_until((self.folder / f"{function}.reached").exists, f"a call of {function}")

    def clear(self, function: str) -> None:
        (self.folder / function).unlink(missing_ok=True)

    def locked(self) -> set[str]:
        """Functions that were called with a lock of the engine's held, so far."""
        path = self.folder / "locked"
        lines = path.read_text().splitlines() if path.exists() else []
        return {line.split()[0] for line in lines}

    def _write(self, name: str, text: str) -> None:
        new = self.folder / f"{name}.new"
        new.write_text(text)
        new.rename(self.folder / name)  # whole, or not at all


def scripted_library() -> Path:
    """The driver that reads a Script. CompileError."""
    return soft_driver.build(SOURCE, "-Wl,--no-as-needed")


def preloading(library: Path) -> dict[str, str]:
    """The environment in which the library's lock functions are used.

    Behind what is preloaded already: a sanitizer's library has to come first."""
    return {"LD_PRELOAD": " ".join(filter(None, (os.environ.get("LD_PRELOAD"), str(library))))}


@contextmanager
def executor(folder: Path, mode: str) -> Iterator[tuple[ExecutorProcess, Script]]:
    """An executor of the mode, and what its driver does. CompileError."""
    library = scripted_library()
    script = Script(folder / "script", mode)
    script.folder.mkdir()
    environment = {"TALLY_DRIVER_SCRIPT": str(script.folder)} | preloading(library)
    options = ["--event-timing", f"--driver={library}"]
    if mode == "cuda":
        site = Path(__file__).parent / "compiler_site"
        environment |= {"COMPILER_DRIVER": str(library), "PYTHONPATH": str(site)}
        options = ["--turnaround-us-max=5000", f"--driver={library}"]
    device = "cuda" if mode == "cuda" else "soft"
    with ExecutorProcess(*options, device=device, env=environment) as process:
        process.wait_event("ready")
        yield process, script
