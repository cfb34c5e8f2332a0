"""What programs do around the shim: threads that leave, printing, blocking launches, hooks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.daemon import Daemon, read_line
from support.script import preloading
from support.toolchain import Builder, compile_c

pytestmark = pytest.mark.beside

PROGRAMS = Path(__file__).parent / "programs"
START = """
import ctypes as c
cuda = c.CDLL("libcuda.so.1")
context, module, function, address = (c.c_void_p() for _ in range(4))
assert cuda.cuInit(0) == 0
cuda.cuDevicePrimaryCtxRetain(c.byref(context), 0)
cuda.cuCtxSetCurrent(context)
"""
STORE = """
ptx = b'''.version 7.0
.target sm_70
.address_size 64
.visible .entry store(.param .u64 to) { .reg .b64 %d; ld.param.u64 %d, [to]; st.global.u32 [%d], 1; ret; }
'''
assert cuda.cuModuleLoadData(c.byref(module), ptx) == 0
assert cuda.cuModuleGetFunction(c.byref(function), module, b"store") == 0
def launch(to):
    value = c.c_uint64(to)
    params = (c.c_void_p * 1)(c.addressof(value))
    return cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, params, None)
"""  # noqa: E501


@pytest.mark.parametrize("who", ["alone", "first", "second"])
@pytest.mark.parametrize("how", ["cancel", "jump"])
def test_threads_that_leave_their_wait(
    daemon: Daemon, builder: Builder, how: str, who: str
) -> None:
    assert daemon.ok(builder.get("leave"), how, who, job_class="high") == "ok\n"


def test_kernels_print_in_the_order_of_the_program(daemon: Daemon, builder: Builder) -> None:
    lines = daemon.ok(builder.get("print_order")).splitlines()
    assert lines == [f"{who} {i}" for i in range(5) for who in ("host", "device")]


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", "700 700"), ("0", "0 700"), ("", "0 700"), (None, "0 700")]
)
def test_launch_blocking(daemon: Daemon, value: str | None, wanted: str) -> None:
    program = START + STORE + "print(launch(16), cuda.cuCtxSynchronize())"
    env = {} if value is None else {"CUDA_LAUNCH_BLOCKING": value}
    assert daemon.ok(sys.executable, "-c", program, env=env).strip() == wanted


def test_launch_blocking_waits(daemon: Daemon) -> None:
    program = START + STORE
    program += "cuda.cuMemAlloc_v2(c.byref(address), c.c_size_t(4)); print(launch(address.value),"
    program += "cuda.cuStreamQuery(None))"
    env = {"CUDA_LAUNCH_BLOCKING": "1"}
    assert daemon.ok(sys.executable, "-c", program, env=env).strip() == "0 0"


def test_hooks_that_users_preload_are_called(daemon: Daemon, tmp_path: Path) -> None:
    """As natively: the hook comes first, and RTLD_NEXT of it is the driver."""
    source = tmp_path / "hook.c"
    source.write_text(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\n"
        "int cuInit(unsigned flags)\n{\n"
        '    int (*next)(unsigned) = (int (*)(unsigned))dlsym(RTLD_NEXT, "cuInit");\n'
        '    fputs("[hook]", stderr);\n    return next ? next(flags) : 999;\n}\n'
    )
    hook = compile_c(source, ("-shared", "-fPIC"))
    program = "import ctypes; print(ctypes.CDLL(None).cuInit(0))"
    done = daemon.run(sys.executable, "-c", program, env=preloading(hook))
    assert (done.stdout.strip(), done.stderr.strip()) == ("0", "[hook]")


def test_children_of_a_program_that_close_all_descriptors(daemon: Daemon) -> None:
    """A daemonizing child closes what it inherited, and starts anew."""
    program = START + (
        "import os, sys\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os.closerange(3, 1024)\n"
        "    result = cuda.cuInit(0)\n"
        "    cuda.cuDevicePrimaryCtxRetain(c.byref(context), 0)\n"
        "    cuda.cuCtxSetCurrent(context)\n"
        "    os._exit(result or cuda.cuMemAlloc_v2(c.byref(address), c.c_size_t(64)))\n"
        "print(os.waitpid(pid, 0)[1], cuda.cuCtxSynchronize())\n"
    )
    assert daemon.ok(sys.executable, "-c", program).strip() == "0 0"


def test_a_job_goes_on_after_its_tallyd_was_restarted() -> None:
    """Its later programs meet in one job of the new tallyd, which is what the first one was."""
    look = f"{sys.executable} -c 'import ctypes; print(ctypes.CDLL(\"libcuda.so.1\").cuInit(0))'"
    with Daemon("--soft-workers", "1") as daemon:
        script = f"{look}; echo first; read line; {look}; {look}; echo second; read line"
        shell = daemon.start("sh", "-c", script, job_class="high", name="notebook")
        assert read_line(shell, "first")
        assert shell.stdin is not None
        daemon.process.terminate()
        daemon.process.wait()
        daemon.process = daemon._start()
        shell.stdin.write("\n")
        shell.stdin.flush()
        assert shell.stdout is not None
        assert [shell.stdout.readline() for _ in range(3)] == ["0\n", "0\n", "second\n"]
        (job,) = daemon.stats()["jobs"]
        assert (job["name"], job["class"], job["pid"]) == ("notebook", "high", shell.pid)
        shell.communicate("\n", timeout=20)


def can_unshare() -> bool:
    if shutil.which("unshare") is None or shutil.which("umount") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="cannot make mount namespaces")
def test_no_proc(daemon: Daemon) -> None:
    """Modules load where /proc is not mounted."""
    script = 'umount -l /proc && exec "$@"'
    program = START + STORE + "print(launch(0) in (0, 700))"
    done = daemon.ok("unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", program)
    assert done.strip() == "True"
