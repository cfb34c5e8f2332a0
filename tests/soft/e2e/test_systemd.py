"""The unit that `tally service` prints, under a real systemd: started, killed, stuck, stopped."""

from __future__ import annotations

import grp
import sys
from pathlib import Path

import pytest
from support import systemd
from support.toolchain import Builder

from tally.commands.service import unit_text


@pytest.mark.parametrize("user", [False, True])
def test_tallyd_as_a_service(builder: Builder, tmp_path: Path, user: bool) -> None:
    """Under all of the unit's hardening; open to a group, and with a quicker watchdog."""
    if reason := systemd.why_not():
        pytest.skip(reason)
    driver = f"{sys.executable} {builder.folder / 'in_systemd.py'}"
    unit = unit_text(str(Path(sys.executable).with_name("tallyd")), user)
    assert "WatchdogSec=30\n" in unit
    group = "" if user else grp.getgrgid(65534).gr_name
    more = (
        f"[Service]\nExecStartPre={driver} --opens /dev/shm/device\n"
        f"Environment=TALLY_DEVICE=soft TALLY_GROUP={group}\n"
        f"StandardError=append:{tmp_path}/tallyd.log\n"
    )
    unit = unit.replace("WatchdogSec=30\n", "WatchdogSec=2\n").replace("[Service]\n", more)
    command = f"{driver} {builder.get('vector_add')} {'user' if user else 'system'}"
    assert systemd.run_under_systemd(tmp_path, unit, command, 90, user=user) == "ok\n"
    # The test's systemd has no cpu controller to delegate; nothing else is in the way of groups.
    log = (tmp_path / "tallyd.log").read_text()
    assert "CPU: best-effort programs" in log
    assert "no control groups" not in log or "has no cpu controller" in log, log
