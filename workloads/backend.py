"""Where tinygrad looks for its device, settled before tinygrad is imported.

tinygrad reads its environment at import, so every program here calls `prepare()` first and imports
tinygrad afterwards.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

# JIT=2 keeps tinygrad's JIT, which replays a list of launches, but captures no CUDA graphs: Tally
# does not forward those. TC=0 keeps float32 matrix products in float32 (tinygrad's PTX writer
# would take TF32), so that devices can be compared. PARALLEL=0: no pool of compiling processes.
DEFAULTS = {"JIT": "2", "TC": "0", "PARALLEL": "0"}


def find_nvrtc() -> Path | None:
    """libnvrtc from the nvidia-cuda-nvrtc wheel, where that is installed."""
    spec = find_spec("nvidia")
    for root in spec.submodule_search_locations or [] if spec else []:
        for library in sorted(Path(root).glob("c*/lib/libnvrtc.so.1*")):
            return library
    return None


def prepare_cpu() -> None:
    """tinygrad's CPU backend runs `clang`; where there is none, take the one in ziglang (PyPI)."""
    if "CC" in os.environ or shutil.which("clang") or not find_spec("ziglang"):
        return
    os.environ["CC"] = str(Path(__file__).with_name("zigcc.py"))
    # The wrapper starts by `env python3`, which must be the interpreter that has ziglang.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"


def prepare(device: str | None = None) -> str:
    """Set tinygrad's environment and return the device string.

    `device` is tinygrad's: `CUDA` (kernels through NVRTC), `CUDA:PTX` (its own PTX writer) or
    `CPU`. Without one, DEV decides, then CUDA. Settings made by the user stay as they are.
    """
    if "tinygrad" in sys.modules:
        raise RuntimeError("prepare() must run before tinygrad is imported")
    chosen = device or os.environ.get("DEV") or "CUDA"
    os.environ["DEV"] = chosen
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if chosen.startswith("CPU"):
        prepare_cpu()
    if chosen == "CUDA" and "NVRTC_PATH" not in os.environ and (nvrtc := find_nvrtc()):
        os.environ["NVRTC_PATH"] = str(nvrtc)
        # libnvrtc opens its builtins by bare name: here a library that is already loaded satisfies
        # that, in tinygrad's worker processes the search path does.
        for builtins in nvrtc.parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins))
        searched = os.environ.get("LD_LIBRARY_PATH", "")
        os.environ["LD_LIBRARY_PATH"] = (
            f"{searched}:{nvrtc.parent}" if searched else str(nvrtc.parent)
        )
    return chosen
