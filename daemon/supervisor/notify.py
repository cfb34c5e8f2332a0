"""systemd's readiness protocol: datagrams to $NOTIFY_SOCKET (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Tell the service manager, for example "READY=1". Nothing happens where there is none."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.sendto(state.encode(), address)


def watchdog_seconds() -> float | None:
    """How often to send WATCHDOG=1: half of what the service manager asks for; None if never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        interval_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return interval_us / 2e6 if interval_us > 0 else None
