"""A program on an executor with a defect: tests/sanitize.sh wants to hear of it.

    python -m support.defect SANITIZERS KIND

`native/tests/defect.c` is the driver, which commits the defect when the engine calls it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from support import soft_driver
from support.daemon import Daemon
from support.toolchain import compile_c

_ROOT = Path(__file__).parent.parent.parent


def main(sanitizers: str, kind: str) -> None:
    driver = soft_driver.build(
        _ROOT / "native" / "tests" / "defect.c", "-g", f"-fsanitize={sanitizers}"
    )
    program = compile_c(_ROOT / "tests" / "soft" / "programs" / "free_memory.c")
    with Daemon(env={**soft_driver.environment(driver), "DEFECT": kind}) as daemon:
        daemon.run(program)


if __name__ == "__main__":
    main(*sys.argv[1:])
