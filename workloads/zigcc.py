#!/usr/bin/env python3
"""`clang` for tinygrad's CPU backend, out of PyPI's ziglang: CC=.../zigcc.py.

tinygrad's loader knows neither debug sections nor Zig's names for targets.
"""

import os
import sys


def main() -> None:
    arguments = [a for a in sys.argv[1:] if not a.startswith("--target=")]
    target = ["-target", f"{os.uname().machine}-linux-gnu", "-g0"]
    os.execv(sys.executable, [sys.executable, "-m", "ziglang", "cc", *target, *arguments])


if __name__ == "__main__":
    main()
