"""Programs whose device code is linked when it is loaded, and images for other devices."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.toolchain import Builder, compile_fatbin, compile_linked

pytestmark = pytest.mark.beside

FOLDER = Path(__file__).parents[1] / "programs" / "linked"
BOTH = ("-gencode", "arch=compute_80,code=[compute_80,sm_80]")


@pytest.mark.parametrize("job_class", ["high", "best-effort"])
@pytest.mark.parametrize("flags", [(), BOTH], ids=["ptx", "ptx and linked machine code"])
def test_relocatable_device_code(
    daemon: Daemon, builder: Builder, job_class: str, flags: tuple[str, ...]
) -> None:
    del builder  # the toolchain is there
    sources = [FOLDER / "main.cu", FOLDER / "other.cu"]
    program = compile_linked(sources, flags) if flags else compile_linked(sources)
    output = daemon.ok(program, job_class=job_class)
    assert sorted(output.split("\n")) == sorted(["", "ok", *["of main 5", "of other 9"] * 2])


def fatbin(name: str, *architectures: int) -> Path:
    flags = [f"-gencode=arch=compute_{arch},code=compute_{arch}" for arch in architectures]
    return compile_fatbin(FOLDER.parent / f"{name}.cu", tuple(flags))


LOAD = """
import ctypes, sys
cu = ctypes.CDLL('libcuda.so.1'); module = ctypes.c_void_p(); context = ctypes.c_void_p()
assert cu.cuInit(0) == 0 and cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cu.cuCtxSetCurrent(context) == 0
image = open(sys.argv[1], 'rb').read() + bytes(8)
print(cu.cuModuleLoadData(ctypes.byref(module), image))
"""


@pytest.mark.parametrize("job_class", ["high", "best-effort"])
def test_ptx_of_several_architectures(daemon: Daemon, builder: Builder, job_class: str) -> None:
    """The device is a CC 8.0: what is for later ones is not for it."""
    del builder
    run = (sys.executable, "-c", LOAD)
    assert daemon.ok(*run, fatbin("vector_add", 80, 120), job_class=job_class) == "0\n"
    done = daemon.run(*run, fatbin("vector_add", 90, 120), job_class=job_class)
    assert done.stdout == "209\n"
    assert "PTX is for compute capability 9.0 and later, and this device has 8.0" in done.stderr


def test_ptx_text_for_a_later_device(daemon: Daemon, tmp_path: Path) -> None:
    source = tmp_path / "later.ptx"
    source.write_text(".version 8.7\n.target sm_120a\n.address_size 64\n")
    done = daemon.run(sys.executable, "-c", LOAD, source)
    assert done.stdout == "218\n"
    assert "compute capability 12.0 and later" in done.stderr
