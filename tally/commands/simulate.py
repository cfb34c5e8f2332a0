"""`tally simulate`: the scheduler against a virtual GPU, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tally import config as settings
from tally import render, simulated
from tally.errors import ConfigError, TallyError
from tally.options import Integer, Number
from tally.scheduler.limits import Limits
from tally.scheduler.policies import policies
from tally.scheduler.sim import files, mixes, recording, replay, report, study, trace
from tally.scheduler.sim.compare import Comparison, Row
from tally.scheduler.sim.model import Scenario
from tally.scheduler.sim.run import SimulationError

SECONDS = 10.0
OTHER_NAMES = {
    "turnaround_us_max": ("--turnaround-us",),
    "stops_percent_max": ("--stops-percent",),
}
LIMITS = Limits.default()
MIXES = mixes.load()
# What an option leaves without a meaning: where files bring jobs and arrivals, nothing draws them.
CONFLICTS = {
    "all_pairs": ("trace_files", "services", "trainers", "plot_file", "save_trace"),
    "trace_files": ("mix_file", "services", "trainers", "load", "seed"),
}


class SimulateError(TallyError):
    """What was to be simulated makes no sense."""


def _limits(
    limits: Limits, given: Mapping[str, float], hysteresis_us: float | None, depth: int | None
) -> Limits:
    """given: settings of tallyd that stand for limits, by name; no turnaround is the usual one."""
    words = {name: value for name, value in given.items() if value or name != "turnaround_us_max"}
    limits = replace(limits, **settings.limits_of(words))
    if hysteresis_us is not None:
        limits = replace(limits, hysteresis_ns=round(hysteresis_us * 1000))
    return limits if depth is None else replace(limits, preemptible_depth=depth)


def _checked(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """The value of a setting's option, held to what tallyd takes."""
    assert option.name is not None
    if value is None:
        return None
    try:
        settings.FIELDS[option.name].metadata["check"](value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _limit_options(function: Callable[..., None]) -> Callable[..., None]:
    """An option for each of tallyd's settings that is a limit of the scheduler."""
    for name, (limit, scale) in reversed(list(settings.LIMITS.items())):
        default = getattr(LIMITS, limit) / scale
        whole = settings.kind(name) == "integer"
        function = click.option(
            settings.flag(name),
            *OTHER_NAMES.get(name, ()),
            name,
            type=Integer(min=0) if whole else Number(min=0),
            callback=_checked,
            metavar="N",
            help=f"As tallyd's {name} [{default:g}, or a recording's].",
        )(function)
    return function


def _emit(data: dict[str, Any]) -> None:
    click.echo(json.dumps(data, indent=1))


def _heading(how: study.Setting) -> dict[str, Any]:
    assert how.limits is not None
    return {
        "simulated": True,
        "load": how.load,
        "seconds": how.seconds,
        "seed": how.seed,
        "limits": asdict(how.limits),
    }


def _save(scenario: Scenario, path: Path) -> None:
    try:
        trace.save(scenario, path)
    except OSError as error:
        raise SimulateError(f"cannot write {path}: {error.strerror}") from error


def _plot(rows: Sequence[Row], path: Path) -> None:
    try:
        report.plot(rows, path)
    except ImportError as error:
        raise ConfigError("--plot needs matplotlib: pip install matplotlib") from error
    except OSError as error:
        raise SimulateError(f"cannot write {path}: {error.strerror}") from error


def _study(known: mixes.Mixes, chosen: Sequence[str], how: study.Setting, as_json: bool) -> None:
    pairs = []
    for pair in study.pairs(known, chosen, how):
        pairs.append(pair)
        service = pair.row.high[0]
        if not as_json:
            click.echo(
                f"{pair.service:8} {pair.trainer:10} {pair.row.policy:10} "
                f"p99 {service.p99_overhead * 100:+8.1f}%   "
                f"system throughput {pair.row.system_throughput:.2f}"
            )
    summaries = study.summarise(pairs)
    if as_json:
        rows = [report.pair_json(pair) for pair in pairs]
        _emit(_heading(how) | {"summary": [asdict(s) for s in summaries], "pairs": rows})
    else:
        click.echo("\nSimulated; every service beside every trainer:\n")
        render.show(simulated.summary_table(summaries))


def _check_together(context: click.Context) -> None:
    """UsageError if an option was given that another one leaves without a meaning."""
    flags = {option.name: option.opts[0] for option in context.command.params}
    given = {
        name
        for name in flags
        if name and context.get_parameter_source(name) != ParameterSource.DEFAULT
    }
    for name, others in CONFLICTS.items():
        for other in others:
            if {name, other} <= given:
                raise click.UsageError(f"{flags[other]} does not go with {flags[name]}")


@click.command(
    epilog="""\b
Examples:
  tally simulate --service bert --trainer whisper
  tally simulate --all-pairs --seconds 60 --policy tally --policy kernel
  tally simulate --trace web.jsonl --trace train.jsonl.gz --plot p.png

Columns: p50 and p99 are times of requests, from their first kernel; VS ALONE compares this p99
with the service's alone on the device, and QUEUED the p99 from requests' arrival. THROUGHPUT is 1
for as much as alone, SYSTEM the sum of it. TURNAROUND is how long best-effort work kept high
launches waiting that met some."""
)
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="NAME",
    help=f"High job from the mixes: {', '.join(MIXES.services)}; repeatable [bert].",
)
@click.option(
    "--trainer",
    "trainers",
    multiple=True,
    metavar="NAME",
    help=f"Best-effort job: {', '.join(MIXES.trainers)}; repeatable [whisper].",
)
@click.option("--mixes", "mix_file", type=click.Path(path_type=Path), help="Another file of mixes.")
@click.option(
    "--trace",
    "trace_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Replay a recording (tally trace record) or a trace; repeatable: all at once.",
)
@click.option("--all-pairs", is_flag=True, help="Every service beside every trainer, summarised.")
@click.option(
    "--policy",
    "chosen",
    multiple=True,
    metavar="NAME",
    help="See `tally policy`; repeatable [all].",
)
@click.option(
    "--load",
    type=Number(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Share of the time that each service is busy.",
)
@click.option(
    "--seconds",
    type=Number(0, 1_000_000, min_open=True),
    metavar="N",
    help=f"Virtual time [{SECONDS:g}, or a trace's own length].",
)
@click.option(
    "--seed",
    type=Integer(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Same seed, same nanoseconds.",
)
@_limit_options
@click.option(
    "--hysteresis-us",
    type=Number(0, 1_000_000),
    metavar="N",
    help="How long best-effort work waits after high's, until there have been enough gaps to tell "
    f"[{LIMITS.hysteresis_ns / 1000:g}, or a recording's].",
)
@click.option(
    "--depth",
    type=Integer(1, 8),
    metavar="N",
    help=f"Guarded launches in flight per stream [{LIMITS.preemptible_depth}, or a recording's].",
)
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Write a PNG.")
@click.option(
    "--save-trace", type=click.Path(path_type=Path), help="Write the scenario, to edit and replay."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    services: tuple[str, ...],
    trainers: tuple[str, ...],
    mix_file: Path | None,
    trace_files: tuple[Path, ...],
    all_pairs: bool,
    chosen: tuple[str, ...],
    load: float,
    seconds: float | None,
    seed: int,
    hysteresis_us: float | None,
    depth: int | None,
    plot_file: Path | None,
    save_trace: Path | None,
    as_json: bool,
    **limits_given: float | None,
) -> None:
    """Run jobs under each scheduling policy on a virtual GPU.

    No device is needed: the scheduler is the real one, device and jobs are models. Without --trace,
    jobs come from a file of kernel mixes and requests arrive in bursts. Recordings of several jobs,
    each made alone, run together on one virtual device of the size that they were made on.
    """
    _check_together(context)
    for name in chosen:
        if name not in policies():
            known_names = ", ".join(policies())
            raise ConfigError(f'unknown policy "{name}"; policies are {known_names}')
    names = list(chosen) or list(policies())
    given = {name: value for name, value in limits_given.items() if value is not None}
    options = (given, hysteresis_us, depth)
    how = study.Setting(load, seconds or SECONDS, seed, _limits(Limits.default(), *options))
    try:
        known = mixes.load(mix_file) if mix_file else MIXES
        if all_pairs:
            _study(known, names, how, as_json)
            return
        if trace_files:
            scenario, limits = _replay(trace_files)
            how = replace(
                how, seconds=seconds or _length(scenario), limits=_limits(limits, *options)
            )
        else:
            scenario = _scenario(known, services, trainers, how)
        if save_trace is not None:
            _save(scenario, save_trace)
        comparison = Comparison(scenario, how.seconds, how.limits)
        rows = list(comparison.rows(names))
    except (mixes.MixError, files.TraceError, SimulationError, ValueError) as error:
        raise SimulateError(str(error)) from error
    if plot_file is not None:
        _plot(rows, plot_file)
    if as_json:
        _emit(_heading(how) | {"policies": [report.row_json(row) for row in rows]})
    else:
        click.echo("Simulated; latencies of each request's kernels, or QUEUED from its arrival:\n")
        render.show(simulated.job_table(rows))
        click.echo("")
        render.show(simulated.policy_table(rows))


def _replay(paths: Sequence[Path]) -> tuple[Scenario, Limits]:
    """What the files hold, together; and the limits that the first recording was made under."""
    scenarios, limits = [], None
    for path in paths:
        if files.format_of(path) != recording.FORMAT:
            scenarios.append(trace.load(path))
            continue
        recorded = recording.load(path)
        try:
            scenarios.append(replay.scenario_of(recorded))
        except ValueError as error:
            raise files.TraceError(f"{path}: {error}") from error
        limits = limits or recorded.limits
    return replay.merge(scenarios), limits or Limits.default()


def _length(scenario: Scenario) -> float:
    """Until the last request arrives, if there are any."""
    last_ns = max(
        (max(client.arrivals) for client in scenario.clients if client.arrivals), default=0
    )
    return last_ns / 1e9 or SECONDS


def _scenario(
    known: mixes.Mixes,
    services: tuple[str, ...],
    trainers: tuple[str, ...],
    how: study.Setting,
) -> Scenario:
    for name, table in [(s, known.services) for s in services] + [
        (t, known.trainers) for t in trainers
    ]:
        if name not in table:
            raise ConfigError(f'unknown job "{name}"; there are {", ".join(table)}')
    return study.scenario(known, services or ("bert",), trainers or ("whisper",), how)
