"""The package itself: where its modules come from, its version, and what it says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

import tally

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A site-packages folder with a Tally of which each module says where it is."""
    package = tmp_path / "site" / "tally"
    for name in ("__init__", "main", "client/__init__", "workloads/__init__"):
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("print(__file__)\n")
    return package.parent


def run(site: Path, folder: Path, *argv: str) -> list[str]:
    """Where modules come from. -S: without this environment's own, editable, Tally."""
    done = subprocess.run(
        [sys.executable, "-S", *argv],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.parametrize("module", ["tally.client", "tally.workloads", "tally.main"])
def test_a_checkout_does_not_hide_the_installed_package(installed: Path, module: str) -> None:
    """`import tally...` in a checkout, whose folder `tally/` is a part of the package."""
    wanted = installed / module.replace(".", "/")
    for folder in (ROOT, installed):
        paths = run(installed, folder, "-c", f"import {module}")
        assert paths[-1] in (f"{wanted}.py", f"{wanted}/__init__.py")


def test_a_checkout_alone_says_what_it_lacks(tmp_path: Path) -> None:
    code = (
        "import tally, importlib.util as u; print(u.find_spec('tally.client'), tally.__version__)"
    )
    assert run(tmp_path, ROOT, "-c", code) == [f"None {tally.__version__}"]


def test_the_version_stands_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]
    assert metadata.version("tally-gpu") == tally.__version__


def test_the_package_has_types() -> None:
    assert resources.files("tally").joinpath("py.typed").is_file()
