"""`tally shutdown`: stop tallyd, now or when it is idle."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

import click

from tally.client.api import connect
from tally.errors import TallyError

SECONDS_MAX = 30.0


@click.command()
@click.option(
    "--drain", is_flag=True, help="Take no new jobs, and stop when the last session ends."
)
@click.pass_obj
def command(runtime_dir: Path, drain: bool) -> None:
    """Stop tallyd. Programs that use the GPU get CUDA errors, unless --drain waits for them.

    Returns when tallyd has ended; with --drain, at once.
    """
    with connect(runtime_dir) as client:
        client.shutdown(drain)
    if not drain:
        _wait_for_end(runtime_dir / "lock")


def _wait_for_end(lock: Path) -> None:
    """tallyd holds the lock until the last: another one can start then."""
    try:
        file = lock.open("rb")
    except (
        OSError
    ):  # gone with the folder already, or not for us to read: not for us to wait either
        return
    until_s = time.monotonic() + SECONDS_MAX
    with file:
        while time.monotonic() < until_s:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            else:
                return
    raise TallyError(f"tallyd has not ended within {SECONDS_MAX:g} s; see its log")
