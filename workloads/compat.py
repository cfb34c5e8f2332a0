"""`make compat`: PyTorch's own CUDA wheel over Tally's libcuda.

On softgpu this is a dry run: torch carries machine code only, which softgpu accepts and skips, so
*results are not computed*. It shows that every driver call on the path is answered. With --device
cuda the results are computed, and checked. Downloads some GB; no part of CI.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tally import render
from tally.client import JobRecord
from tally.errors import TallyError
from tally.workloads.compat_venv import environment, python_with_torch
from tally.workloads.local import LocalDaemon

JOB = "compat-torch"
PROGRAM = Path(__file__).with_name("compat_torch.py")
PROGRAM_SECONDS_MAX = 1800.0
DRY = (
    "Dry run: kernels were accepted and skipped. Their results were NOT computed, and not checked."
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compat", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="soft", help="soft (dry run) or cuda")
    parser.add_argument("--torch", default="torch", help="what pip installs (default torch)")
    parser.add_argument(
        "--venv", type=Path, default=Path(".venv-compat"), help="where torch is, or goes"
    )
    return parser.parse_args(argv)


def _run_program(daemon: LocalDaemon, python: Path, report: Path, dry: bool) -> int:
    flags = ["--report", str(report), *(["--dry"] if dry else [])]
    settings = {key: value for key, value in daemon.env.items() if key.startswith("TALLY_")}
    try:
        return subprocess.run(
            daemon.command(python, PROGRAM, *flags, name=JOB),
            env={**environment(), **settings},
            timeout=PROGRAM_SECONDS_MAX,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        raise TallyError(f"torch's program did not end in {PROGRAM_SECONDS_MAX:g} s") from None


def show(report: dict[str, Any], job: JobRecord, dry: bool) -> None:
    columns = ("step", "what it does", "result", "time")
    table = render.table(columns, right=("time",), wrap=("what it does",))
    good = "answered" if dry else "right"
    for step in report["steps"]:
        result = {"ok": good}.get(step["result"], step["result"])
        seconds = f"{step['seconds']:.1f}s" if step["seconds"] is not None else "-"
        table.add_row(step["name"], step["what"], result, seconds)
    calls = ", ".join(f"{name} ({count})" for name, count in sorted(job.unsupported.items()))
    launches = job.stats["counters"].get("launches", 0)
    print(f"\ntorch {report['torch']} (CUDA {report['cuda']}) on {report['device']}\n")
    render.show(table)
    print(f"\nKernel launches: {launches}. Unsupported calls: {calls or 'none'}.")
    if dry:
        print(DRY)


def run(options: argparse.Namespace) -> None:
    python = python_with_torch(options.venv, options.torch)
    dry = options.device.startswith("soft")
    with LocalDaemon(*(["--soft-dry"] if dry else []), device=options.device) as daemon:
        path = daemon.folder / "report.json"
        status = _run_program(daemon, python, path, dry)
        if not path.exists():
            raise TallyError(f"torch's program ended with {status}\n{daemon.log()[-2000:]}")
        with daemon.client() as client:
            job = next(job for job in client.jobs() if job.name == JOB)
        show(json.loads(path.read_text()), job, dry)
        if status != 0:
            raise TallyError(f"torch's program ended with {status}\n{daemon.log()[-2000:]}")
        if job.unsupported:
            raise TallyError("torch's program met unsupported calls")


def main(argv: list[str] | None = None) -> int:
    try:
        run(parse(argv))
    except TallyError as error:
        print(f"compat: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("compat: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
