"""The commands as users run them: text, exit statuses, and what `tally run` does to a program."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.daemon import plain_environment, script, wait_until
from support.supervised import Supervised

import tally
from tally import render, signals
from tally.client import paths, protocol
from tally.daemon.runtime import RuntimeDir
from tally.errors import EXIT_STATUSES, TallyError
from tally.main import COMMANDS

needs_shim = pytest.mark.skipif(
    paths.shim() is None, reason="the package was built without the shim"
)


@pytest.fixture(scope="module")
def supervised() -> Iterator[Supervised]:
    with Supervised() as running:
        yield running


def run(
    *argv: str, runtime_dir: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A console script to its end. Colours and the width of a terminal do not matter in a pipe."""
    environment = {**plain_environment(), **(env or {})}
    if runtime_dir:
        environment["TALLY_RUNTIME_DIR"] = str(runtime_dir)
    return subprocess.run(
        [script(argv[0]), *argv[1:]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error that a command ended with: exactly one line, and nothing on standard output."""
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


# ---- errors -------------------------------------------------------------------------------------


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


# ---- tally run ----------------------------------------------------------------------------------


def tally_run(supervised: Supervised, *argv: str) -> list[str]:
    return [script("tally"), "--runtime-dir", str(supervised.runtime_dir), "run", *argv]


@needs_shim
def test_run_sets_the_environment(supervised: Supervised) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    done = run(
        *("tally", "run", "--name", "env", "--class", "high", "--", sys.executable, "-c", code),
        runtime_dir=supervised.runtime_dir,
        env={"LD_LIBRARY_PATH": "/theirs"},
    )
    assert done.returncode == 0, done.stderr
    inside = json.loads(done.stdout)
    shim = paths.shim()
    assert shim is not None
    assert inside["LD_PRELOAD"] == str(shim)
    assert inside["LD_LIBRARY_PATH"] == f"{shim.parent}:/theirs"
    assert inside["TRITON_LIBCUDA_PATH"] == str(shim.parent)
    assert Path(inside["TALLY_LIBZMQ"]).is_file()
    assert inside["TALLY_RUNTIME_DIR"] == str(supervised.runtime_dir)
    with supervised.client() as client:
        record = next(job for job in client.jobs() if job.name == "env")
    assert (record.id, record.job_class) == (inside["TALLY_JOB"], "high")
    assert record.argv[0] == sys.executable


@needs_shim
@pytest.mark.parametrize(
    ("flags", "by"),
    [
        (["--class", "best-effort"], 10),
        (["--class", "high"], 0),
        (["--nice", "0"], 0),
        (["--class", "high", "--nice", "3"], 3),
    ],
)
def test_best_effort_commands_give_way_on_the_cpu(
    supervised: Supervised, flags: list[str], by: int
) -> None:
    argv = tally_run(supervised, *flags, "--", sys.executable, "-c", "import os; print(os.nice(0))")
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(19, os.nice(0) + by)


@needs_shim
@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_run_passes_the_exit_status_on(supervised: Supervised, code: int) -> None:
    done = subprocess.run(tally_run(supervised, "sh", "-c", f"exit {code}"), check=False)
    assert done.returncode == code


@needs_shim
def test_run_passes_signals_on(supervised: Supervised) -> None:
    process = subprocess.Popen(
        tally_run(
            supervised, "sh", "-c", "trap 'echo got it; exit 7' TERM; echo up; sleep 20 & wait"
        ),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "got it\n"
    process.stdout.close()
    assert process.wait(10) == 7
    killed = subprocess.run(tally_run(supervised, "sh", "-c", "kill -9 $$"), check=False)
    assert killed.returncode == -signal.SIGKILL


# What a starter may have done to signals; exec passes all of it on.
STARTS = {
    "as they are": "",
    "ignored": (
        "for n in {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}:"
        " signal.signal(n, signal.SIG_IGN)\n"
    ),
    "all ignored": (
        "for n in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, *PYTHONS}:"
        " signal.signal(n, signal.SIG_IGN)\n"
    ),
    "blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n",
    "pending": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGRTMIN})\n"
        "signal.raise_signal(signal.SIGUSR1); signal.raise_signal(signal.SIGRTMIN)\n"
    ),
    # As a starter that itself came from glibc's posix_spawn(); whoever runs these tests may be one.
    "glibc's ignored": (
        "import ctypes\n"
        "call = {'x86_64': 13, 'aarch64': 134}[os.uname().machine]\n"
        "for n in (32, 33): ctypes.CDLL(None).syscall("
        "ctypes.c_long(call), n, (ctypes.c_uint64 * 4)(1), None, ctypes.c_size_t(8))\n"
    ),
}


def without_internal(status: bytes) -> bytes:
    """Lines of /proc/PID/status as if glibc's own signals, which tally run clears, had no say."""
    internal = sum(1 << (number - 1) for number in signals.INTERNAL)

    def cleared(line: re.Match[bytes]) -> bytes:
        return b"SigIgn:\t%016x" % (int(line[1], 16) & ~internal)

    return re.sub(rb"SigIgn:\t([0-9a-f]{16})", cleared, status)


@needs_shim
@pytest.mark.parametrize("start", STARTS)
def test_run_leaves_signals_as_they_were(supervised: Supervised, start: str) -> None:
    """Python ignores SIGPIPE and SIGXFSZ; the command must not inherit that."""
    code = (
        "import os, signal, sys\n"
        "PYTHONS = {signal.SIGPIPE, signal.SIGXFSZ}\n"
        "for n in PYTHONS: signal.signal(n, signal.SIG_DFL)\n"
        f"{STARTS[start]}os.execvp(sys.argv[1], sys.argv[1:])"
    )
    # Not SigQ: that counts what is queued for all processes of this user.
    masks = ["grep", "-E", "^(SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt)", "/proc/self/status"]

    def seen(argv: list[str]) -> bytes:
        command = [sys.executable, "-c", code, *argv]
        # With pass_fds no Python uses posix_spawn(): what that does is the next test's.
        done = subprocess.run(command, capture_output=True, check=True, pass_fds=(0,))
        return done.stdout

    plain = seen(masks)
    assert seen(tally_run(supervised, *masks)) == without_internal(plain)
    assert plain.count(b"\n") == 5


@needs_shim
def test_run_clears_what_posix_spawn_leaves_ignored(supervised: Supervised) -> None:
    """glibc's own signals, which it leaves ignored; Python 3.13 starts programs that way."""
    masks = ["grep", "^SigIgn", "/proc/self/status"]
    reader, writer = os.pipe()
    argv = tally_run(supervised, *masks)
    pid = os.posix_spawn(
        argv[0],
        argv,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_CLOSE, reader)],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )
    os.close(writer)
    with open(reader, "rb") as output:
        under = output.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    plain = subprocess.run(masks, capture_output=True, check=True).stdout
    assert under == without_internal(plain)


@needs_shim
def test_run_leaves_the_terminal_alone(supervised: Supervised) -> None:
    master, slave = pty.openpty()
    done = subprocess.run(
        tally_run(supervised, "sh", "-c", "test -t 0 && test -t 1 && tty"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        check=False,
    )
    os.close(slave)
    assert done.returncode == 0
    assert b"/dev/pts/" in os.read(master, 1000)
    os.close(master)


@needs_shim
def test_run_leaks_no_descriptor(supervised: Supervised) -> None:
    plain = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, check=True)
    under = subprocess.run(
        tally_run(supervised, "ls", "/proc/self/fd"), capture_output=True, check=True
    )
    assert under.stdout == plain.stdout


@needs_shim
def test_options_of_the_command_are_its_own(supervised: Supervised) -> None:
    for separator in ([], ["--"]):
        done = subprocess.run(
            tally_run(supervised, *separator, "echo", "--class", "-x", "--"),
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"--class -x --\n"


@needs_shim
def test_children_belong_to_the_job(supervised: Supervised) -> None:
    process = subprocess.Popen(
        tally_run(supervised, "--name", "family", "sh", "-c", "sleep 60 & echo up; wait"),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    with supervised.client() as client:
        record = next(job for job in client.jobs() if job.name == "family")
        assert record.pid == process.pid
        assert len(record.processes) == 2
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        wait_until(
            lambda: next(job for job in client.jobs() if job.name == "family").state == "done",
            5,
            "the job's end is noticed",
        )


@needs_shim
def test_run_starts_fast(supervised: Supervised) -> None:
    """Less than 0.3 s of work before the command's own. What it waits for is one reply.

    In CPU time, and the best of some: what else the machine does must not decide.
    """

    def seconds(argv: list[str]) -> float:
        process = subprocess.Popen(argv)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return used.ru_utime + used.ru_stime

    best = float("inf")
    for _ in range(30):
        best = min(best, seconds(tally_run(supervised, "true")))
        if best < 0.3:
            break
    assert best < 0.3


def test_run_imports_nothing_heavy() -> None:
    """What would make `tally run` slow; each of these takes tens of milliseconds."""
    code = (
        "import sys; import tally.main, tally.commands.run\n"
        "print([m for m in ('asyncio', 'rich', 'psutil', 'numpy', 'prometheus_client', 'llvmlite')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---- the other commands ------------------------------------------------------------------------


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
