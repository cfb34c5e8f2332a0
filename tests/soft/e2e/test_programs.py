"""Unmodified CUDA programs under `tally run`, on softgpu. Every program checks its own results."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon
from support.toolchain import Builder, Runtime, compile_fatbin

pytestmark = [pytest.mark.beside, pytest.mark.timeout(180)]

# Every program with the static 13.0 runtime; those whose start-up or launches differ, with the
# shared one and with 12.9, shared and static, as well.
STATIC = [
    "api_errors", "copies", "dynamic_shared", "globals", "histogram", "matmul", "numerics",
    "properties", "reduction", "streams", "threads", "vector_add", "warps",
]  # fmt: skip
OTHERS: list[tuple[str, Runtime]] = [
    ("vector_add", "shared"),
    ("streams", "shared"),
    ("globals", "shared"),
    ("vector_add", "12"),
    ("reduction", "12"),
    ("streams", "12"),
    ("globals", "12"),
    ("threads", "12"),
    ("properties", "12"),
    ("vector_add", "12-static"),
    ("streams", "12-static"),
    ("globals", "12-static"),
    ("threads", "12-static"),
    ("properties", "12-static"),
]
PER_THREAD = ("--default-stream", "per-thread")
ZSTD = ("-compress-mode", "size")
FAULTS = ["wild", "far", "host", "null", "trap", "assert", "misaligned"]


@pytest.fixture(scope="module", autouse=True)
def built(builder: Builder) -> None:
    """Start all builds at once, in the background."""
    for name in STATIC:
        builder.start(name)
    for name, runtime in OTHERS:
        builder.start(name, runtime)
    builder.start("threads", "static", PER_THREAD)
    builder.start("vector_add", "static", ZSTD)
    for name in ("print", "faults", "driver_api", "fork_exec", "bad_images"):
        builder.start(name)


@pytest.mark.parametrize("name", STATIC)
def test_static_runtime(daemon: Daemon, builder: Builder, name: str) -> None:
    assert daemon.ok(builder.get(name)).endswith("ok\n")


@pytest.mark.parametrize(("name", "runtime"), OTHERS)
def test_other_runtimes(daemon: Daemon, builder: Builder, name: str, runtime: Runtime) -> None:
    assert daemon.ok(builder.get(name, runtime)).endswith("ok\n")


def test_per_thread_default_stream(daemon: Daemon, builder: Builder) -> None:
    assert daemon.ok(builder.get("threads", "static", PER_THREAD)) == "ok\n"


@pytest.mark.parametrize("job_class", ["high", "best-effort"])
def test_zstd_images_without_libzstd(builder: Builder, no_libzstd: Path, job_class: str) -> None:
    """The executor unpacks by itself; best-effort images it unpacks to rewrite them, too."""
    program = builder.get("vector_add", "static", ZSTD)
    with Daemon(env={"LD_LIBRARY_PATH": str(no_libzstd)}) as daemon:
        assert daemon.ok(program, job_class=job_class).endswith("ok\n"), daemon.log()


def test_device_printf(daemon: Daemon, builder: Builder) -> None:
    lines = daemon.ok(builder.get("print")).splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert sorted(lines[1:-1]) == [
        "block 0 thread 0:  0.00 text z -5000000000 beef%",
        "block 0 thread 1:  1.50 text z -5000000000 beef%",
        "block 1 thread 0:  0.00 text z -5000000000 beef%",
        "block 1 thread 1:  1.50 text z -5000000000 beef%",
        "no arguments",
    ]


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_told_and_stay(daemon: Daemon, builder: Builder, fault: str) -> None:
    done = daemon.run(builder.get("faults"), fault)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    if fault == "assert":
        assert "Assertion" in done.stderr
        assert "value == 42" in done.stderr


def test_faults_harm_nobody_else(daemon: Daemon, builder: Builder) -> None:
    """Programs that compute go on undisturbed beside programs that fault over and over."""
    executors = daemon.executor_pids()
    faults, sound = builder.get("faults"), builder.get("streams")

    def fail(fault: str) -> None:
        assert daemon.run(faults, fault).returncode == 0

    def compute(_: str) -> None:
        daemon.ok(sound)

    with ThreadPoolExecutor(4) as pool:
        work: list[Any] = [pool.submit(fail, fault) for fault in FAULTS]
        work += [pool.submit(compute, "") for _ in range(4)]
        for item in work:
            item.result()
    assert daemon.executor_pids() == executors, "an executor died"


def test_driver_api_by_dlopen(daemon: Daemon, builder: Builder) -> None:
    assert daemon.ok(builder.get("driver_api")) == "ok\n"


@pytest.mark.parametrize("mode", ["exec", "before", "after"])
def test_fork(daemon: Daemon, builder: Builder, mode: str) -> None:
    assert daemon.ok(builder.get("fork_exec"), mode) == "ok\n"


def test_malformed_images(daemon: Daemon, builder: Builder) -> None:
    fatbin = compile_fatbin(builder.folder / "vector_add.cu")
    assert daemon.ok(builder.get("bad_images"), fatbin, 1, 300).endswith("ok\n")
    ptx_fatbin = compile_fatbin(
        builder.folder / "reduction.cu",
        ("-std=c++17", "--no-compress", "-gencode", "arch=compute_80,code=compute_80"),
    )
    assert daemon.ok(builder.get("bad_images"), ptx_fatbin, 2, 300).endswith("ok\n")


@pytest.mark.parametrize("count", [2, 20])
def test_many_at_once(daemon: Daemon, builder: Builder, count: int) -> None:
    programs = [builder.get("reduction"), builder.get("vector_add"), builder.get("globals")]
    running = [daemon.start(programs[i % 3], name=f"crowd-{i}") for i in range(count)]
    for process in running:
        output, _ = process.communicate(timeout=120)
        assert (process.returncode, output) == (0, "ok\n")
