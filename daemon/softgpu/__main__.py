"""The compiler by hand: `python -m tally.daemon.softgpu compile FILE.ptx`, and `dump`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import abi
from .code import CompiledModule
from .dump import dump, pass_names
from .errors import PtxError
from .ir import Function
from .jit import jit

_STATUS = "exit status: 0 done, 1 the PTX is refused, 2 the file cannot be read"
_EXAMPLES = """\
examples:
  python -m tally.daemon.softgpu compile FILE.ptx
  python -m tally.daemon.softgpu dump FILE.ptx --after divergence --kernel scan
  python -m tally.daemon.softgpu dump FILE.ptx --after emit --variant any
  python -m tally.daemon.softgpu dump --list
"""


def _passes() -> str:
    return "\n".join(f"  {name:<11} {text}" for name, text in pass_names().items())


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kernel", help="this kernel alone, by its name in the PTX")
    parser.add_argument(
        "--variant", choices=abi.VARIANTS, default="row",
        help="for blocks that are rows of 32 threads, 16 wide, 8 wide, or any (default row)",
    )  # fmt: skip


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tally.daemon.softgpu",
        description="Compile PTX as the software GPU does.",
        epilog=f"{_EXAMPLES}\n{_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    compile_ = commands.add_parser(
        "compile",
        help="compile a file; print its kernels, or what is wrong",
        description="Compile a file, and print a line about each kernel, or the error.",
        epilog=_STATUS,
    )
    compile_.add_argument("file", type=Path, help="PTX text")
    _common(compile_)
    dump_ = commands.add_parser(
        "dump",
        help="print kernels after a pass of the compiler",
        description="Print kernels, and the functions that they call, after a pass of the\n"
        "compiler; without --after, after each of them but LLVM's. The passes, in order:\n\n"
        f"{_passes()}",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    dump_.add_argument("file", type=Path, nargs="?", help="PTX text")
    dump_.add_argument("--after", choices=pass_names(), metavar="PASS", help="one of those above")
    dump_.add_argument("--list", action="store_true", help="print the passes, and nothing else")
    _common(dump_)
    options = parser.parse_args(argv)
    if options.file is None and not options.list:
        dump_.error("a file is needed, or --list")
    return options


def _compile(module: CompiledModule, kernel: Function, variant: int) -> None:
    text = module.program.emit(kernel, variant)
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


def _dump(module: CompiledModule, kernel: Function, variant: int, after: str | None) -> None:
    if after is not None:
        print(dump(module.program, kernel, variant, after))
        return
    for name in pass_names():
        if name not in ("optimize", "assemble"):
            print(f"==== after {name}\n{dump(module.program, kernel, variant, name)}")


def _show(module: CompiledModule, kernel: Function, options: argparse.Namespace) -> None:
    variant = abi.VARIANTS.index(options.variant)
    if why := module.program.refusal(kernel):
        print(f"{kernel.name}: refused when it is launched: {why}")
    elif options.command == "compile":
        _compile(module, kernel, variant)
    else:
        _dump(module, kernel, variant, options.after)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _parse(argv)
    if options.command == "dump" and options.list:
        print(_passes())
        return 0
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
        names = ", ".join(kernel.name for kernel in module.kernels[:20]) or "none"
        print(f"{options.file}: no kernel '{options.kernel}'; it has {names}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
