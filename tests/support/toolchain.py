"""Compiling the test programs: nvcc and the 13.0 and 12.9 runtimes from PyPI, no GPU needed.

Programs land in a folder that outlives the test run, named by a hash of everything that went into
them, so that a second run compiles nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest

# PTX alone: what softgpu compiles, and what a real driver of any later GPU takes as well.
PTX_ONLY = ("-gencode", "arch=compute_80,code=compute_80")

Runtime = Literal["static", "shared", "12", "12-static"]


@dataclass(frozen=True)
class Toolkit:
    """Folders of the toolkit's wheels."""

    cuda13: Path  # bin/nvcc, include, lib
    cuda12: Path | None  # include and lib of the 12.x runtime

    @property
    def nvcc(self) -> Path:
        return self.cuda13 / "bin" / "nvcc"


@cache
def toolkit() -> Toolkit | None:
    """The toolkit in this Python's site-packages; None if nvcc is missing."""
    spec = find_spec("nvidia")
    if spec is None:
        return None
    roots = [Path(root) for root in spec.submodule_search_locations or []]
    new = next((r / "cu13" for r in roots if (r / "cu13" / "bin" / "nvcc").is_file()), None)
    old = next((r / "cuda_runtime" for r in roots if (r / "cuda_runtime" / "lib").is_dir()), None)
    return Toolkit(new, old) if new else None


def nvcc() -> str:
    """The compiler. It runs the machine's C++ compiler for any input: a test skips without one."""
    kit = toolkit()
    assert kit is not None
    if shutil.which("g++") is None:
        pytest.skip(
            "compiles CUDA C++, which takes a C++ compiler (on Debian: apt-get install g++)"
        )
    return str(kit.nvcc)


def cache_folder() -> Path:
    """Where built programs are kept: private to the user, shared by test runs."""
    folder = Path(tempfile.gettempdir()) / f"tally-programs-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


class CompileError(Exception):
    """A test program does not compile: the command and the compiler's words."""


def compiler_environment() -> dict[str, str]:
    """Ours without what tests/sanitize.sh preloads: nvcc does not survive that."""
    return {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}


def _build(command: list[str], inputs: list[Path], name: str, output_flag: str = "-o") -> Path:
    digest = hashlib.sha256("\0".join(command).encode())
    for path in inputs:
        digest.update(path.read_bytes())
    target = cache_folder() / f"{name}-{digest.hexdigest()[:16]}"
    if target.exists():
        return target
    # Built beside and renamed, so that parallel test runs never see half a file.
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        built = Path(scratch) / name
        done = subprocess.run(
            [*command, output_flag, str(built)],
            env=compiler_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CompileError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        built.rename(target)
    return target


def _link(library: Path, name: str) -> Path:
    """A folder in which the linker finds `library` (a versioned file) under its plain name."""
    folder = cache_folder() / f"link-{hashlib.sha256(str(library).encode()).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    link = folder / name
    if not link.is_symlink():
        scratch = folder / f"{name}.{os.getpid()}"
        scratch.symlink_to(library)
        scratch.rename(link)
    return folder


def _runtime(kit: Toolkit, runtime: Runtime) -> tuple[list[str], Path]:
    """nvcc's flags for a runtime, and the library that they name."""
    if runtime == "static":
        folder = kit.cuda13 / "lib"
        return ["-cudart", "static", f"-L{folder}"], folder / "libcudart_static.a"
    if runtime == "shared":
        library = kit.cuda13 / "lib" / "libcudart.so.13"
        flags = ["-cudart", "shared", f"-L{kit.cuda13 / 'lib'}"]
        return [*flags, *_shared(library)], library
    # The host code that nvcc 13 makes calls the same registration functions that the 12.x runtime
    # has; with that runtime's headers and library it is a 12.x program.
    assert kit.cuda12 is not None
    flags = ["-cudart", "none", f"-I{kit.cuda12 / 'include'}"]
    if runtime == "12":
        library = kit.cuda12 / "lib" / "libcudart.so.12"
        return [*flags, "-lcudart", *_shared(library)], library
    # Of all 12.x wheels those of 12.9 alone have the static library.
    library = kit.cuda12 / "lib" / "libcudart_static.a"
    if not library.exists():
        raise CompileError(f"no {library}: pip install 'nvidia-cuda-runtime-cu12==12.9.*'")
    return [*flags, str(library), "-ldl", "-lrt", "-lpthread"], library


def _shared(library: Path) -> list[str]:
    return [f"-L{_link(library, 'libcudart.so')}", "-Xlinker", f"-rpath,{library.parent}"]


def compile_cuda(source: Path, runtime: Runtime = "static", flags: tuple[str, ...] = ()) -> Path:
    """Build a runtime-API program that embeds PTX for compute capability 8.0. CompileError."""
    kit = toolkit()
    assert kit is not None
    headers = sorted(source.parent.glob("*.h"))
    runtime_flags, library = _runtime(kit, runtime)
    command = [nvcc(), "-O2", "-std=c++17", *PTX_ONLY, *flags, str(source), *runtime_flags]
    return _build(command, [source, *headers, library], f"{source.stem}-{runtime}")


def compile_linked(sources: Sequence[Path], flags: tuple[str, ...] = PTX_ONLY) -> Path:
    """Build a program of several .cu files whose device code the driver links. CompileError."""
    kit = toolkit()
    assert kit is not None
    runtime_flags, library = _runtime(kit, "static")
    command = [str(kit.nvcc), "-rdc=true", "-O2", "-std=c++17", *flags]
    # nvcc adds the device runtime's library by itself; the wheels have it beside the other one.
    command += [*map(str, sources), *runtime_flags]
    headers = sorted(sources[0].parent.glob("*.h"))
    return _build(command, [*sources, *headers, library], f"{sources[0].stem}-linked")


def compile_ptx(source: Path, flags: tuple[str, ...] = ()) -> Path:
    """Compile a .cu file to PTX for compute capability 8.0. CompileError."""
    command = [nvcc(), "-ptx", "-arch=compute_80", *flags, str(source)]
    return _build(command, [source, *sorted(source.parent.glob("*.h"))], f"{source.stem}.ptx")


def compile_fatbin(source: Path, flags: tuple[str, ...] = PTX_ONLY) -> Path:
    """Compile a .cu file to a fatbin. CompileError."""
    command = [nvcc(), "-fatbin", *flags, str(source)]
    return _build(command, [source, *sorted(source.parent.glob("*.h"))], f"{source.stem}.fatbin")


def cuda_include() -> Path:
    """The folder of cuda.h."""
    kit = toolkit()
    assert kit is not None
    return kit.cuda13 / "include"


def compile_c(source: Path, flags: tuple[str, ...] = ()) -> Path:
    """Build a driver-API program with the machine's C compiler. CompileError."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        compiler = "cc"
    command = [compiler, "-std=gnu17", "-O2", "-Wall", f"-I{cuda_include()}", str(source)]
    command += ["-ldl", "-lpthread", *flags]
    return _build(command, [source, *sorted(source.parent.glob("*.h"))], source.stem)


class Builder:
    """Builds programs on two threads in the background; `get` waits for one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="compile")
        self._started: dict[tuple[str, Runtime, tuple[str, ...]], Future[Path]] = {}

    def start(self, name: str, runtime: Runtime = "static", flags: tuple[str, ...] = ()) -> None:
        """Begin to build NAME.cu or NAME.c."""
        key = (name, runtime, flags)
        if key in self._started:
            return
        source = self.folder / f"{name}.cu"
        if source.exists():
            self._started[key] = self._pool.submit(compile_cuda, source, runtime, flags)
        else:
            self._started[key] = self._pool.submit(compile_c, self.folder / f"{name}.c", flags)

    def get(self, name: str, runtime: Runtime = "static", flags: tuple[str, ...] = ()) -> Path:
        """The built program. CompileError."""
        self.start(name, runtime, flags)
        return self._started[name, runtime, flags].result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    print(compile_cuda(Path(sys.argv[1])))


def assemble(ptx: str, architecture: str) -> None:
    """Run ptxas on the text; raises AssertionError with what it said unless it takes it."""
    found = toolkit()
    if found is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "m.ptx"
        source.write_text(ptx)
        command = [
            str(found.nvcc.with_name("ptxas")), f"-arch={architecture}", "-O0",
            "-o", str(Path(folder) / "m.cubin"), str(source),
        ]  # fmt: skip
        done = subprocess.run(
            command, env=compiler_environment(), capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
