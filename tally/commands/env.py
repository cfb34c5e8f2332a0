"""`tally env`: what a program elsewhere, as in a container, needs to find Tally."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import click
import zmq  # noqa: F401  (its libzmq is the one that programs load)

from tally.client import paths
from tally.client.environment import container_environment

FORMATS = ("sh", "docker", "json")


@click.command(
    epilog="""\b
Examples:
  eval "$(tally env)"; python train.py
  docker run $(tally env --format docker) IMAGE python train.py
  tally env --preload --runtime-dir /run/tally --format json"""
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="sh",
    show_default=True,
    help="sh: export lines. docker: options of docker and podman, with mounts. json: all of it.",
)
@click.option(
    "--preload",
    is_flag=True,
    help="Preload the shim as well, for programs that name libcuda.so.1 by its full path or have "
    "a run path. Every program of the container must then be able to load it.",
)
@click.option(
    "--at",
    "inside",
    metavar="PATH",
    help="Where the runtime folder is for the program [where it is here].",
)
@click.pass_obj
def command(runtime_dir: Path, form: str, preload: bool, inside: str | None) -> None:
    """Print the variables, and the mounts, with which a program uses this machine's tallyd.

    The program becomes a best-effort job of its own, as nobody has said more about it.
    """
    environment = container_environment(os.environ, Path(inside or runtime_dir), preload)
    mounts = {str(runtime_dir): inside or str(runtime_dir)}
    mounts |= {str(folder): str(folder) for folder in paths.client_folders(os.environ)}
    click.echo(_FORMS[form](environment, mounts))


def _sh(environment: Mapping[str, str], _mounts: Mapping[str, str]) -> str:
    import shlex

    return "\n".join(f"export {key}={shlex.quote(text)}" for key, text in environment.items())


def _docker(environment: Mapping[str, str], mounts: Mapping[str, str]) -> str:
    options = [f"--env={key}={text}" for key, text in environment.items()]
    return " ".join([*options, *(f"--volume={out}:{into}:ro" for out, into in mounts.items())])


def _json(environment: Mapping[str, str], mounts: Mapping[str, str]) -> str:
    return json.dumps({"environment": dict(environment), "mounts": dict(mounts)}, indent=2)


_FORMS = {"sh": _sh, "docker": _docker, "json": _json}
