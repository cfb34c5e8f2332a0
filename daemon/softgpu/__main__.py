"""`python -m tally.daemon.softgpu FILE.ptx`: compile a file; print its kernels or what is wrong."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import abi
from .code import CompiledModule
from .errors import PtxError
from .ir import Function
from .jit import jit


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tally.daemon.softgpu",
        description="Compile PTX as the software GPU does, and print its kernels or the error.",
        epilog="exit status: 0 compiled, 1 the PTX is refused, 2 the file cannot be read",
    )
    parser.add_argument("file", type=Path, help="PTX text")
    parser.add_argument("--kernel", help="this kernel alone")
    parser.add_argument(
        "--variant", choices=abi.VARIANTS, default="row",
        help="blocks: rows of 32 threads, 16 wide, 8 wide, any (default row)",
    )  # fmt: skip
    parser.add_argument("--emit-llvm", action="store_true", help="print LLVM IR")
    parser.add_argument("--emit-asm", action="store_true", help="print optimized machine code")
    return parser.parse_args(argv)


def _show(module: CompiledModule, kernel: Function, options: argparse.Namespace) -> None:
    variant = abi.VARIANTS.index(options.variant)
    if why := module.program.refusal(kernel):
        print(f"{kernel.name}: refused when it is launched: {why}")
        return
    text = module.program.emit(kernel, variant)
    if options.emit_llvm:
        print(text)
        return
    if options.emit_asm:
        print(jit().assembly(text))
        return
    began = time.perf_counter()
    size = len(jit().compile(text))
    took_ms = (time.perf_counter() - began) * 1e3
    _, shared = module.program.shared_layout(kernel)
    local = sum(v.bytes for v in kernel.variables if v.space == "local")
    fibers = ", warps take turns" if module.program.needs_fibers(kernel) else ""
    print(
        f"{kernel.name}: {len(kernel.body or [])} instructions, "
        f"{len(kernel.parameters)} parameters, "
        f"{shared} bytes shared, {local} bytes local a thread{fibers}; "
        f"object file of {size} bytes in {took_ms:.0f} ms"
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _parse(argv)
    try:
        text = options.file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        print(f"{options.file}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        module = CompiledModule(text)
        kernels = [k for k in module.kernels if options.kernel in (None, k.name)]
        for kernel in kernels:
            _show(module, kernel, options)
    except PtxError as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 1
    if options.kernel and not kernels:
        print(f"{options.file}: no kernel '{options.kernel}'", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
