"""Building the benchmark's small C programs with the machine's compiler, on first use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tally.errors import TallyError

SOURCES = Path(__file__).parent


def compile_c(name: str, folder: Path) -> Path:
    """Build NAME.c into `folder`. TallyError if there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise TallyError("the benchmark needs a C compiler (on Debian: apt-get install gcc)")
    target = folder / name
    command = [compiler, "-O2", str(SOURCES / f"{name}.c"), "-o", str(target), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TallyError(f"{name}.c does not compile:\n{done.stderr}")
    return target
