"""Every setting of tallyd, with its one default, its check and its help text.

docs/configuration.md, the flags of `tallyd` and the TALLY_* variables all derive from `Config`, and
so does what an executor is told (`executor_values`), the engine's configuration and the scheduler's
limits. To add a setting, add a field. Later sources win: default, configuration file, environment,
flag.

A leaf module: it imports only other leaf modules of Tally, and every part may import it.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tally.client import paths

from .errors import ConfigError
from .policies import POLICIES

Value: TypeAlias = str | int | float | bool | Path | tuple[str, ...]

LOG_LEVELS = ("debug", "info", "warning", "error")

# TALLY_* variables that are no settings of tallyd: what `tally run` and developers set.
OTHER_VARIABLES = frozenset({"TALLY_CONFIG", "TALLY_JOB", "TALLY_LIBZMQ"})


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """What --device says: kind "auto", "cuda" or "soft", and how many devices (softgpu only)."""

    kind: str
    count: int = 1


def parse_device(text: str) -> DeviceChoice:
    """`auto`, `cuda`, `soft` or `soft:N`. ValueError for anything else."""
    match = re.fullmatch(r"auto|cuda|soft(?::([0-9]{1,2}))?", text)
    count = int(match[1]) if match and match[1] else 1
    if match is None or not 1 <= count <= 16:
        raise ValueError("use auto, cuda, soft or soft:N with N from 1 to 16")
    return DeviceChoice(text.partition(":")[0], count)


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPV6]:PORT`. ValueError for anything else."""
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", text)
    if match is None or not 0 <= int(match[3]) <= 65535:
        raise ValueError("use HOST:PORT, for example 127.0.0.1:9400")
    return match[1] or match[2], int(match[3])


def _check_device(value: Value) -> None:
    parse_device(str(value))


def _check_address(value: Value) -> None:
    if value:
        parse_address(str(value))


def _check_runtime_dir(value: Value) -> None:
    if len(os.fsencode(str(value))) > paths.RUNTIME_PATH_BYTES_MAX:
        raise ValueError(
            f"sockets need a path of at most {paths.RUNTIME_PATH_BYTES_MAX} bytes; "
            "choose a shorter one"
        )
    if not Path(str(value)).is_absolute():
        raise ValueError("use an absolute path")


def one_of(*choices: str) -> Callable[[Value], None]:
    """A check that the value is one of choices."""

    def check(value: Value) -> None:
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, 1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ValueError(f"use one of {', '.join(choices)}{hint}")

    return check


def between(least: float, most: float) -> Callable[[Value], None]:
    """A check that a number lies in [least, most]."""

    def check(value: Value) -> None:
        assert isinstance(value, int | float)
        if not least <= value <= most:
            raise ValueError(f"use a number from {least} to {most}")

    return check


def _check_descriptors(value: Value) -> None:
    if value != 0:
        between(256, 2**30)(value)


def _check_turnaround(value: Value) -> None:
    if value != 0.0:
        between(1.0, 1e6)(value)


def _anything(value: Value) -> None:
    return


def setting(
    default: Value | Callable[[], Value],
    text: str,
    check: Callable[[Value], None] = _anything,
    default_text: str = "",
    met: str = "",
    *,
    executor: bool = False,
    engine: bool = False,
    limit: tuple[str, float] | None = None,
) -> Any:
    """A field of Config. default_text describes a default that depends on who runs tallyd.

    met: of a limit, what happens where it is met; docs/configuration.md lists these.
    executor: executors read it, besides tallyd or instead.
    engine: it is the member of that name in struct tally_engine_config (native/engine/engine.h).
    limit: it is a member of struct tally_sched_limits (native/include/tally/sched.h): which, and
        what to multiply with for its unit.
    """
    metadata = {
        "help": text,
        "check": check,
        "default_text": default_text,
        "met": met,
        "executor": executor or engine or limit is not None,
        "engine": engine,
        "limit": limit,
    }
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def default_runtime_dir() -> Path:
    """The runtime folder of a tallyd that nobody told another one."""
    return paths.default_runtime_dir(os.environ, os.getuid())


def default_state_dir() -> Path:
    """Where a tallyd that nobody told otherwise keeps what outlives it."""
    if os.getuid() == 0:
        return Path("/var/lib/tally")
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "tally"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, checked."""

    device: str = setting(
        "auto",
        "What to run on: `cuda` (the machine's driver), `soft` or `soft:N` (N software GPUs), or "
        "`auto`: the driver where one works, else one software GPU.",
        _check_device,
    )
    runtime_dir: Path = setting(  # noqa: RUF009
        default_runtime_dir,
        "Folder of the sockets. Its owner and permissions decide who may connect.",
        _check_runtime_dir,
        "`$XDG_RUNTIME_DIR/tally`; without that variable `/run/tally` for root and "
        "`/tmp/tally-UID` for others",
        executor=True,
    )
    state_dir: Path = setting(  # noqa: RUF009
        default_state_dir,
        "Folder of what outlives tallyd: kernel profiles and the cache of rewritten code.",
        _anything,
        "`/var/lib/tally` for root, else `$XDG_STATE_HOME/tally` (`~/.local/state/tally`)",
        executor=True,
    )
    log_level: str = setting(
        "info",
        "One of debug, info, warning, error.",
        one_of(*LOG_LEVELS),
        executor=True,
    )
    policy: str = setting(
        "tally",
        "How launches are scheduled at the start; `tally policy` switches later. "
        + "; ".join(f"`{name}`: {text}" for name, text in POLICIES.items())
        + ".",
        one_of(*POLICIES),
        executor=True,
    )
    turnaround_us_max: float = setting(
        0.0,
        "Longest time in microseconds that best-effort work may keep a high launch waiting. 0: "
        "what suits the device.",
        _check_turnaround,
        "0: 31.6 on a GPU, 1000 on softgpu, whose blocks take longer",
        limit=("turnaround_ns_max", 1e3),
    )
    stops_percent_max: float = setting(
        2.0,
        "What best-effort work may cost high jobs by starting in their short gaps, in percent of "
        "their time (steps of 0.1). Gaps of 1 ms and more are always used, and shorter ones that "
        "are long in comparison with a stop.",
        between(0, 100),
        limit=("stops_permil_max", 10),
    )
    best_effort_min_percent: float = setting(
        0.0,
        "Share of the time, in percent (steps of 0.1), in which best-effort work is with the "
        "device even if high jobs never pause; what it gets in their gaps counts. Above 0, high "
        "launches wait for longer than turnaround_us_max then. Policies `tally` and `kernel`.",
        between(0, 100),
        limit=("best_effort_permil_min", 10),
    )
    watchdog_times: int = setting(
        50,
        "A best-effort kernel that was told to stop and does not end in so many times its estimate "
        "waits for blocks of its own that have not begun: they are run at once, and it is never "
        "stopped again. 0: no watchdog.",
        between(0, 1_000_000),
        limit=("watchdog_times", 1),
    )
    watchdog_seconds_min: float = setting(
        1.0,
        "The watchdog waits for at least so long, in time without high work.",
        between(0, 86_400),
        limit=("watchdog_ns_min", 1e9),
    )
    held_up_seconds_min: float = setting(
        10.0,
        "A launch that has waited for its turn for so long, while one kernel of another program "
        "has been with the device for as long, is told of in tallyd's log and by `tally doctor`. "
        "0: never.",
        between(0, 86_400),
        executor=True,
    )
    waiting_kernels: str = setting(
        "*ncclDevKernel*,*ncclKernel*,*ncclSymk*,*nvshmem*,*cross_device_reduce*,"
        "*one_shot_all_reduce*,*two_shot_all_reduce*,*multimem_all_*",
        "Names of kernels that wait for kernels of other processes, with `*` and `?`, separated by "
        "commas. They take no turn, run whole, beside whoever has the device, and are not charged.",
        engine=True,
    )
    metrics_address: str = setting(
        "",
        "HOST:PORT of the Prometheus endpoint `/metrics`; empty: none. Anyone who reaches the "
        "address can read job names.",
        _check_address,
        "none",
    )
    metrics_ended_seconds: float = setting(
        300.0,
        "How many seconds a job that has ended keeps numbers of its own in `/metrics`; after that "
        "it is counted in its class's sums only, as it always is.",
        between(0, 86400 * 365),
    )
    group: str = setting(
        "",
        "Group, by name or number, whose members may connect besides the user that runs tallyd and "
        "root; the runtime folder is then open to it.",
        _anything,
        "none",
    )
    cpu_politeness: str = setting(
        "auto",
        "How best-effort programs give way on the CPU: `groups` (in control groups; tallyd does "
        "not start where it may make none), `policy` (each by niceness and the idle policy), or "
        "`auto`: the first where it can be had. docs/cpu.md tells what each needs.",
        one_of("auto", "groups", "policy"),
    )
    sessions_max: int = setting(
        1024,
        "Most client processes at a time, on all devices.",
        between(1, 65536),
        met="A new program is refused, with a line that says so. One device serves 126 at most.",
    )
    descriptors_max: int = setting(
        0,
        "Most file descriptors of tallyd, and of each executor. Each session takes up to 24 of an "
        "executor's; sessions are refused while the last 128 are free, connections while the last "
        "64 are. 0: as many as the system allows (`LimitNOFILE=` of a service).",
        _check_descriptors,
        "0: the hard limit",
        met="New sessions are refused with a line that says so; then connections are closed, and "
        "tallyd's log says it.",
        executor=True,
    )
    connections_per_process_max: int = setting(
        64,
        "Most connections of one process to tallyd's control socket; more are closed.",
        between(1, 65536),
        met="The connection is closed; tallyd's log says it, once a minute at most.",
    )
    connect_seconds_max: float = setting(
        30.0,
        "How long a client that has opened a session may take to connect to it. 0: for ever.",
        between(0, 86_400),
        met="The session is closed, and tallyd's log says it.",
        executor=True,
    )
    jobs_max: int = setting(
        4096,
        "Most jobs that run at a time.",
        between(1, 1_000_000),
        met="`tally run` ends with a line that names the setting.",
    )
    requests_waiting_max: int = setting(
        4096,
        "Most requests of programs and commands that tallyd answers at a time.",
        between(16, 1_000_000),
        met="The request is refused with a line that names the setting.",
    )
    queue_bytes_max: int = setting(
        16 << 20,
        "Most bytes of one session's ops that wait in its executor while the session may not run; "
        "beyond that the program waits.",
        between(1 << 22, 1 << 30),
        met="The program's next call waits until the session may run.",
        engine=True,
    )
    stream_queues_max: int = setting(
        256,
        "Most streams of one process that have launches with the scheduler at a time.",
        between(16, 1024),
        met="A best-effort launch on another stream waits for the end of those of one of them, and "
        "a line on the program's standard error names the setting. High launches are counted "
        "instead.",
        engine=True,
    )
    gated_launches_max: int = setting(
        4096,
        "Most launches and copies of one best-effort process that are queued while a stream of it "
        "waits for a value in memory (`cuStreamWaitValue`).",
        between(16, 16384),
        met="The launch returns out of memory; the program's standard error and tallyd's log name "
        "the setting.",
        engine=True,
    )
    stream_waits_max: int = setting(
        4096,
        "Most waits for values in memory that one stream has before it is idle again.",
        between(16, 65536),
        met="`cuStreamWaitValue` returns out of memory; as above.",
        engine=True,
    )
    blocking_calls_max: int = setting(
        1024,
        "Most threads of one process that wait in the driver on one device.",
        between(16, 65536),
        met="The call returns out of memory; as above.",
        engine=True,
    )
    module_bytes_max: int = setting(
        1 << 30,
        "Most bytes of one module's image.",
        between(1 << 20, 1 << 33),
        met="The module is not loaded, out of memory; as above.",
        engine=True,
    )
    plans_max: int = setting(
        16384,
        "How many kernels, each shape of its grid and blocks counted, one device keeps "
        "measurements of, in memory and on disk.",
        between(256, 65536),
        met="What was not launched for longest makes room and is measured anew when it comes "
        "again; tallyd's log says once that there are more.",
        engine=True,
    )
    memory_max: int = setting(
        0,
        "Most bytes of each device's memory that a job may have, and has where `tally run "
        "--memory` asks for no less; to its programs the device has no more. 0: all of it.",
        between(0, 2**50),
        met="`cuMemAlloc` returns out of memory; the program's standard error and tallyd's log say "
        "so. `tally run --memory` refuses to ask for more.",
    )
    pinned_bytes_max: int = setting(
        0,
        "Most bytes of host memory that programs have pinned on one device, together with what "
        "their sessions need (16 MiB each, less where this is small). 0: half of the machine's "
        "memory, or of what tallyd's cgroup may use.",
        between(0, 2**50),
        met="`cuMemHostAlloc` returns out of memory, new sessions are refused; the program's "
        "standard error and tallyd's log name the setting.",
        engine=True,
    )
    pinned_bytes_job_max: int = setting(
        0,
        "Most of it for one job. 0: half of `pinned_bytes_max`.",
        between(0, 2**50),
        met="As `pinned_bytes_max`.",
        engine=True,
    )
    pinned_bytes_session_max: int = setting(
        0,
        "Most of it for one process. 0: as `pinned_bytes_job_max`. Beyond any of the three, "
        "`cuMemHostAlloc` says out of memory, and tallyd's log which it was.",
        between(0, 2**50),
        met="As `pinned_bytes_max`.",
        engine=True,
    )
    pinned_pieces_max: int = setting(
        4096,
        "Most pieces of pinned memory of one process on one device.",
        between(16, 65536),
        met="`cuMemHostAlloc` returns out of memory; as `pinned_bytes_max`.",
        engine=True,
    )
    jobs_kept_max: int = setting(
        200,
        "How many ended jobs `tally ps --all` and `tally stats` remember.",
        between(0, 100_000),
        met="The one that ended first is forgotten; what it counted stays in its class's sums.",
    )
    executor_ready_seconds_max: float = setting(
        60.0,
        "How long an executor may take to start; a client that connects meanwhile waits.",
        between(1, 3600),
        met="The program is refused, with a line that says what the executor's trouble is.",
    )
    code_workers_max: int = setting(
        0,
        "Processes of one executor in which programs' code is rewritten and compiled, for each of "
        "the two classes; work beyond it waits. 0: one per CPU.",
        between(0, 256),
        met="Modules wait to be rewritten, and run whole until then; first launches on a software "
        "GPU wait.",
        executor=True,
    )
    code_seconds_max: float = setting(
        120.0,
        "CPU time in seconds that rewriting one module, or compiling one kernel for a software "
        "GPU, may take. A module that takes longer runs whole; a kernel is refused.",
        between(1, 3600),
        met="The process that does it is ended: the module runs whole, or the launch is refused; "
        "`tally doctor` names the setting, and so does the standard error of a program that is "
        "refused.",
        executor=True,
    )
    code_memory_bytes_max: int = setting(
        2 << 30,
        "Memory that the same may take, in bytes.",
        between(256 << 20, 1 << 40),
        met="As `code_seconds_max`.",
        executor=True,
    )
    code_cache_bytes_max: int = setting(
        512 << 20,
        "Bytes on disk of rewritten modules, and as many of code compiled for software GPUs; what "
        "was not used for longest is dropped.",
        between(0, 1 << 44),
        met="What is dropped is made again when a program loads it, which takes as long as the "
        "first time.",
        executor=True,
    )
    soft_workers: int = setting(
        0,
        "Threads that play a software GPU's multiprocessors; 0: one less than the CPUs that tallyd "
        "may use, so that one is left to programs, but at least one.",
        between(0, 256),
        engine=True,
    )
    soft_memory_bytes: int = setting(
        0,
        "Memory of a software GPU in bytes; 0: a quarter of the machine's.",
        between(0, 2**46),
        engine=True,
    )
    soft_dry: bool = setting(
        False,
        "Let a software GPU accept machine code and skip every launch: programs run and memory is "
        "copied, but no kernel computes anything. For testing API compatibility.",
        engine=True,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            try:
                field.metadata["check"](getattr(self, field.name))
            except ValueError as error:
                value = getattr(self, field.name)
                raise ConfigError(f'{field.name}: "{value}" cannot be used: {error}') from None


FIELDS: Mapping[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(Config)}


def executor_values(config: Config) -> dict[str, Any]:
    """The settings that executors read, as JSON has them."""
    values = {n: getattr(config, n) for n, field in FIELDS.items() if field.metadata["executor"]}
    return {n: str(value) if isinstance(value, Path) else value for n, value in values.items()}


def from_values(values: Mapping[str, object]) -> Config:
    """A Config of settings as JSON or TOML has them. ConfigError, naming the setting."""
    return Config(**_from_table(values))  # type: ignore[arg-type]


def engine_values(config: Config) -> dict[str, Any]:
    """The members of struct tally_engine_config that are settings."""
    return {n: getattr(config, n) for n, field in FIELDS.items() if field.metadata["engine"]}


LIMITS: Mapping[str, tuple[str, float]] = {
    name: field.metadata["limit"] for name, field in FIELDS.items() if field.metadata["limit"]
}


def limits_of(values: Mapping[str, Any]) -> dict[str, int]:
    """The scheduler's limits that settings, by their names, stand for."""
    return {
        limit: round(values[name] * scale)
        for name, (limit, scale) in LIMITS.items()
        if name in values
    }


def default_of(name: str) -> Any:
    """A setting's default."""
    return FIELDS[name].default


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"TALLY_{name.upper()}"


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    return f"--{name.replace('_', '-')}"


def kind(name: str) -> str:
    """A setting's type in words: text, path, integer, number, true/false or list."""
    words = {
        "str": "text",
        "Path": "path",
        "int": "integer",
        "float": "number",
        "bool": "true/false",
    }
    return words.get(str(FIELDS[name].type), "list")


def default_text(name: str) -> str:
    """A setting's default, for people."""
    field = FIELDS[name]
    if field.metadata["default_text"]:
        return str(field.metadata["default_text"])
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def _from_text(name: str, text: str) -> Value:
    """A setting's value from a variable or a flag. ConfigError does not name it."""
    wanted = kind(name)
    try:
        if wanted == "integer":
            return int(text, 0)
        if wanted == "number":
            return float(text)
    except ValueError:
        raise ConfigError(f'"{text}" is not {_article(wanted)}') from None
    if wanted == "true/false":
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise ConfigError(f'"{text}" is neither true nor false')
    if wanted == "list":
        return tuple(piece.strip() for piece in text.split(",") if piece.strip())
    return Path(text).expanduser() if wanted == "path" else text


def _article(noun: str) -> str:
    if noun in ("text", "true/false"):
        return noun
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _from_toml(name: str, value: object) -> Value:
    """A setting's value from the file, whose types must fit. ConfigError names the setting."""
    wanted = kind(name)
    if wanted in ("text", "path") and isinstance(value, str):
        return _from_text(name, value)
    if wanted == "true/false" and isinstance(value, bool):
        return value
    if wanted == "integer" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if wanted == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if wanted == "list" and isinstance(value, list):
        return tuple(str(item) for item in value)
    raise ConfigError(f"{name}: expected {_article(wanted)}, got {value!r}")


def _unknown(what: str, name: str, valid: list[str]) -> ConfigError:
    near = difflib.get_close_matches(name, valid, 1, 0.5)
    hint = f'; did you mean "{near[0]}"?' if near else f"; valid are {', '.join(valid)}"
    return ConfigError(f'unknown {what} "{name}"{hint}')


def _from_table(table: Mapping[str, object]) -> dict[str, Value]:
    for name in table:
        if name not in FIELDS:
            raise _unknown("setting", name, list(FIELDS))
    return {name: _from_toml(name, value) for name, value in table.items()}


def read_file(path: Path) -> dict[str, Value]:
    """The settings in a TOML file. ConfigError (one line, with the path) if it cannot be used."""
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    try:
        return _from_table(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_environment(environ: Mapping[str, str]) -> dict[str, Value]:
    """The settings among the TALLY_* variables.

    A variable that nearly is a setting's is an error; others (TALLY_JOB, a deployment's own) are
    not tallyd's business.
    """
    names = {variable(name): name for name in FIELDS}
    result: dict[str, Value] = {}
    for key, text in environ.items():
        if key in names:
            try:
                result[names[key]] = _from_text(names[key], text)
            except ConfigError as error:
                raise ConfigError(f"environment variable {key}: {error}") from None
        elif key.startswith("TALLY_") and key not in OTHER_VARIABLES:
            near = difflib.get_close_matches(key, names, 1, 0.85)
            if near:
                raise ConfigError(
                    f'unknown environment variable "{key}"; did you mean "{near[0]}"?'
                )
    return result


def read_flags(flags: Mapping[str, str]) -> dict[str, Value]:
    """The settings on the command line, by name."""
    values: dict[str, Value] = {}
    for name, text in flags.items():
        try:
            values[name] = _from_text(name, text)
        except ConfigError as error:
            raise ConfigError(f"{flag(name)}: {error}") from None
    return values


def default_file(environ: Mapping[str, str]) -> Path | None:
    """The configuration file when none is named: the user's own, else the machine's, else None."""
    if named := environ.get("TALLY_CONFIG"):
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    candidates = (Path(home) / "tally" / "tally.toml", Path("/etc/tally/tally.toml"))
    return next((path for path in candidates if path.is_file()), None)


def load(
    environ: Mapping[str, str], file: Path | None = None, flags: Mapping[str, str] | None = None
) -> Config:
    """All sources put together. ConfigError (one line) if one of them is wrong."""
    path = file or default_file(environ)
    values = read_file(path) if path else {}
    values |= read_environment(environ)
    values |= read_flags(flags or {})
    return Config(**values)  # type: ignore[arg-type]
