"""What the commands say when something is wrong: one line, and its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.console import one_line, run
from support.daemon import plain_environment, script
from support.supervised import Supervised

import tally
from tally.client import protocol
from tally.daemon.runtime import RuntimeDir
from tally.errors import EXIT_STATUSES, TallyError
from tally.main import COMMANDS


@pytest.fixture(scope="module")
def supervised() -> Iterator[Supervised]:
    with Supervised() as running:
        yield running


@pytest.mark.parametrize(
    ("argv", "status", "wanted"),
    [
        (["tally", "runn"], 2, 'unknown command "runn"; did you mean "run"?'),
        (["tally", "--hlep"], 2, "Did you mean"),
        (["tally", "run"], 2, "Missing argument 'COMMAND...'. See `tally run --help`."),
        (["tally", "trace", "record"], 2, "See `tally trace record --help`."),
        (["tally", "trace", "show", "/nonesuch"], 1, "/nonesuch cannot be read: No such file"),
        (["tally", "trace", "show", "/etc/passwd"], 1, "line 1: not a trace or recording"),
        (["tally", "simulate", "--trace", "/nonesuch"], 1, "/nonesuch cannot be read: No such"),
        (["tally", "simulate", "--mixes", "/nonesuch"], 1, "/nonesuch cannot be read: No such"),
        (["tally", "simulate", "--mixes", "/etc/passwd"], 1, "/etc/passwd: not valid TOML"),
        (["tally", "simulate", "--save-trace", "/nonesuch/t"], 1, "cannot write /nonesuch/t"),
        (["tally", "simulate", "--turnaround-us", "-5"], 2, "-5.0 is not in the range"),
        (["tally", "simulate", "--stops-percent", "101"], 2, "use a number from 0 to 100"),
        (["tally", "simulate", "--stops-percent", "nan"], 2, "'nan' is not a valid number."),
        (["tally", "simulate", "--seed", "-1"], 2, "-1 is not in the range"),
        (["tally", "simulate", "--hysteresis-us", "-5"], 2, "-5.0 is not in the range"),
        (["tally", "simulate", "--seconds", "0"], 2, "0.0 is not in the range"),
        (["tally", "simulate", "--load", "1.5"], 2, "1.5 is not in the range"),
        (["tally", "run", "--class", "hihg", "true"], 2, "'hihg' is not one of 'high'"),
        (["tally", "run", "--priority", "x", "true"], 2, "--priority"),
        (["tally", "run", "--priority", "999", "true"], 2, "--priority"),
        (["tally", "run", "--nice", "-1", "true"], 2, "--nice"),
        (["tally", "run", "--weight", "x", "true"], 2, "'x' is not a valid integer."),
        (["tally", "run", "--memory", "8X", "true"], 2, "'8X' is not a size: write 8G"),
        (["tally", "run", "--memory", "1", "true"], 2, "'1' is not from 1048576 to"),
        (["tally", "run", "--memory", "9999999T", "true"], 2, "'9999999T' is not from"),
        (["tally", "run", "--class", "high", "--weight", "2", "true"], 2, "for best-effort jobs"),
        (["tally", "run", "true"], 4, "tallyd is not running"),
        (["tally", "ps"], 4, "start it with `tallyd`"),
        (["tally", "stats"], 4, "start it with `tallyd`"),
        (["tally", "shutdown"], 4, "start it with `tallyd`"),
        (["tally", "run", "nonesuch-command"], 127, "command not found"),
        (["tally", "run", "/nonesuch/command"], 127, "command not found"),
        (["tally", "run", "/etc/passwd"], 126, "cannot be executed"),
        (["tally", "run", "/"], 126, "cannot be executed"),
        (["tallyd", "--devcie", "soft"], 2, "Did you mean '--device'?"),
        (["tallyd", "--device", "sofft"], 2, "use auto, cuda, soft or soft:N"),
        (["tallyd", "--config", "/nonesuch.toml"], 2, "/nonesuch.toml: cannot be read"),
        (
            ["tallyd", "--stops-percent-max", "x"],
            2,
            'tallyd: --stops-percent-max: "x" is not a number',
        ),
        (["tallyd", "extra"], 2, "unexpected extra argument"),
    ],
)
def test_errors(short_path: Path, argv: list[str], status: int, wanted: str) -> None:
    done = run(*argv, runtime_dir=short_path / "run")
    assert done.returncode == status, done.stderr
    assert wanted in one_line(done)


def test_a_library_that_is_not_there(supervised: Supervised) -> None:
    gone = {"TALLY_LIBZMQ": "/nonesuch/libzmq.so.5"}
    wanted = "environment variable TALLY_LIBZMQ: there is no file /nonesuch/libzmq.so.5"
    done = run("tally", "run", "true", runtime_dir=supervised.runtime_dir, env=gone)
    assert done.returncode == 2 and wanted in one_line(done)
    with tempfile.TemporaryDirectory(prefix="tally-") as folder:
        flags = ["--device", "soft", "--runtime-dir", f"{folder}/run", "--state-dir", folder]
        done = run("tallyd", *flags, env=gone)
    assert done.returncode == 2 and wanted in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert wanted in run("tally", "doctor", env=gone).stdout


def test_shutdown_returns_when_another_tallyd_can_start() -> None:
    for _ in range(3):
        with Supervised() as running:
            assert run("tally", "shutdown", runtime_dir=running.runtime_dir).returncode == 0
            RuntimeDir(running.runtime_dir).close()


def test_messages_of_several_lines_are_one() -> None:
    assert "Choose from: bash, zsh, fish. See" in one_line(run("tally", "completion"))


def test_a_relative_runtime_folder(supervised: Supervised) -> None:
    """Means the same one to a program that goes elsewhere."""
    parent, name = supervised.runtime_dir.parent, supervised.runtime_dir.name
    for flags, env in (["--runtime-dir", name], {}), ([], {"TALLY_RUNTIME_DIR": name}):
        done = subprocess.run(
            [script("tally"), *flags, "run", "printenv", "TALLY_RUNTIME_DIR"],
            env={**plain_environment(), **env},
            cwd=parent,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{parent / name}\n"


@pytest.mark.parametrize("name", ["tally", "tallyd"])
def test_the_version_flag(name: str) -> None:
    done = run(name, "--version")
    assert (done.returncode, done.stdout) == (0, f"{name} {tally.__version__}\n")


@pytest.mark.parametrize(
    "argv",
    [
        *([name] for name in ("tally", "tallyd")),
        *(["tally", name] for name in COMMANDS),
        *(["tally", *pair.split()] for pair in ("trace record", "trace show")),
        *(["tally", *pair.split()] for pair in ("profile show", "profile clear")),
    ],
)
def test_help_is_not_cut_off(argv: list[str]) -> None:
    done = run(*argv, "--help", env={"COLUMNS": "80"})
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert done.returncode == 0 and "..." not in done.stdout.replace("COMMAND...", "").replace(
        "[ARGS]...", ""
    )


def test_config_typo(tmp_path: Path) -> None:
    (tmp_path / "tally.toml").write_text("polcy = 'fifo'\n")
    done = run("tallyd", "--config", str(tmp_path / "tally.toml"))
    assert done.returncode == 2
    assert 'unknown setting "polcy"; did you mean "policy"?' in one_line(done)


def test_no_driver(tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    with tempfile.TemporaryDirectory() as folder:  # tmp_path may be too long for sockets
        flags = ["--runtime-dir", folder, "--state-dir", str(tmp_path / "state")]
        done = run("tallyd", "--device", "cuda", *flags)
    assert done.returncode == 3
    assert "no CUDA device can be used" in one_line(done)


def test_second_daemon(supervised: Supervised, tmp_path: Path) -> None:
    flags = ["--runtime-dir", str(supervised.runtime_dir), "--state-dir", str(tmp_path)]
    done = run("tallyd", "--device", "soft", *flags)
    assert done.returncode == 5
    assert "another tallyd" in one_line(done)


def test_other_protocol_version(supervised: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from tally.client import protocol; protocol.VERSION = 77\n"
        "from tally.main import main; sys.argv = ['tally', 'ps']; main()"
    )
    environment = {**plain_environment(), "TALLY_RUNTIME_DIR": str(supervised.runtime_dir)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 6
    assert f"protocol version 77 meets a tallyd that speaks {protocol.VERSION}" in one_line(done)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("command", [["ps"], ["run", "--", "true"]])
def test_unreadable_socket(supervised: Supervised, command: list[str]) -> None:
    # What is imported late may lie where the other user cannot read.
    code = (
        "import os, sys; from tally.main import main; from tally.commands import ps, run\n"
        "import tally.client.api\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"sys.argv = ['tally', *{command!r}]; main()"
    )
    environment = {**plain_environment(), "TALLY_RUNTIME_DIR": str(supervised.runtime_dir)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 4
    assert "no permission to use" in one_line(done)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_another_users_daemon_is_found_where_it_may_not_be_used(tmp_path: Path) -> None:
    """A machine's tallyd without `group`: nobody else can look into its folder."""
    closed = tmp_path / "machine"
    closed.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    code = (
        "import os; from pathlib import Path; from tally.client import paths\n"
        f"machine = Path({str(closed)!r})\n"
        "paths.MACHINE = machine\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(paths.client_runtime_dir({'XDG_RUNTIME_DIR': '/nonesuch'}) == machine)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "True\n", done.stderr


def test_exit_statuses_are_those_documented() -> None:
    def subclasses(base: type[TallyError]) -> set[type[TallyError]]:
        return {base}.union(*(subclasses(child) for child in base.__subclasses__()))

    documented = {status for status, _ in EXIT_STATUSES}
    assert {kind.exit_status for kind in subclasses(TallyError)} == documented - {0}
