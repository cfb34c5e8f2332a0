"""mypy --strict over all Python: `python tests/support/typecheck.py`; its status is mypy's.

The package `tally` is gathered from several top-level folders when it is built. mypy must see the
sources as that package, so they are arranged as one with symbolic links, under build/typing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("client", "daemon", "interpose", "scheduler", "workloads")


def arrange(farm: Path) -> None:
    """Make farm/tally the package, of links into the checkout; links that are stale are removed."""
    package = farm / "tally"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {part: ROOT / part for part in PARTS}
    wanted |= {path.name: path for path in (ROOT / "tally").iterdir() if path.name != "__pycache__"}
    for link in package.iterdir():
        if link.is_symlink() and link.name not in wanted:
            link.unlink()
    for name, target in wanted.items():
        link = package / name
        if not link.is_symlink():
            link.symlink_to(target)


def run_mypy(farm: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """mypy with the package from the farm, and the tests' own modules from tests/."""
    environment = {**os.environ, "MYPYPATH": f"{farm}:{ROOT / 'tests'}"}
    return subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")),
            *("--cache-dir", str(farm / ".mypy_cache"), "--exclude", "/programs/", *arguments),
        ],
        env=environment,
        cwd=farm,
        capture_output=True,
        text=True,
        check=False,
    )


def main() -> int:
    """Check the package, then the tests, then what belongs to neither."""
    farm = ROOT / "build" / "typing"
    arrange(farm)
    tests = [str(ROOT / "tests" / name) for name in ("conftest.py", "nodev", "soft", "gpu")]
    alone = [str(ROOT / "native" / "binding" / "cdefs.py")]  # the build runs it, in no package
    checks = (["-p", "tally"], [test for test in tests if Path(test).exists()], alone)
    status = 0
    for arguments in checks:
        done = run_mypy(farm, *arguments)
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
        status = max(status, done.returncode)
    return status


if __name__ == "__main__":
    sys.exit(main())
