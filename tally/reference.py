"""docs/configuration.md, cli.md and metrics.md, generated from the code that they describe.

`python -m tally.reference` writes them, `--check` fails if they are not what it would write.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click

from . import config
from .errors import EXIT_STATUSES
from .fixed_limits import FIXED
from .main import COMMANDS, LazyGroup
from .main import command as tally_command

DOCS = Path("docs")
HEAD = "<!-- Written by `make docs` from {source}; a test holds the two together. -->\n\n"


def configuration() -> str:
    """docs/configuration.md."""
    lines = [
        HEAD.format(source="tally/config.py") + "# Configuration of tallyd",
        "",
        "Each setting can stand in a TOML file, in the environment, and on tallyd's command line.",
        "Later ones in this list win:",
        "",
        "1. the default;",
        "2. the file: `--config FILE`, else `$TALLY_CONFIG`, else `~/.config/tally/tally.toml`",
        "   (`$XDG_CONFIG_HOME`), else `/etc/tally/tally.toml`;",
        "3. the environment: `TALLY_` and the setting's name in capitals;",
        "4. the command line: the setting's name with hyphens, as in `--soft-workers 2`.",
        "",
        "An unknown setting, or a value that cannot be used, ends tallyd with one line that names",
        "the nearest valid one, and exit status 2. Changes take effect when tallyd is restarted.",
        "",
        "```toml",
        "# /etc/tally/tally.toml",
        'device = "cuda"',
        'metrics_address = "127.0.0.1:9400"',
        'group = "gpu-users"',
        "```",
        "",
        "| setting | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in config.FIELDS.items():
        default = config.default_text(name)
        shown = default if field.metadata["default_text"] else f"`{default}`"
        lines.append(f"| `{name}` | {config.kind(name)} | {shown} | {field.metadata['help']} |")
    lines += ["", "## Limits, and what happens where one is met", ""]
    lines += ["| setting | then |", "|---|---|"]
    lines += [
        f"| `{n}` | {f.metadata['met']} |" for n, f in config.FIELDS.items() if f.metadata["met"]
    ]
    lines += [
        "",
        "## Limits that are no settings",
        "",
        "They are part of the protocol, CUDA's own, or far beyond what programs are known to need.",
        "",
        "| limit | is | then |",
        "|---|---|---|",
        *(f"| {one.what} | {one.shown()} | {one.met} |" for one in FIXED),
    ]
    lines += [
        "",
        "## Variables that are not settings",
        "",
        "| variable | meaning |",
        "|---|---|",
        "| `TALLY_CONFIG` | path of the configuration file |",
        "| `TALLY_RUNTIME_DIR` | also tells `tally` and programs where tallyd is |",
        "| `TALLY_LIBZMQ` | path of libzmq for native code; found where pyzmq brings one |",
        "| `TALLY_JOB` | set by `tally run` for its command: the job it belongs to |",
    ]
    return "\n".join(lines) + "\n"


def _help(path: str, command: click.Command) -> list[str]:
    context = click.Context(command, info_name=path, max_content_width=100, terminal_width=100)
    lines = [f"## {path}", "", "```text", command.get_help(context).rstrip(), "```", ""]
    if isinstance(command, click.Group) and not isinstance(command, LazyGroup):
        for name, subcommand in command.commands.items():
            lines += _help(f"{path} {name}", subcommand)
    return lines


def command_line() -> str:
    """docs/cli.md."""
    from tally.daemon.supervisor.main import command as tallyd_command

    lines = [
        HEAD.format(source="the commands' --help") + "# Command line",
        "",
        "`tallyd` is the daemon, `tally` everything else. Options come before the command that",
        "`tally run` starts; what follows it is the command's own, with or without `--`.",
        "",
        "## Exit statuses",
        "",
        "Errors are one line on standard error. `tally run` ends as the command does: with its",
        "exit status, or by the same signal.",
        "",
        "| status | meaning |",
        "|---|---|",
    ]
    lines += [f"| {status} | {text} |" for status, text in EXIT_STATUSES]
    lines += [
        "| 130 | interrupted with Ctrl-C |",
        "",
        "`tally doctor` ends with 1 if it found a problem.",
        "",
        *_help("tallyd", tallyd_command),
        *_help("tally", tally_command),
    ]
    for name in COMMANDS:
        command = tally_command.get_command(click.Context(tally_command), name)
        assert command is not None
        lines += _help(f"tally {name}", command)
    lines += _snapshot_text()
    return "\n".join(lines).rstrip() + "\n"


def _snapshot_text() -> list[str]:
    return [
        "## The JSON of tally stats",
        "",
        "One object: `version`, `protocol`, `pid`, `time_s`, `uptime_s`, `policy`, `draining`, and",
        "",
        "- `devices`: each, with `index`, `name`, `kind` (cuda or soft),",
        "  `driver_version`, `state` (ready, starting, restarting), `pid`, `sessions`,",
        "  `memory_bytes`, `memory_used_bytes` (by jobs),",
        "  `restarts`, `last_failure`, and `schedule` (null until its scheduler was asked):",
        "  `policy`, `oversized` (best-effort starts that cannot stop within the bound),",
        "  `rescues` (launches that did not stop when told to), `rescued` (the latest kernels of",
        "  these, each with `session`, `job`, `kernel`), `held_up` (who waits now for whose work",
        "  that stays, each with `session`, `job`, `waited_ns`, `by_session`, `by_job`, `kernel`,",
        "  `stayed_ns`; `kernel` is empty where its name is not known) and",
        "  `turnaround`, the time from a high launch's arrival until best-effort work has given",
        "  way: `count`, `sum_ns`, `max_ns`, `p50_ns`, `p99_ns`, `unmet` (arrivals that met no",
        "  such work, and do not count), `missed` (not measured: too many at once, or",
        "  a job changed its class), `estimated_sum_ns`, and `error_sum_ns` (of the",
        "  differences between estimated and measured);",
        "- `classes`: for each, over all jobs there ever were, `jobs`, `running`,",
        "  `lost_sessions`, `unsupported_calls` and `stats`;",
        "- `jobs`: running and remembered ones, with `id`, `name`, `class`, `priority`,",
        "  `weight`, `memory_max` (bytes of each device's memory; 0: all), `state` (running, done,",
        "  or lost: an executor died under it), `pid`, `uid`, `argv`, `cwd`,",
        "  `started_s`, `ended_s` (both since the epoch), `seconds` (how long it",
        "  has run), `ended_ago_s`, `processes`, `sessions`, `lost_sessions`, `unsupported`",
        "  (calls by symbol) and `stats`.",
        "",
        "`stats` has `counters` (which only grow), `gauges` (amounts now, or peaks) and",
        "`histograms`, each with `count`, `sum_ns`, `max_ns`, `p50_ns`, `p95_ns`, `p99_ns`;",
        "quantiles are right to 12.5%. Names that end in `_ns` are nanoseconds, in `_s` seconds.",
        "Numbers are added over a job's sessions; of peaks that is an upper bound. Durations are",
        "by a clock that is never set; `time_s`, `started_s` and `ended_s` follow the wall clock.",
        "The Prometheus endpoint has the same ([metrics.md](metrics.md)).",
    ]


METRICS_HEAD = """\
# Metrics

tallyd serves Prometheus's text format where `metrics_address` says, at `/metrics`:

```sh
tallyd --metrics-address 127.0.0.1:9400
curl -s http://127.0.0.1:9400/metrics
```

```yaml
scrape_configs:
  - job_name: tally
    static_configs: [{{targets: ['127.0.0.1:9400']}}]
```

There is no authentication, and job names are shown: keep the address local. A dashboard for
Grafana is in [grafana.json](grafana.json): import it, and choose the data source.

## Jobs, and sums that never fall

A job has series of its own (`tally_job_...`) while it runs and {seconds} seconds longer
(`metrics_ended_seconds`): a scrape still sees its last numbers, and a machine of many short jobs
does not collect series for ever. What any job counted is in the sums of its class
(`tally_class_...`) from the first moment, and stays there: use those for rates and alerts.
Counters start at 0 with tallyd.

Counters have `_total` behind the names below. Summaries have the quantiles 0.5, 0.95 and 0.99
of all samples since the start, right to 12.5%, and `_sum` and `_count`. Names with `_ns` are
in nanoseconds.
"""
STATISTICS_HEAD = """
## Statistics of jobs and classes

Each as `tally_job_NAME` with the labels job, name and class, and as `tally_class_NAME` with the
label class (no peaks there). `queue_delay`, `device_time`, `request_latency` and `turnaround` are
summaries.

| NAME | what it is |
|---|---|"""


def metrics() -> str:
    """docs/metrics.md: the Prometheus endpoint."""
    from tally.daemon.statistics import TEXTS
    from tally.daemon.supervisor import metric_families as families

    head = METRICS_HEAD.format(seconds=f"{config.FIELDS['metrics_ended_seconds'].default:g}")
    lines = [HEAD.format(source="daemon/supervisor/metric_families.py") + head.rstrip()]
    for title, texts in (
        ("tallyd", families.TALLYD_TEXTS),
        ("Devices", families.DEVICE_TEXTS),
        ("Scheduler, by device", families.SCHEDULE_TEXTS),
        ("Classes", families.CLASS_TEXTS),
        ("Jobs", families.JOB_TEXTS),
    ):
        lines += ["", f"## {title}", "", "| metric | labels | what it is |", "|---|---|---|"]
        lines += [f"| `{t.name}` | {', '.join(t.labels)} | {t.help} |" for t in texts]
    lines += STATISTICS_HEAD.split("\n")
    lines += [f"| `{name}` | {text} |" for name, text in TEXTS.items()]
    return "\n".join(lines) + "\n"


PAGES = {"configuration.md": configuration, "cli.md": command_line, "metrics.md": metrics}


def main() -> int:
    """Write or check the pages; run in the repository's root."""
    check = sys.argv[1:] == ["--check"]
    stale = 0
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            lines = difflib.unified_diff(old.splitlines(), text.splitlines(), str(path), "now", n=1)
            print("\n".join(lines))
            print(f"{path} is not fresh: run `make docs`")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
