"""`tally run`: register a job, then become the command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from tally import signals
from tally.client import elf, politeness
from tally.client.api import connect
from tally.client.environment import JOB_AS, JobDescription
from tally.client.records import (
    CLASSES,
    MEMORY_GREATEST,
    MEMORY_LEAST,
    NAME_CHARACTERS_MAX,
    PRIORITY_GREATEST,
    PRIORITY_LEAST,
    WEIGHT_GREATEST,
)
from tally.errors import CommandNotFoundError, CommandNotRunnableError
from tally.options import Integer, Size


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  tally run --class high --name web -- python serve.py --port 8000
  tally run python train.py
  tally run --weight 3 --nice 0 -- python train-first.py
  tally run --memory 8G python train.py
  tally run sh -c 'make data && ./train'""",
)
@click.option(
    "--class",
    "job_class",
    type=click.Choice(CLASSES),
    default="best-effort",
    show_default=True,
    help="high: keeps the latency it has alone. best-effort: gets what high jobs leave over.",
)
@click.option(
    "--priority",
    type=Integer(PRIORITY_LEAST, PRIORITY_GREATEST),
    default=0,
    show_default=True,
    metavar="N",
    help=f"Inside the class, from {PRIORITY_LEAST} to {PRIORITY_GREATEST}; greater goes first.",
)
@click.option(
    "--weight",
    type=Integer(1, WEIGHT_GREATEST),
    default=1,
    show_default=True,
    metavar="N",
    help="Best-effort jobs of one priority share device time in proportion to their weights: "
    "2 gets twice as much as 1.",
)
@click.option(
    "--memory",
    "memory_max",
    type=Size(MEMORY_LEAST, MEMORY_GREATEST),
    default=0,
    metavar="SIZE",
    help="How much of each device's memory its processes together may have, as 8G or 512M; to "
    "them the device has no more [`memory_max` in tallyd's config, or all].",
)
@click.option(
    "--nice",
    type=Integer(0, 19),
    metavar="N",
    help="Give way on the CPU by niceness alone: raise the command's by N, 0 to 19 [as its class "
    f"does: high not at all, best-effort by {politeness.NICE['best-effort']} and to all of Tally's "
    "other programs].",
)
@click.option("--name", metavar="NAME", help="What `tally ps` calls it [the command's name].")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.pass_obj
def command(
    runtime_dir: Path,
    job_class: str,
    priority: int,
    weight: int,
    memory_max: int,
    nice: int | None,
    name: str | None,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND as a job. Its output, exit status, signals and terminal are as without Tally.

    Processes that it starts belong to the same job. One that is refused, or whose kernel fails, is
    told why in one line on its standard error; TALLY_QUIET=1 in its environment keeps that away.
    """
    if job_class == "high" and weight != 1:
        raise click.UsageError("--weight is for best-effort jobs: high ones never wait for a share")
    program = _find(command[0])
    if elf.is_for_musl(program):
        raise CommandNotRunnableError(
            f"{program}: is made for musl (Alpine), but Tally's libcuda.so.1, as CUDA itself, "
            "for glibc; use an image with glibc"
        )
    with connect(runtime_dir) as client:
        label = name or os.path.basename(command[0])
        job = client.register_job(
            command,
            label[:NAME_CHARACTERS_MAX],
            job_class,
            priority,
            weight,
            memory_max,
            own_nice=nice is not None,
        )
        environment = client.environment(job["id"])
        described = JobDescription(
            job_class, priority, weight, memory_max, label[:NAME_CHARACTERS_MAX]
        )
        environment[JOB_AS] = described.text()
    signals.restore()
    politeness.become(job_class, nice, bool(job.get("in_cpu_group")))
    try:
        os.execve(program, list(command), environment)
    except OSError as error:
        raise CommandNotRunnableError(f"{program}: {error.strerror}") from None


def _find(name: str) -> str:
    """The file that a shell would run. Looked up before tallyd is told of a job that never was."""
    if found := shutil.which(name):
        return found
    candidates = (
        [name] if os.sep in name else [os.path.join(folder, name) for folder in os.get_exec_path()]
    )
    if any(os.path.exists(candidate) for candidate in candidates):
        raise CommandNotRunnableError(f"{name}: cannot be executed (a folder, or no permission)")
    raise CommandNotFoundError(f"{name}: command not found")
