"""`tally completion`: click's own completion, named so that one finds it."""

from __future__ import annotations

import click

LINES = {
    "bash": 'eval "$(_TALLY_COMPLETE=bash_source tally)"',
    "zsh": 'eval "$(_TALLY_COMPLETE=zsh_source tally)"',
    "fish": "_TALLY_COMPLETE=fish_source tally | source",
}


@click.command()
@click.argument("shell", type=click.Choice(list(LINES)))
def command(shell: str) -> None:
    """Print the line that turns on completion; put it into your shell's start-up file."""
    click.echo(LINES[shell])
