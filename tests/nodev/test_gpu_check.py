"""`make gpu-check`'s stages: bounded, apart from one another, and told of whatever happens."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tally.workloads import gpu_check
from tally.workloads.gpu_check import Stage

WRITE = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "a.json").write_text(json.dumps(dict(device=sys.argv[2])))
(folder / "b.json").write_text("no JSON")
"""


def stage(name: str, code: str, seconds_max: float = 30) -> Stage:
    return Stage(name, "something", seconds_max, (sys.executable, "-c", code))


def results(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "results.json").read_text())["stages"]
    return found


def test_a_stage_that_fails_does_not_end_the_rest(tmp_path: Path) -> None:
    stages = [
        stage("falls", "print('said'); raise SystemExit(3)"),
        stage("crashes", "import os; os.abort()"),
        Stage("writes", "x", 30, (sys.executable, "-c", WRITE, "{out}", "{device}")),
    ]
    assert not gpu_check.check("soft", stages, 60, tmp_path, "this")
    falls, crashes, writes = results(tmp_path)
    assert (falls["ended"], falls["output"]) == ("failed (3)", "said\n")
    assert crashes["ended"] == "failed (-6)"
    assert (writes["ended"], writes["found"]) == ("passed", {"a.json": {"device": "soft"}})


def test_a_stage_that_takes_too_long_is_stopped_with_its_children(tmp_path: Path) -> None:
    code = "import os, sys, time\nprint(os.fork() or os.getpid(), flush=True)\ntime.sleep(600)\n"
    began = time.monotonic()
    assert not gpu_check.check("soft", [stage("hangs", code, 1)], 60, tmp_path, "this")
    assert time.monotonic() - began < 30
    (hangs,) = results(tmp_path)
    assert hangs["ended"] == "stopped after 1 s"
    for pid in {int(line) for line in hangs["output"].split()}:
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_the_budget_does_not_reach_is_said(tmp_path: Path) -> None:
    stages = [stage("long", "import time; time.sleep(600)"), stage("late", "pass")]
    assert not gpu_check.check("soft", stages, gpu_check.LEAST_SECONDS + 1, tmp_path, "this")
    long, late = results(tmp_path)
    assert long["ended"].startswith("stopped after")
    assert late["ended"] == "not begun: no time was left"


def test_results_are_there_after_each_stage(tmp_path: Path) -> None:
    look = "import sys; print(open(sys.argv[1]).read())"
    stages = [
        stage("first", "pass"),
        Stage("second", "x", 30, (sys.executable, "-c", look, str(tmp_path / "results.json"))),
    ]
    assert gpu_check.check("soft", stages, 60, tmp_path, "this")
    seen = json.loads(results(tmp_path)[1]["output"])
    assert [result["stage"] for result in seen["stages"]] == ["first"]


def test_an_unknown_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu_check.main(["--device", "soft", "--stages", "driver,nosuch"])
    assert ended.value.code == 2
    assert "there is no stage 'nosuch'; there are driver, forwarded" in capsys.readouterr().err
