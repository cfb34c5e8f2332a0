"""What has to be on a machine before `make` can install the rest: said at once, and in one line.

Also for Pythons that are too old, so in words that they understand.
"""

import os
import shlex
import shutil
import sys
import sysconfig


def missing():
    """What is not there, and the package of Debian that has it."""
    if sys.version_info < (3, 11):  # noqa: UP036
        version = "{}.{}".format(*sys.version_info[:2])
        yield "Python 3.11 or later (this is " + version + ": name another with PYTHON=...)", ""
        return
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            yield "Python's module " + module, "python3-venv"
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.exists(header):
        yield "Python's header files (no " + header + ")", "python3-dev"
    compilers = shlex.split(os.environ.get("CC", ""))[:1] or ["cc", "gcc", "clang"]
    if not any(shutil.which(name) for name in compilers):
        yield "a C compiler (no {})".format(", ".join(compilers)), "gcc libc6-dev"


def main():
    found = list(missing())
    if not found:
        return 0
    words = "; ".join(what for what, _ in found)
    packages = " ".join(dict.fromkeys(p for _, p in found if p))
    advice = " (on Debian: apt-get install " + packages + ")" if packages else ""
    sys.stderr.write("make: this needs " + words + advice + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
