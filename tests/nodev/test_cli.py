"""The commands as users run them: text and exit statuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.console import one_line, run
from support.daemon import script
from support.supervised import Supervised

import tally
from tally import render
from tally.client import protocol
from tally.main import COMMANDS


@pytest.fixture(scope="module")
def supervised() -> Iterator[Supervised]:
    with Supervised() as running:
        yield running


def test_ps_and_stats(supervised: Supervised) -> None:
    with supervised.client() as client:
        job = client.start_job(["prog", "[bold]arg"], name="[red]shown", job_class="high")
        with supervised.client() as other:
            other.start_job(["other"], priority=-7, weight=3)
    done = run("tally", "ps", runtime_dir=supervised.runtime_dir)
    assert done.returncode == 0, done.stderr
    assert "[red]shown" in done.stdout and "prog [bold]arg" in done.stdout
    heading, first, second = (line.split() for line in done.stdout.splitlines()[:3])
    assert heading[2:6] == ["CLASS", "PRIORITY", "WEIGHT", "STATE"]
    assert first[2:6] == ["high", "0", "-", "running"]
    assert second[2:6] == ["best-effort", "-7", "3", "running"]
    done = run("tally", "stats", runtime_dir=supervised.runtime_dir)
    assert done.returncode == 0, done.stderr
    assert "device 0: stub device, ready" in done.stdout
    assert "policy tally; high launches that met best-effort work: 10\n" in done.stdout
    assert "turnaround p50 9us, p99 29us, max 30us, mean 10us\n" in done.stdout
    assert "estimated 11us (off by 2us); starts over the bound: 2\n" in done.stdout
    done = run("tally", "stats", "--schedule", runtime_dir=supervised.runtime_dir)
    assert done.returncode == 0, done.stderr
    assert "PREEMPTED" in done.stdout and "[red]shown" in done.stdout
    done = run("tally", "stats", "--json", job, runtime_dir=supervised.runtime_dir)
    (entry,) = json.loads(done.stdout)["jobs"]
    assert entry["name"] == "[red]shown"
    done = run("tally", "stats", "nonesuch", runtime_dir=supervised.runtime_dir)
    assert done.returncode == 1
    assert "tally ps --all" in one_line(done)


def test_watch(supervised: Supervised) -> None:
    flags = ["stats", "--json", "--watch", "--interval", "0.1"]
    process = subprocess.Popen(
        [script("tally"), "--runtime-dir", str(supervised.runtime_dir), *flags],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    snapshots = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.stdout.close()
    assert snapshots[0]["time_s"] < snapshots[2]["time_s"]


def test_doctor(supervised: Supervised, tmp_path: Path) -> None:
    done = run("tally", "doctor", "--json", runtime_dir=supervised.runtime_dir)
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["tallyd"]["level"] == "ok"
    assert findings["executor 0"]["text"] == "stub device, ready"
    assert findings["libzmq"]["level"] == "ok"
    assert done.returncode == any(f["level"] == "problem" for f in findings.values())
    done = run("tally", "doctor", runtime_dir=tmp_path)
    assert done.returncode == 1
    assert "start it with `tallyd`" in " ".join(done.stdout.split())


def test_version(supervised: Supervised) -> None:
    done = run("tally", "version", runtime_dir=supervised.runtime_dir)
    assert (
        done.stdout.splitlines()[0] == f"tally  {tally.__version__} (protocol {protocol.VERSION})"
    )
    assert f"pid {os.getpid()}" in done.stdout
    assert run("tallyd", "--version").stdout == f"tallyd {tally.__version__}\n"


def test_service() -> None:
    system = run("tally", "service").stdout
    user = run("tally", "service", "--user").stdout
    assert f"ExecStart={script('tallyd')}\n" in system
    assert "ProtectSystem=strict" in system and "ProtectSystem" not in user
    assert "WantedBy=multi-user.target" in system and "WantedBy=default.target" in user


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    done = run("tally", name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: tally {name} ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert f"{shell}_source" in run("tally", "completion", shell).stdout


def test_render() -> None:
    assert [render.time_ns(v) for v in (None, 0, 870, 12_345, 4_560_000, 7.89e9)] == [
        *("-", "0ns", "870ns", "12.3us"),
        *("4.56ms", "7.89s"),
    ]
    assert [render.time_ns(v) for v in (999_400, 999_950)] == ["999us", "1000us"]
    assert [render.size(v) for v in (0, 1536, 20 * 2**30)] == ["0B", "1.5KiB", "20GiB"]
    assert render.size(999.9 * 2**20) == "1000MiB"
    assert [render.duration(v) for v in (4.2, 185, 7620, 442_800)] == [
        *("4.2s", "3m05s"),
        *("2h07m", "5d03h"),
    ]
