"""On PYTHONPATH of an executor that takes softgpu for a GPU (--device=cuda).

Kernels run all the same: the library that COMPILER_DRIVER names gets its compiler."""

import ctypes
import os
import sys

if "tally.daemon.executor" in sys.orig_argv:
    from tally.daemon.softgpu import install

    install(ctypes.CDLL(os.environ["COMPILER_DRIVER"]))
