"""`tally ps`: the jobs, in a table."""

from __future__ import annotations

from pathlib import Path

import click

from tally import render
from tally.client.api import connect


@click.command()
@click.option("-a", "--all", "show_all", is_flag=True, help="Ended jobs too.")
@click.pass_obj
def command(runtime_dir: Path, show_all: bool) -> None:
    """List jobs.

    WEIGHT is a best-effort job's share of device time among its like; SESSIONS are its processes
    that use the GPU.
    """
    with connect(runtime_dir) as client:
        jobs = client.jobs(ended=show_all)
    columns = (
        *("JOB", "NAME", "CLASS", "PRIORITY", "WEIGHT", "STATE", "PID", "TIME"),
        *("PROCESSES", "SESSIONS", "COMMAND"),
    )
    table = render.table(columns, keys=("JOB", "NAME"), cut=("NAME", "COMMAND"))
    for job in jobs:
        table.add_row(
            job.id,
            render.plain(job.name),
            job.job_class,
            str(job.priority),
            str(job.weight) if job.job_class == "best-effort" else "-",
            job.state,
            str(job.pid),
            render.duration(job.seconds),
            str(len(job.processes)),
            str(job.sessions),
            render.plain(" ".join(job.argv)),
        )
    render.show(table if jobs else "no jobs; start one with `tally run COMMAND`")
