"""Programs that change their user between cuInit and the first use of a device."""

from __future__ import annotations

import os
import sys

import pytest
from support.daemon import Daemon

NOBODY = 65534
START = """
import ctypes, os
cuda, context, at = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_uint64()
def use():
    cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
    cuda.cuCtxSetCurrent(context)
    return cuda.cuMemAlloc_v2(ctypes.byref(at), 4096)
print(cuda.cuInit(0))
"""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")


def test_a_program_connects_as_the_user_that_it_is_by_now() -> None:
    become = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    with Daemon("--group", str(NOBODY)) as daemon:
        daemon.runtime_dir.parent.chmod(0o755)
        done = daemon.run(sys.executable, "-c", f"{START}{become}\nprint(use(), os.geteuid())")
    assert done.stdout.split() == ["0", "0", str(NOBODY)], done.stderr


def test_who_could_not_connect_may_try_again() -> None:
    """Nobody else may look into the folder: it says so, and goes on as root."""
    body = f"os.seteuid({NOBODY}); print(use()); print(use()); os.seteuid(0); print(use(), use())"
    with Daemon() as daemon:
        done = daemon.run(sys.executable, "-c", START + body)
        assert done.stdout.split() == ["0", "304", "304", "0", "0"], done.stderr
        assert done.stderr.count("\n") == 1
        assert f"{daemon.runtime_dir} cannot be reached: Permission denied" in done.stderr
        (job,) = daemon.stats()["jobs"]
        assert not job["sessions"]
