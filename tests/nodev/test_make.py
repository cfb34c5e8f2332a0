"""The Makefile: when it installs anew."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("editable", "installs"), [(True, False), (False, True), (None, True)])
def test_an_install_that_is_not_makes_own_is_replaced(
    tmp_path: Path, editable: bool | None, installs: bool
) -> None:
    """As README's `pip install .` leaves one in the environment that `make demo` has made."""
    info = tmp_path / "lib" / "python3.11" / "site-packages" / "tally_gpu-0.1.0.dist-info"
    for folder in (tmp_path / "bin", info):
        folder.mkdir(parents=True)
    for name in ("bin/python", "stamp-tools", "stamp-workloads"):  # in the order of their making
        (tmp_path / name).touch()
    if editable is not None:
        flag = ' "editable": true' if editable else ""
        (info / "direct_url.json").write_text(f'{{"dir_info": {{{flag}}}, "url": "file:///x"}}')
    done = subprocess.run(
        ["make", "--dry-run", "demo", f"VENV={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("--editable" in done.stdout) == installs
    assert "tally.workloads.demo" in done.stdout
