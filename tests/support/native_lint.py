"""What `make lint` asks of C: its layout, and that locks are held where they have to be.

Run as python tests/support/native_lint.py [--fix]; --fix puts files into their layout. Both tools
come from PyPI: clang-format in the extra `lint`, and ziglang, whose clang does the analysis, in
`test`.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "native"

# Folders that are in the layout of .clang-format: all that have C.
FORMATTED = ("binding", "engine", "include", "sched", "shim", "softgpu", "tests", "wire")
# Not by hand: what is generated, and declarations for cffi, which are no C.
UNFORMATTED = ("generated", "parts")

# Folders in which every lock says what it guards, and every function which locks it wants held.
LOCKED = ("engine", "sched", "shim", "wire")

# Must be reported, or the analysis sees nothing.
CANARY = """
#include "tally/locks.h"
struct counter { struct tally_mutex lock; int count GUARDED_BY(lock); };
int held(struct counter *counter);
int held(struct counter *counter)
{
    tally_mutex_take(&counter->lock);
    int count = counter->count;
    tally_mutex_give(&counter->lock);
    return count;
}
int unheld(struct counter *counter);
int unheld(struct counter *counter) { return counter->count; }
"""
CANARY_WARNINGS = 1


def sources(folders: tuple[str, ...], endings: str) -> list[Path]:
    """Files of these folders of native/, those below them too."""
    return sorted(
        path
        for folder in folders
        for path in (NATIVE / folder).rglob(endings)
        if not set(UNFORMATTED) & set(path.relative_to(NATIVE).parts)
    )


def check_format(fix: bool) -> int:
    """clang-format's status; with `fix` it writes what it would have."""
    program = Path(sys.executable).with_name("clang-format")
    mode = ["-i"] if fix else ["--dry-run", "-Werror"]
    files = sources(FORMATTED, "*.[ch]")
    return subprocess.run([program, *mode, *files], cwd=ROOT, check=False).returncode


def clang() -> list[str]:
    """A clang that analyses C of this tree: ziglang's, with the headers of its compiler."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        sys.exit("native_lint: ziglang is not installed: pip install 'tally-gpu[test]'")
    home = Path(spec.origin).parent
    return [
        *(str(home / "zig"), "clang", "-fsyntax-only", "-std=gnu17", "-D_GNU_SOURCE"),
        *("-isystem", str(home / "lib" / "include"), f"-I{NATIVE / 'include'}", f"-I{NATIVE}"),
        *("-Wno-everything", "-Wthread-safety"),
    ]


def analyse(compiler: list[str], files: list[Path]) -> str:
    """What clang says of these files; empty where all is well."""
    done = subprocess.run(
        [*compiler, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stderr


def check_locks() -> int:
    compiler = clang()
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary.c"
        canary.write_text(CANARY)
        said = analyse(compiler, [canary])
    if said.count("[-Wthread-safety-analysis]") != CANARY_WARNINGS:
        print(f"native_lint: clang does not see an unguarded access:\n{said}", file=sys.stderr)
        return 1
    said = analyse(compiler, sources(LOCKED, "*.c"))
    print(said, end="", file=sys.stderr)
    return 1 if said else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fix", action="store_true", help="put files into their layout")
    options = parser.parse_args()
    status = check_format(options.fix)
    return status if options.fix else max(status, check_locks())


if __name__ == "__main__":
    sys.exit(main())
