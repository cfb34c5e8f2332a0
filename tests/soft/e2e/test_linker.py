"""The driver's linker (cuLink*): several inputs become one module when their link is loaded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.toolchain import PTX_ONLY, Builder, compiler_environment, nvcc

pytestmark = pytest.mark.beside

CLASSES = pytest.mark.parametrize("job_class", ["high", "best-effort"])
PTX, FATBINARY, OBJECT, LIBRARY = 1, 2, 3, 4  # CUjitInputType

KERNEL = """
extern "C" __device__ unsigned triple(unsigned);
extern "C" __global__ void kernel(unsigned *data) { data[threadIdx.x] = triple(data[threadIdx.x]); }
"""
TRIPLE = 'extern "C" __device__ unsigned triple(unsigned in) { return 3 * in; }\n'


@CLASSES
def test_two_texts(daemon: Daemon, builder: Builder, job_class: str) -> None:
    assert daemon.ok(builder.get("ptxjit"), "good", job_class=job_class) == "ok\n"


@CLASSES
@pytest.mark.parametrize("texts", ["missing", "alone"])
def test_a_symbol_that_nobody_defines(
    daemon: Daemon, builder: Builder, texts: str, job_class: str
) -> None:
    done = daemon.run(builder.get("ptxjit"), texts, job_class=job_class)
    assert done.stdout.startswith("load CUDA_ERROR_INVALID_PTX: ")
    assert "unresolved external 'triple'" in done.stdout


@CLASSES
def test_a_symbol_that_two_define(daemon: Daemon, builder: Builder, job_class: str) -> None:
    done = daemon.run(builder.get("ptxjit"), "twice", job_class=job_class)
    assert done.stdout.startswith("load CUDA_ERROR_INVALID_PTX: ")
    assert "triple is defined in two modules" in done.stdout


def compiled(folder: Path, text: str, kind: str) -> Path:
    """The source compiled to `kind`: ptx, fatbin or o; device code that is to be linked."""
    source = folder / "source.cu"
    source.write_text(text)
    output = folder / f"{len(list(folder.iterdir()))}.{kind}"
    flag = {"o": "-c"}.get(kind, f"-{kind}")
    command = [nvcc(), "-rdc=true", flag, *PTX_ONLY, "-o", str(output), str(source)]
    subprocess.run(command, env=compiler_environment(), check=True, capture_output=True)
    return output


def test_files(daemon: Daemon, builder: Builder, tmp_path: Path) -> None:
    """PTX, a fatbin, object files and an archive of them, all by name."""
    program = builder.get("ptxjit")
    kernel, triple = (compiled(tmp_path, text, "o") for text in (KERNEL, TRIPLE))
    archive = tmp_path / "library.a"
    subprocess.run(["ar", "rc", str(archive), str(triple)], check=True)
    assert daemon.ok(program, "files", OBJECT, kernel, OBJECT, triple) == "ok\n"
    text, fatbin = compiled(tmp_path, KERNEL, "ptx"), compiled(tmp_path, KERNEL, "fatbin")
    assert daemon.ok(program, "files", PTX, text, LIBRARY, archive) == "ok\n"
    assert daemon.ok(program, "files", FATBINARY, fatbin, LIBRARY, archive) == "ok\n"
