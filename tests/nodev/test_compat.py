"""What surrounds `make compat`, without torch: its environment, its report, its messages."""

from __future__ import annotations

import json
import shutil
import types
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from tally.errors import TallyError
from tally.workloads import compat, compat_torch, compat_venv

Usage = namedtuple("Usage", "total used free")


def environment_that_says(folder: Path, script: str) -> Path:
    """A virtual environment's look: a `python` that does what the script says."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return folder


def test_an_environment_with_torch_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = environment_that_says(tmp_path / "venv", "echo 2.9.0+cu130 13.0")
    assert compat_venv.python_with_torch(folder, "torch") == folder / "bin" / "python"


def test_torch_without_cuda_is_refused(tmp_path: Path) -> None:
    folder = environment_that_says(tmp_path / "venv", "echo 2.9.0+cpu")
    with pytest.raises(TallyError, match=r"2\.9\.0\+cpu .* without CUDA.*--torch"):
        compat_venv.python_with_torch(folder, "torch")


def test_a_small_disk_is_told_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 3 << 30))
    with pytest.raises(TallyError, match=r"10 GiB of disk, and .* 3\.0 GiB; .*--venv"):
        compat_venv.python_with_torch(tmp_path / "venv", "torch")
    assert not list((tmp_path / "venv").iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TallyError, match="cannot be used"):
        compat_venv.python_with_torch(tmp_path / "file" / "venv", "torch")


def test_a_failed_installation_says_what_to_do_and_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 30 << 30))
    folder, log = tmp_path / "venv", tmp_path / "log"
    environment_that_says(folder, f'[ "$1" = -c ] && exit 1; echo "$@" "$TMPDIR" >> {log}; exit 1')
    for _ in range(2):
        with pytest.raises(TallyError, match=r"pip could not install torch==9.*--venv FOLDER"):
            compat_venv.python_with_torch(folder, "torch==9")
    lines = log.read_text().splitlines()
    assert len(lines) == 2 and all("pip install" in line and "torch==9" in line for line in lines)
    assert all(line.endswith(str(folder / "unpacking")) for line in lines)
    assert not (folder / "unpacking").exists()


def test_nothing_of_ours_leaks_into_torchs_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    given = compat_venv.environment()
    assert "PYTHONPATH" not in given and given["PYTHONNOUSERSITE"] == "1"


def stub_torch() -> Any:
    cuda = types.SimpleNamespace(get_device_name=lambda _: "a device")
    return types.SimpleNamespace(
        __version__="9", version=types.SimpleNamespace(cuda="13"), cuda=cuda
    )


def test_the_report_ends_with_the_step_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"

    def first(torch: Any, dry: bool) -> None:
        """the first"""

    def second(torch: Any, dry: bool) -> None:
        """the second"""
        during = json.loads(report.read_text())
        assert [s["result"] for s in during["steps"]] == ["ok", "the program ended", "not run"]
        raise ValueError("no such thing")

    monkeypatch.setattr(compat_torch, "STEPS", [first, second, first])
    assert not compat_torch.walk(stub_torch(), True, report)
    seen = json.loads(report.read_text())
    assert [step["result"] for step in seen["steps"]] == ["ok", "failed", "not run"]
    assert (seen["torch"], seen["device"]) == ("9", "a device")
    assert "no such thing" in capsys.readouterr().err
    monkeypatch.setattr(compat_torch, "STEPS", [first])
    assert compat_torch.walk(stub_torch(), True, None)


def test_the_table_says_that_nothing_was_computed(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [
        {"name": "one", "what": "this", "result": "ok", "seconds": 1.25},
        {"name": "two", "what": "that", "result": "not run", "seconds": None},
    ]
    report = {"torch": "9", "cuda": "13", "device": "soft", "steps": steps}
    job: Any = types.SimpleNamespace(unsupported={"cuFoo": 2}, stats={"counters": {"launches": 7}})
    compat.show(report, job, dry=True)
    shown = capsys.readouterr().out
    assert "NOT computed" in shown and "answered" in shown and "right" not in shown
    assert "launches: 7. Unsupported calls: cuFoo (2)." in shown
    compat.show(report, job, dry=False)
    shown = capsys.readouterr().out
    assert "right" in shown and "computed" not in shown
