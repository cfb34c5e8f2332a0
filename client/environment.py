"""The environment in which a program finds the shim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tally.errors import TallyError

from . import paths

# What `tally run` sets or extends, and tallyd takes out again for its own children. TALLY_LIBZMQ
# is not among them: executors load the same library.
JOB_AS = "TALLY_JOB_AS"  # what the job is, for a tallyd that has been started since
SET_VARIABLES = ("TALLY_JOB", JOB_AS, "TALLY_RUNTIME_DIR", "TRITON_LIBCUDA_PATH")
EXTENDED_VARIABLES = ("LD_PRELOAD", "LD_LIBRARY_PATH")


class JobDescription(NamedTuple):
    """A job as `tally run` was asked for it."""

    job_class: str
    priority: int
    weight: int
    memory_max: int
    name: str

    def text(self) -> str:
        """For TALLY_JOB_AS."""
        return ":".join(map(str, self))

    @classmethod
    def read(cls, text: str) -> JobDescription | None:
        """The description that text() gave, or None."""
        try:
            job_class, priority, weight, memory_max, name = text.split(":", 4)
            found = cls(job_class, int(priority), int(weight), int(memory_max), name)
        except ValueError:
            return None
        sound = job_class in ("high", "best-effort") and found.weight >= 1 and found.memory_max >= 0
        return found if sound and name else None


def _prepended(value: str, old: str | None) -> str:
    """value before old. Nothing is added twice, so that `tally run` may start `tally run`."""
    if not old:
        return value
    return old if old.split(":")[0] == value else f"{value}:{old}"


def _preloaded(shim: str, old: str | None) -> str:
    """The shim behind what is preloaded already: hooks of `cu` functions that the program is to
    meet first find the driver's own with RTLD_NEXT, as they do natively.
    """
    others = [path for path in (old or "").replace(" ", ":").split(":") if path and path != shim]
    return ":".join([*others, shim])


def run_environment(
    environ: Mapping[str, str], job: str, runtime_dir: Path, libzmq: Path | None = None
) -> dict[str, str]:
    """environ, extended so that libcudart, cuda-python, torch and Triton find the shim.

    Needs pyzmq to be imported unless libzmq is given. TallyError if a file is missing.
    """
    shim = paths.shim()
    if shim is None:
        raise TallyError(
            "the shim lib/libcuda.so.1 is missing from the package; reinstall tally-gpu"
        )
    libzmq = libzmq or paths.libzmq(environ)
    if libzmq is None:
        raise TallyError(
            "pyzmq has no shared libzmq; set TALLY_LIBZMQ to the path of a libzmq.so.5"
        )
    result = dict(environ)
    # Preloading is what dlopen("libcuda.so.1") meets first; the search path serves programs that
    # link the driver; Triton looks for a libcuda.so in a folder.
    result["LD_PRELOAD"] = _preloaded(str(shim), environ.get("LD_PRELOAD"))
    result["LD_LIBRARY_PATH"] = _prepended(str(shim.parent), environ.get("LD_LIBRARY_PATH"))
    result["TRITON_LIBCUDA_PATH"] = str(shim.parent)
    result.setdefault("TALLY_LIBZMQ", str(libzmq))
    result["TALLY_JOB"] = job
    result["TALLY_RUNTIME_DIR"] = str(runtime_dir)
    return result


def container_environment(
    environ: Mapping[str, str], runtime_dir: Path, preload: bool
) -> dict[str, str]:
    """What a program needs that starts with another environment, as in a container; no job.

    Without preload nothing is loaded into programs that do not ask for CUDA's driver.
    """
    whole = run_environment(
        {key: environ[key] for key in ("TALLY_LIBZMQ",) if key in environ}, "", runtime_dir
    )
    left_out = {"TALLY_JOB"} if preload else {"TALLY_JOB", "LD_PRELOAD"}
    return {key: text for key, text in whole.items() if key not in left_out}


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """environ without what run_environment adds: for an executor, which needs the real driver."""
    result = {key: value for key, value in environ.items() if key not in SET_VARIABLES}
    shim = paths.shim()
    ours = {str(shim), str(shim.parent)} if shim else set()
    for key in EXTENDED_VARIABLES:
        if key in result:
            kept = [p for p in result[key].replace(" ", ":").split(":") if p and p not in ours]
            result[key] = ":".join(kept)
            if not kept:
                del result[key]
    return result
