"""`tally shutdown`: stop tallyd, now or when it is idle."""

from __future__ import annotations

from pathlib import Path

import click

from tally.client.api import connect


@click.command()
@click.option(
    "--drain", is_flag=True, help="Take no new jobs, and stop when the last session ends."
)
@click.pass_obj
def command(runtime_dir: Path, drain: bool) -> None:
    """Stop tallyd. Programs that use the GPU get CUDA errors, unless --drain waits for them."""
    with connect(runtime_dir) as client:
        client.shutdown(drain)
