"""`tally policy`: how launches are scheduled, shown or switched while jobs run."""

from __future__ import annotations

from pathlib import Path

import click

from tally import render
from tally.client.api import connect
from tally.policies import POLICIES


@click.command()
@click.argument("name", required=False, type=click.Choice(POLICIES))
@click.pass_obj
def command(runtime_dir: Path, name: str | None) -> None:
    """Show the scheduling policies, or switch all devices to NAME at once.

    Jobs go on running. A switch holds until tallyd ends; the setting `policy` says what it starts
    with. Only the user who runs tallyd, and root, may switch.
    """
    with connect(runtime_dir) as client:
        current = client.policy(name)
    if name is None:
        _show(current)


def _show(current: str) -> None:
    table = render.table(("", "POLICY", "WHAT IT DOES"), wrap=("WHAT IT DOES",))
    for known, text in POLICIES.items():
        table.add_row("*" if known == current else "", known, text)
    render.show(table)
