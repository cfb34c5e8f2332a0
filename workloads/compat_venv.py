"""The environment of `make compat`: PyTorch's CUDA wheel in a virtual environment of its own.

Kept from run to run. What is in it is asked, not remembered: an installation that was cut short is
gone on with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from pathlib import Path

from tally.errors import TallyError

# What torch and NVIDIA's libraries take, with the archives that pip unpacks: about 6 and 3 GB.
BYTES_NEEDED = 10 << 30
ASK = "import torch; print(torch.__version__, torch.version.cuda or '')"


def _ask(python: Path) -> list[str]:
    """torch's version and its CUDA version; nothing if there is no torch that can be imported."""
    if not python.exists():
        return []
    done = subprocess.run(
        [python, "-c", ASK], env=environment(), capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def environment() -> dict[str, str]:
    """This process's environment without what would put other packages beside torch's."""
    unwanted = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_USER")
    kept = {key: value for key, value in os.environ.items() if key not in unwanted}
    return kept | {"PYTHONNOUSERSITE": "1"}


def _check_space(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < BYTES_NEEDED:
        raise TallyError(
            f"torch needs about {BYTES_NEEDED >> 30} GiB of disk, and {folder} has "
            f"{free / 2**30:.1f} GiB; make room, or name another folder with --venv"
        )


def _install(folder: Path, python: Path, requirement: str) -> None:
    _check_space(folder)
    print(f"compat: installing {requirement} into {folder} (about 6 GB; once)", flush=True)
    if not python.exists():
        venv.create(folder, with_pip=True)
    scratch = folder / "unpacking"  # not in /tmp, which is small on many machines
    scratch.mkdir(exist_ok=True)
    command = [str(python), "-m", "pip", "install", "--no-input", requirement, "numpy"]
    try:
        # pip's own words are the progress: each package with its size, and a bar on a terminal.
        done = subprocess.run(command, env=environment() | {"TMPDIR": str(scratch)}, check=False)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if done.returncode != 0:
        raise TallyError(
            f"pip could not install {requirement}; its reason is above. Without a network, name an "
            "environment that has torch: python -m tally.workloads.compat --venv FOLDER"
        )


def python_with_torch(folder: Path, requirement: str) -> Path:
    """The interpreter of an environment that has torch with CUDA; made on first use. TallyError."""
    folder = folder.absolute()
    python = folder / "bin" / "python"
    found = _ask(python)
    try:
        if not found:
            _install(folder, python, requirement)
            found = _ask(python)
    except OSError as error:
        raise TallyError(f"{folder} cannot be used: {error}") from None
    if not found:
        raise TallyError(f"torch was installed into {folder}, and cannot be imported; remove it")
    if len(found) < 2:
        raise TallyError(
            f"torch {found[0]} in {folder} is built without CUDA; name another one with --torch, "
            "and another folder with --venv"
        )
    return python
