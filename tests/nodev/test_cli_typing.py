"""That the type check sees errors in every part of the package: one is planted against each."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import typecheck

pytest.importorskip("mypy", reason="needs tally-gpu[lint]")

PLANTED = """\
from tally.client import connect
from tally.config import Config
from tally.daemon.supervisor.jobs import JobTable
from tally.interpose import __name__ as interpose
from tally.scheduler import __name__ as scheduler
from tally.workloads import __name__ as workloads

connect(timeout_s="soon")
Config(sessions_max="many")
JobTable("few", "t")
1 + interpose + scheduler + workloads
"""


def test_a_planted_type_error_is_seen(tmp_path: Path) -> None:
    typecheck.arrange(tmp_path)
    planted = tmp_path / "tally" / "planted.py"
    planted.write_text(PLANTED)
    done = typecheck.run_mypy(tmp_path, "-m", "tally.planted")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = {int(line.split(":")[1]) for line in done.stdout.splitlines() if "planted.py:" in line}
    assert lines == {8, 9, 10, 11}, done.stdout
    planted.write_text(PLANTED.partition("\n\n")[0] + "\n")
    done = typecheck.run_mypy(tmp_path, "-m", "tally.planted")
    assert "planted.py" not in done.stdout, done.stdout
