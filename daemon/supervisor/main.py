"""`tallyd`: parse the settings, take the runtime folder, run the supervisor in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

import tally
from tally import config as settings
from tally.errors import EXIT_STATUSES, ConfigError, TallyError

EPILOG = """\b
Examples:
  tallyd                        the machine's GPUs, or a software GPU
  tallyd --device soft:2        two software GPUs
  tallyd --config ./tally.toml  settings from a file
  systemctl --user enable --now tallyd  as a service (see README.md)

Each setting can stand in the configuration file (its name with underscores), in the environment
(TALLY_ and its name in capitals) or on the command line; the latter win. The file is --config,
$TALLY_CONFIG, ~/.config/tally/tally.toml or /etc/tally/tally.toml; docs/configuration.md
lists all.

\b
Exit status:
""" + "\n".join(f"  {n}  {text}" for n, text in EXIT_STATUSES if n < 100)


class _JournalFormatter(logging.Formatter):
    """Lines with the priority prefix that journald reads (sd-daemon(3)); it adds the time."""

    PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

    def format(self, record: logging.LogRecord) -> str:
        priority = next((p for level, p in self.PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def _set_up_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_JournalFormatter("%(name)s: %(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _options() -> list[click.Parameter]:
    """One flag per setting. Values stay text here: tally.config alone reads and checks them."""
    options: list[click.Parameter] = [
        click.Option(["--config"], metavar="FILE", help="Configuration file (TOML)."),
    ]
    for name, field in settings.FIELDS.items():
        text = field.metadata["help"].replace("`", "")
        default = settings.default_text(name)
        metavar = settings.kind(name).upper()
        if settings.kind(name) == "true/false":
            options.append(
                click.Option(
                    [settings.flag(name), name],
                    is_flag=True,
                    flag_value="true",
                    default=None,
                    help=text,
                )
            )
        else:
            options.append(
                click.Option(
                    [settings.flag(name), name], metavar=metavar, help=f"{text} [{default}]"
                )
            )
    return options


def _run(config: str | None, **flags: Any) -> None:
    given = {name: str(value) for name, value in flags.items() if value is not None}
    loaded = settings.load(os.environ, Path(config) if config else None, given)
    _set_up_logging(loaded.log_level)
    # Imported late, so that --help and wrong settings answer at once.
    from ..descriptors import raise_limit
    from ..runtime import RuntimeDir
    from .devices import choose
    from .politeness import choose as choose_politeness
    from .supervisor import Supervisor

    log = logging.getLogger("tallyd")
    raise_limit(loaded.descriptors_max)
    _make_state_dir(loaded.state_dir)
    if loaded.group:
        os.umask(0o007)  # sockets in the runtime folder are its group's too
    runtime_dir = RuntimeDir(loaded.runtime_dir, loaded.group)
    try:
        devices = choose(loaded.device)
        log.info("Tally %s on %s: %s", tally.__version__, devices.kind, devices.reason)
        politeness = choose_politeness(loaded.cpu_politeness)
        log.info("CPU: %s", politeness.text)
        if politeness.remedy:
            log.info("CPU: better: %s", politeness.remedy)

        async def supervise() -> None:
            supervisor = Supervisor(loaded, devices, politeness)
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
            await supervisor.run()

        try:
            asyncio.run(supervise())
        finally:
            politeness.close()
    finally:
        runtime_dir.close()


def _make_state_dir(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"state_dir: {path} cannot be made: {error.strerror}") from None


command = click.Command(
    "tallyd",
    callback=_run,
    params=_options(),
    help="Own this machine's GPUs and let programs started with `tally run` share them.\n\n"
    "Runs in the foreground until SIGINT or SIGTERM, and logs to standard error.",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
command.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        help="Print the version and exit.",
        callback=lambda context, _parameter, value: _print_version(context) if value else None,
    )
)


def _print_version(context: click.Context) -> None:
    click.echo(f"tallyd {tally.__version__}")
    context.exit()


def main() -> None:
    """The console script. Errors end it with one line and the status of tally.errors."""
    try:
        sys.exit(command.main(standalone_mode=False))
    except click.ClickException as error:
        click.echo(f"tallyd: {error.format_message()}; see tallyd --help", err=True)
        sys.exit(2)
    except TallyError as error:
        click.echo(f"tallyd: {error}", err=True)
        sys.exit(error.exit_status)
    except click.Abort:
        sys.exit(1)
