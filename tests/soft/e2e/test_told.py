"""Whoever is refused or fails is told why: once, on their own standard error, and by doctor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon, plain_environment, read_line
from support.toolchain import Builder

from tally.client import paths

pytestmark = pytest.mark.timeout(180)

LIBRARY = "import ctypes; cu = ctypes.CDLL('libcuda.so.1')\n"
CONTEXT = (
    LIBRARY + "assert cu.cuInit(0) == 0; context = ctypes.c_void_p()\n"
    "assert cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0\n"
    "assert cu.cuCtxSetCurrent(context) == 0\n"
)


def told(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("tally: ")]


def python(code: str) -> tuple[str, str, str]:
    return sys.executable, "-c", code


def job(daemon: Daemon, name: str) -> dict[str, Any]:
    with daemon.client() as client:
        (found,) = [job for job in client.doctor()["jobs"] if job["name"] == name]
    return dict(found)


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (
            "wild",
            "CUDA_ERROR_ILLEGAL_ADDRESS (700) in kernel _Z10write_wildPi, block (",
        ),
        (
            "null",
            "CUDA_ERROR_ILLEGAL_ADDRESS (700) in kernel _Z9read_nullPi, block (0, 0, 0) at address",
        ),
        ("trap", "CUDA_ERROR_LAUNCH_FAILED (719) in kernel _Z4stopv, block ("),
        ("assert", "CUDA_ERROR_ASSERT (710) in kernel _Z6insisti, block (0, 0, 0)"),
        (
            "misaligned",
            "CUDA_ERROR_MISALIGNED_ADDRESS (716) in kernel _Z8misalignPc, block (0, 0, 0)",
        ),
    ],
)
@pytest.mark.parametrize("job_class", ["high", "best-effort"])
def test_the_kernel_that_failed(
    daemon: Daemon, builder: Builder, fault: str, wanted: str, job_class: str
) -> None:
    name = f"fault-{fault}-{job_class}"
    done = daemon.run(builder.get("faults"), fault, job_class=job_class, name=name)
    assert done.returncode == 0, done.stderr
    (line,) = told(done.stderr)
    assert line.removeprefix("tally: ").startswith(wanted)
    assert job(daemon, name)["notices"] == {line.removeprefix("tally: "): 1}
    assert wanted in daemon.log()


def test_the_last_words_of_a_program_that_waits_no_more(daemon: Daemon, builder: Builder) -> None:
    """It looks only at what its launches return, and leaves."""
    done = daemon.run(builder.get("fault_unwaited"))
    assert done.returncode == 0, done.stderr
    (line,) = told(done.stderr)
    assert "in kernel" in line and "write_wild" in line


def test_a_module_without_ptx(daemon: Daemon) -> None:
    code = CONTEXT + (
        "image = b'\\x7fELF\\x02\\x01\\x01' + bytes(200); module = ctypes.c_void_p()\n"
        "print([cu.cuModuleLoadData(ctypes.byref(module), image) for _ in range(3)])"
    )
    done = daemon.run(*python(code), name="cubin")
    assert json.loads(done.stdout) == [209] * 3
    (line,) = told(done.stderr)
    assert "CUDA_ERROR_NO_BINARY_FOR_GPU" in line and "CUPY_COMPILE_WITH_PTX=1" in line
    assert list(job(daemon, "cubin")["notices"].values()) == [1]
    assert "CUPY_COMPILE_WITH_PTX=1" in daemon.run_tally("doctor").stdout


def test_a_module_that_is_wrong(daemon: Daemon) -> None:
    code = CONTEXT + (
        "module = ctypes.c_void_p()\n"
        "text = b'.version 8.0\\n.target sm_80\\n.address_size 64\\nnonsense;\\n\\0'\n"
        "print(cu.cuModuleLoadData(ctypes.byref(module), text))"
    )
    done = daemon.run(*python(code), name="wrong")
    assert int(done.stdout) == 218
    (line,) = told(done.stderr)
    assert "a module cannot be loaded: CUDA_ERROR_INVALID_PTX (218): " in line


def test_calls_refused_for_an_argument(daemon: Daemon) -> None:
    """Also of programs that end at the next moment."""
    code = CONTEXT + (
        "import os; event = ctypes.c_void_p()\n"
        "assert cu.cuEventCreate(ctypes.byref(event), 6) == 801\n"
        "assert cu.cuIpcGetMemHandle(event, event) == 801\nos._exit(0)"
    )
    for number in range(10):
        daemon.ok(*python(code), name=f"hasty-{number}")
    with daemon.client() as client:
        jobs = {job.name: job.unsupported for job in client.jobs()}
    wanted = {"cuEventCreate(CU_EVENT_INTERPROCESS)": 1, "cuIpcGetMemHandle": 1}
    assert [dict(jobs[f"hasty-{number}"]) for number in range(10)] == [wanted] * 10
    report = daemon.run_tally("doctor").stdout
    assert all(symbol in report for symbol in wanted)


def test_refused_by_tallyd() -> None:
    code = LIBRARY + "print(cu.cuInit(0), cu.cuInit(0))"
    with Daemon(env={"TALLY_SESSIONS_MAX": "1"}) as daemon:
        holder = daemon.start(*python(CONTEXT + "print('there', flush=True); input()"))
        read_line(holder, "there")
        done = daemon.run(*python(code))
        assert done.stdout.split() == ["800", "800"]
        (line,) = told(done.stderr)
        assert "there are 1 sessions already; see `sessions_max`" in line
        holder.communicate("\n", timeout=30)


def test_a_job_of_another_tallyd(daemon: Daemon) -> None:
    done = daemon.run("env", "TALLY_JOB=7-feedface", *python(LIBRARY + "print(cu.cuInit(0))"))
    assert done.stdout.strip() == "800"
    (line,) = told(done.stderr)
    assert 'tallyd does not know job "7-feedface"; start the program with `tally run`' in line


def alone(code: str, tmp_path: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Python with the shim and no tallyd."""
    shim = paths.shim()
    assert shim is not None
    env = {
        **plain_environment(),
        "LD_PRELOAD": str(shim),
        "LD_LIBRARY_PATH": str(shim.parent),
        "TALLY_LIBZMQ": str(paths.libzmq(os.environ)),
        "TALLY_RUNTIME_DIR": str(tmp_path),
        **options.pop("env", {}),
    }
    return subprocess.run(
        python(code), env=env, capture_output=True, text=True, timeout=30, check=False, **options
    )


def test_no_tallyd(tmp_path: Path) -> None:
    """Once, however often it is tried and in however many children."""
    code = LIBRARY + (
        "import os; results = [cu.cuInit(0) for _ in range(3)]\n"
        "if os.fork() == 0: cu.cuInit(0); os._exit(0)\n"
        "os.wait(); print(results)"
    )
    done = alone(code, tmp_path)
    assert json.loads(done.stdout) == [802] * 3
    (line,) = told(done.stderr)
    assert f"no tallyd answers at {tmp_path}/control.sock: start `tallyd`" in line


def test_nothing_is_written_where_no_text_belongs(tmp_path: Path) -> None:
    """The program has made descriptor 2 a file of its own, or closed it, or wants no word."""
    data = tmp_path / "data"
    code = LIBRARY + (
        f"import os; data = os.open({str(data)!r}, os.O_CREAT | os.O_RDWR)\n"
        "os.dup2(data, 2); print(cu.cuInit(0))"
    )
    assert alone(code, tmp_path).stdout.strip() == "802"
    assert data.read_bytes() == b""
    assert alone(LIBRARY + "import os; os.close(2); print(cu.cuInit(0))", tmp_path).returncode == 0
    done = alone(LIBRARY + "cu.cuInit(0)", tmp_path, env={"TALLY_QUIET": "1"})
    assert done.stderr == ""


def test_an_executor_that_is_lost() -> None:
    code = CONTEXT + (
        "free = ctypes.c_size_t(); cu.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(free))\n"
        "print('there', flush=True); input()\n"
        "print([cu.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(free)) for _ in range(3)])"
    )
    with Daemon() as daemon:
        process = daemon.start(*python(code))
        read_line(process, "there")
        for pid in daemon.executor_pids():
            os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate("\n", timeout=60)
        lines = [line for line in output.splitlines() if line.startswith("tally: ")]
        assert len(lines) == 1 and "the executor of device 0 has ended" in lines[0]
        assert "[46, 46, 46]" in output


def test_dry_runs_are_called_so(builder: Builder) -> None:
    with Daemon(env={"TALLY_SOFT_DRY": "1"}) as daemon:
        daemon.run(builder.get("vector_add"), name="dry")  # it computes nothing, and notices
        report = daemon.run_tally("doctor").stdout
        assert "checked and skipped (soft_dry): nothing was computed" in report
        assert "can be stopped" not in report


def test_the_share_that_can_be_stopped(daemon: Daemon, builder: Builder) -> None:
    """By launches and device time; high jobs have none."""
    daemon.ok(builder.get("matmul"), job_class="high", name="stop-high")
    for number in range(20):  # the forms of the first may have come too late
        daemon.ok(builder.get("matmul"), name=f"stop-{number}")
        found = job(daemon, f"stop-{number}")
        if found["launches_stoppable"]:
            break
    assert 0 < found["launches_stoppable"] <= found["launches"]
    assert 0 < found["stoppable_ns"] <= found["scheduled_ns"]
    assert job(daemon, "stop-high")["launches_stoppable"] == 0
