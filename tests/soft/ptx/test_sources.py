"""The reader and the passes on what five compilers emit: nvcc, NVRTC, tinygrad, Triton, and CUB.

Whatever they emit, reading and writing is the identity; and what the passes make of it ptxas takes,
for every architecture that Tally serves and that the module is for.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from support import toolchain
from support.restless import restless

from tally.scheduler.ptx import guard, subgrid, variables, variants
from tally.scheduler.ptx.image import extract
from tally.scheduler.ptx.module import Module, RewriteError
from tally.scheduler.ptx.reader import read, write

pytestmark = [pytest.mark.beside, pytest.mark.timeout(300)]

PROGRAMS = Path(__file__).parents[1] / "programs"
ARCHITECTURES = (80, 90, 100, 120)
NVCC_FLAGS = [
    ("-O3",),
    ("-G",),
    ("-lineinfo", "-O1"),
    ("-rdc=true", "--maxrregcount=40"),
    ("-arch=compute_90",),
    ("-arch=compute_100", "-use_fast_math"),
    ("-arch=compute_120",),
]
PLAIN = ("faults", "print", "numerics")
NVRTC_FLAGS = [
    ("--gpu-architecture=compute_80",),
    ("--gpu-architecture=compute_80", "-G"),
    ("--gpu-architecture=compute_90", "-lineinfo", "--use_fast_math"),
    ("--gpu-architecture=compute_100", "--relocatable-device-code=true"),
]


def nvcc() -> list[str]:
    def build(flags: tuple[str, ...]) -> str:
        path = toolchain.compile_ptx(PROGRAMS / "toolkit_kernels.cu", ("-std=c++17", *flags))
        return path.read_text()

    with ThreadPoolExecutor(2) as pool:
        texts = [*pool.map(build, NVCC_FLAGS)]
    # Variables that forms reach through a table: assert's and printf's text, tables of sinf().
    return texts + [toolchain.compile_ptx(PROGRAMS / f"{name}.cu").read_text() for name in PLAIN]


def nvrtc() -> list[str]:
    from cuda.bindings import nvrtc as api

    kit = toolchain.toolkit()
    assert kit is not None
    include = f"-I{kit.cuda13 / 'include'}", f"-I{kit.cuda13 / 'include' / 'cccl'}"

    def check(result: tuple[object, ...]) -> object:
        assert int(result[0]) == 0, log  # type: ignore[call-overload]
        return result[1] if len(result) > 1 else None

    texts = []
    source = (PROGRAMS / "toolkit_kernels.cu").read_bytes()
    source = source.replace(b"<cassert>", b"<cuda/std/cassert>")
    for flags in NVRTC_FLAGS:
        log = b""
        program = check(api.nvrtcCreateProgram(source, b"toolkit_kernels.cu", 0, [], []))
        options = [flag.encode() for flag in (*flags, *include, "-std=c++17", "-default-device")]
        result = api.nvrtcCompileProgram(program, len(options), options)
        log = b" " * api.nvrtcGetProgramLogSize(program)[1]
        api.nvrtcGetProgramLog(program, log)
        check(result)
        text = b" " * check(api.nvrtcGetPTXSize(program))  # type: ignore[operator]
        check(api.nvrtcGetPTX(program, text))
        texts.append(text.rstrip(b" \0").decode())
    return texts


def tinygrad() -> list[str]:
    """What a training step and the demo's model bring to the driver, by both of its renderers."""
    texts: list[str] = []
    with restless(0, _as_it_is, "--soft-dry") as device:  # nothing has to be computed
        for renderer, model in (("CUDA", "mlp"), ("CUDA:PTX", "conv")):
            device.daemon.ok(
                sys.executable, "-m", "tally.workloads.train_digits", "--steps", 2,
                "--model", model, "--batch", 8, "--device", renderer,
                job_class="high", timeout=250, env={"PYTHONPATH": ""},
            )  # fmt: skip
        texts += device.texts
    return texts


def _as_it_is(text: str) -> str:
    raise RewriteError("only looked at")


def triton() -> list[str]:
    kernels = pytest.importorskip(
        "support.triton_kernels", reason="no Triton: pip install tally-gpu[test]"
    )
    return [
        kernels.compiled(name, capability).asm["ptx"]
        for name in kernels.NAMES
        for capability in ARCHITECTURES
    ]


def cub() -> list[str]:
    fatbin = toolchain.compile_fatbin(PROGRAMS / "cub_device.cu")
    return [extract(fatbin.read_bytes())]


SOURCES: dict[str, Callable[[], list[str]]] = {
    f.__name__: f for f in (nvcc, nvrtc, tinygrad, triton, cub)
}
LEAST = {"nvcc": 10, "nvrtc": 4, "tinygrad": 60, "triton": 28, "cub": 1}


@cache
def modules(source: str) -> list[str]:
    """The source's PTX, each text once."""
    if toolchain.toolkit() is None:
        pytest.skip("no nvcc: pip install tally-gpu[test]")
    texts = list(dict.fromkeys(SOURCES[source]()))
    assert len(texts) >= LEAST[source]
    return texts


@pytest.mark.parametrize("source", SOURCES)
def test_reading_and_writing_is_the_identity(source: str) -> None:
    for text in modules(source):
        assert write(read(text)) == text
        assert Module.parse(text).entries


def targets(text: str) -> list[str]:
    """Those of our architectures that the module is for. sm_90a and the like are for one only."""
    match = re.search(r"^\.target\s+(sm_(\d+)([af]?))", text, re.M)
    assert match
    if match.group(3):
        return [match.group(1)]
    return [f"sm_{number}" for number in ARCHITECTURES if number >= int(match.group(2))]


def rewritten(text: str) -> Iterator[str]:
    """The module as best-effort programs get it, and with both passes on every kernel."""
    with contextlib.suppress(RewriteError):  # no kernel of it may be stopped or sliced
        yield variants.run(text).text
        if variables.reachable(text) is not None:
            yield variants.run(text, alone=True).text
    yield subgrid.run(guard.run(Module.parse(text)).module).module.text()


def merged(texts: list[str]) -> list[str]:
    """tinygrad's modules of one kernel each as one, by version: ptxas takes as long to start."""
    bodies: dict[str, list[str]] = {}
    for number, text in enumerate(texts):
        head, address_size, body = text.partition(".address_size 64")
        assert address_size and not re.search(r"^\.(?:visible )?\.(?:global|const)\b", body, re.M)
        for name in re.findall(r"^(?:\.visible )?\.entry (\w+)", body, re.M):
            body = re.sub(rf"\b{name}\b", f"{name}_{number}", body)
        bodies.setdefault(head.strip() + "\n.address_size 64\n", []).append(body)
    return [head + "\n".join(bodies[head]) for head in bodies]


@pytest.mark.parametrize("source", SOURCES)
def test_ptxas_takes_what_the_passes_write(source: str) -> None:
    texts = modules(source) if source != "tinygrad" else merged(modules(source))
    pairs = [(made, text) for text in texts for made in rewritten(text)]
    jobs = [(made, target) for made, text in pairs for target in targets(text)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: toolchain.assemble(*job), jobs))
    assert {f"sm_{number}" for number in ARCHITECTURES} <= {job[1].rstrip("a") for job in jobs}
