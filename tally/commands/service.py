"""`tally service`: the packaged systemd unit, ready to install."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from tally.client import paths
from tally.errors import TallyError


def quoted(path: str) -> str:
    """A program's path as ExecStart= takes it: never one with quotes or backslashes."""
    path = path.replace("%", "%%")
    return f'"{path}"' if " " in path else path


def unit_text(tallyd: str, user: bool) -> str:
    """The unit for the system's manager or a user's. TallyError if the package lacks it."""
    path = paths.unit_file()
    if path is None:
        raise TallyError("tallyd.service is missing from the package; reinstall tally-gpu")
    text = path.read_text(encoding="utf-8").replace("@TALLYD@", quoted(tallyd))
    if user:
        head, _, rest = text.partition("# The system's manager only")
        text = head + "[Install]" + rest.partition("[Install]")[2]
        text = text.replace("multi-user.target", "default.target")
    return text


@click.command(
    epilog="""\b
Examples:
  tally service | sudo tee /etc/systemd/system/tallyd.service
  sudo systemctl daemon-reload && sudo systemctl enable --now tallyd
\b
  mkdir -p ~/.config/systemd/user
  tally service --user > ~/.config/systemd/user/tallyd.service
  systemctl --user daemon-reload && systemctl --user enable --now tallyd"""
)
@click.option("--user", is_flag=True, help="For `systemctl --user`: without what needs root.")
def command(user: bool) -> None:
    """Print a systemd unit for tallyd."""
    beside = Path(sys.executable).with_name("tallyd")
    tallyd = str(beside) if beside.exists() else shutil.which("tallyd") or "tallyd"
    click.echo(unit_text(tallyd, user), nl=False)
