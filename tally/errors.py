"""The errors that Tally raises on purpose, each with the exit status that a command ends with.

A leaf module: it imports nothing of Tally, and every part may import it.
"""

from __future__ import annotations

from typing import ClassVar


class TallyError(Exception):
    """One line of text for a person: what is wrong and what to do about it."""

    exit_status: ClassVar[int] = 1


class RefusedError(TallyError):
    """tallyd was reached and said no."""


class ConfigError(TallyError):
    """A setting is unknown or has a value that cannot be used."""

    exit_status = 2


class NoDeviceError(TallyError):
    """No device, or no driver, of the kind that was asked for."""

    exit_status = 3


class NotReachableError(TallyError):
    """tallyd does not answer, or its socket may not be used."""

    exit_status = 4


class AlreadyRunningError(TallyError):
    """Another tallyd owns the runtime folder."""

    exit_status = 5


class VersionMismatchError(TallyError):
    """tallyd and this program speak different protocol versions."""

    exit_status = 6


class CommandNotRunnableError(TallyError):
    """`tally run` found the command but may not execute it."""

    exit_status = 126


class CommandNotFoundError(TallyError):
    """`tally run` did not find the command."""

    exit_status = 127


# What docs/cli.md says about exit statuses; a test holds it against the classes above.
EXIT_STATUSES: tuple[tuple[int, str], ...] = (
    (0, "success"),
    (1, "failure, or tallyd refused the request"),
    (2, "wrong usage, or a wrong setting in the configuration"),
    (3, "no device or driver of the kind that was asked for"),
    (4, "tallyd is not reachable: not running, or its socket may not be used"),
    (5, "another tallyd owns the runtime folder"),
    (6, "tallyd and this program speak different protocol versions"),
    (126, "`tally run`: the command was found but cannot be executed"),
    (127, "`tally run`: the command was not found"),
)
