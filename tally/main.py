"""`tally`: the command line. A module of tally.commands per command, imported when used."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from pathlib import Path

import click

from . import __version__
from .errors import EXIT_STATUSES, TallyError

# Name and one line of help. A new subcommand is one entry here and one module with `command` in it.
COMMANDS = {
    "run": "Run a program as a job, on the GPU that tallyd shares.",
    "env": "Print what a container needs to use this machine's tallyd.",
    "ps": "List jobs.",
    "stats": "Show what jobs did: launches, device time, latencies, memory.",
    "doctor": "Check this machine and say what is missing and how to get it.",
    "simulate": "Run jobs under each policy on a virtual GPU; needs no device.",
    "profile": "Show or clear what is known of kernels' times.",
    "trace": "Record the launches of real runs; show recordings.",
    "policy": "Show or switch how launches are scheduled.",
    "shutdown": "Stop tallyd.",
    "service": "Print a systemd unit for tallyd.",
    "completion": "Print the line that turns on completion in your shell.",
    "version": "Print the versions of tally and of the tallyd that runs.",
}

EPILOG = """\b
Examples:
  tallyd &                                   the daemon (see tallyd --help)
  tally run --class high -- python serve.py  a service that must stay fast
  tally run python train.py                  a job that takes what is left
  tally stats --watch                        what they do

\b
Exit status:
""" + "\n".join(f"  {n:<3}  {text}" for n, text in EXIT_STATUSES)


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are used: `tally run` must start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"tally.commands.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"commands are {', '.join(COMMANDS)}"
            ctx.fail(f'unknown command "{args[0]}"; {hint}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--runtime-dir",
    metavar="PATH",
    help="Folder of tallyd's sockets [$TALLY_RUNTIME_DIR, else where tallyd puts them].",
)
@click.version_option(__version__, message="tally %(version)s", help="Print the version and exit.")
@click.pass_context
def command(ctx: click.Context, runtime_dir: str | None) -> None:
    """Share one GPU between a latency-critical service and best-effort jobs.

    `tallyd` owns the GPU. `tally run` in front of any command makes it a job; nothing about the
    command changes.
    """
    from tally.client.paths import client_runtime_dir

    ctx.obj = Path(runtime_dir).absolute() if runtime_dir else client_runtime_dir(os.environ)


def _one_line(error: click.ClickException) -> str:
    """click's message, and which command's help has the answer, unless the message is one."""
    text = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or context.command is command:
        return text
    return f"{text.rstrip('.')}. See `{context.command_path} --help`."


def main() -> None:
    """The console script. Errors end it with one line and the status of tally.errors."""
    try:
        status = command.main(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"tally: {_one_line(error)}", err=True)
        sys.exit(2)
    except TallyError as error:
        click.echo(f"tally: {error}", err=True)
        sys.exit(error.exit_status)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # quiet the flush at exit
        sys.exit(141)


if __name__ == "__main__":
    main()
