"""`tally version`: ours, and the running tallyd's."""

from __future__ import annotations

from pathlib import Path

import click

import tally
from tally.client import protocol
from tally.client.api import connect
from tally.errors import NotReachableError


@click.command()
@click.pass_obj
def command(runtime_dir: Path) -> None:
    """Print the versions of tally and of the tallyd that runs."""
    click.echo(f"tally  {tally.__version__} (protocol {protocol.VERSION})")
    try:
        with connect(runtime_dir) as client:
            answer = client.ping()
    except NotReachableError as error:
        click.echo(f"tallyd not reachable: {error}")
    else:
        click.echo(
            f"tallyd {answer['version']} (protocol {answer['protocol']}, pid {answer['pid']})"
        )
