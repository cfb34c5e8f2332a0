"""tests/bare.sh: what commands find there, and what they do not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no clone of a repository"
)


def bare(tmp_path: Path, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
    home = tmp_path / "home"
    (home / ".config" / "pip").mkdir(parents=True, exist_ok=True)
    (home / ".config" / "pip" / "pip.conf").write_text("[global]\n")
    return subprocess.run(
        [ROOT / "tests" / "bare.sh", *argv],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(tmp_path), **settings},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_nothing_but_what_is_asked_for(tmp_path: Path) -> None:
    look = "for tool in python3 gcc make git g++ clang cmake ptxas; do command -v $tool; done; true"
    done = bare(tmp_path, look)
    assert done.returncode == 0, done.stderr
    found = [Path(line) for line in done.stdout.splitlines() if line.startswith("/")]
    assert [path.name for path in found] == ["python3", "gcc", "make", "git"]
    assert len({path.parent for path in found}) == 1


def test_settings_of_pip_pass_and_no_others(tmp_path: Path) -> None:
    done = bare(
        tmp_path,
        "env; echo HAS=$(ls -A ~)",
        PIP_FIND_LINKS="a 'quoted' path", PIP_CACHE_DIR="/cache", SSL_CERT_FILE="/cert",
        CC="clang", TALLY_DEVICE="soft", PYTHONPATH="/elsewhere",
    )  # fmt: skip
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert seen["PIP_FIND_LINKS"] == "a 'quoted' path"
    assert seen["SSL_CERT_FILE"] == "/cert"
    assert seen["PIP_CONFIG_FILE"] == str(tmp_path / "home" / ".config" / "pip" / "pip.conf")
    assert seen["HAS"] == "", "the home is not empty"
    assert not seen.keys() & {"PIP_CACHE_DIR", "CC", "TALLY_DEVICE", "PYTHONPATH"}


def test_it_is_a_clone_and_goes_again(tmp_path: Path) -> None:
    done = bare(tmp_path, "git rev-parse HEAD; test ! -e .venv", "false", "echo never")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert head.stdout.strip() in done.stdout.splitlines()
    assert done.returncode == 1
    assert "failed: false" in done.stderr
    assert "never" not in done.stdout
    assert not list(tmp_path.glob("tally-bare.*"))
