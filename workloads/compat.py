"""`make compat`: PyTorch's own CUDA wheel over Tally's libcuda.

On softgpu this is a dry run: torch carries machine code only, which softgpu accepts and skips, so
*results are not computed*. It shows that every driver call on the path is answered. With --device
cuda the results are computed, and checked. Downloads some GB; no part of CI.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

from tally.errors import TallyError
from tally.workloads.local import LocalDaemon

JOB = "compat-torch"
PROGRAM = Path(__file__).with_name("compat_torch.py")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compat", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="soft", help="soft (dry run) or cuda")
    parser.add_argument("--torch", default="torch", help="what pip installs (default torch)")
    parser.add_argument(
        "--venv", type=Path, default=Path("out/compat-venv"), help="where torch is, or goes"
    )
    return parser.parse_args(argv)


def python_with_torch(folder: Path, requirement: str) -> Path:
    """The interpreter of a virtual environment that has torch; made on first use."""
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        print(f"compat: installing {requirement} into {folder} (some GB)", flush=True)
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", requirement, "numpy"]
        if subprocess.run(command, check=False).returncode != 0:
            raise TallyError(f"{requirement} could not be installed into {folder}")
    return python


def run(options: argparse.Namespace) -> None:
    python = python_with_torch(options.venv, options.torch)
    dry = options.device.startswith("soft")
    with LocalDaemon(*(["--soft-dry"] if dry else []), device=options.device) as daemon:
        done = subprocess.run(
            daemon.command(python, PROGRAM, *(["--dry"] if dry else []), name=JOB),
            env={**daemon.env, "PYTHONNOUSERSITE": "1", "PYTHONPATH": ""},
            check=False,
        )
        with daemon.client() as client:
            job = next(job for job in client.jobs() if job.name == JOB)
        if job.unsupported:
            calls = ", ".join(f"{name} ({count})" for name, count in job.unsupported.items())
            print(f"compat: unsupported calls: {calls}")
        if done.returncode != 0:
            raise TallyError(
                f"torch's program ended with {done.returncode}\n{daemon.log()[-2000:]}"
            )
        if job.unsupported:
            raise TallyError("torch's program met unsupported calls")
    words = "dry: results were not computed" if dry else "results checked"
    print(f"compat: torch runs over Tally on {options.device} ({words})")


def main(argv: list[str] | None = None) -> int:
    try:
        run(parse(argv))
    except TallyError as error:
        print(f"compat: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
