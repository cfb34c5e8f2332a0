"""Who is at the other end of a connection, in the kernel's words and in any namespace.

A pid alone names a process badly: it is reused, and a process in a PID namespace that we do not see
has none for us. Newer kernels give a pidfd of the peer, which can be watched, and whose inode is
the process's own number while it lives.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from tally._native import ffi, lib

SO_PEERGROUPS = 59
SO_PEERPIDFD = 77
GROUPS_BYTES = 1024  # of as many as getsockopt gives Python: 256 groups


class PidFd:
    """A process, watched for: owns the descriptor."""

    def __init__(self, fd: int):
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)

    def fileno(self) -> int:
        """The descriptor, readable once the process has ended."""
        return self.fd


@dataclass(frozen=True, slots=True)
class Peer:
    """A process. pid 0: it has none in our PID namespace. number: of struct tally_gate_peer, or 0.

    groups are its supplementary groups, as far as the kernel tells.
    """

    uid: int
    gid: int
    pid: int
    number: int = 0
    groups: frozenset[int] = frozenset()
    watch: PidFd | None = field(default=None, compare=False, repr=False)

    @property
    def named(self) -> bool:
        """Whether it can be told from others."""
        return self.pid > 0 or (self.number > 0 and self.watch is not None)

    def is_same(self, pid: int, number: int) -> bool:
        """Whether it is the process that had these."""
        if self.number and number:
            return self.number == number
        return self.pid > 0 and self.pid == pid


def parse(address: object) -> Peer | None:
    """From libzmq's "Peer-Address" of an ipc connection, "localhost:UID:GID:PID"; else None."""
    pieces = str(address).split(":")
    try:
        uid, gid, pid = (int(piece) for piece in pieces[-3:])
    except ValueError:
        return None
    return Peer(uid, gid, pid) if len(pieces) == 4 and pid >= 0 else None


def of_message(address: object, descriptor: int) -> Peer | None:
    """The sender of a message that libzmq took from the connection of that descriptor.

    The connection may have ended meanwhile, and the descriptor be another one's: then only what
    libzmq noted when it began counts.
    """
    noted = parse(address)
    native: Any = ffi.new("struct tally_gate_peer *")
    if noted is None or descriptor < 0 or lib.tally_gate_peer(descriptor, native) != 0:
        return noted
    if (native.uid, native.gid, native.pid) != (noted.uid, noted.gid, noted.pid):
        return noted
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            groups, watch = _groups(connection), _watch(connection)
    except OSError:
        return noted
    return Peer(noted.uid, noted.gid, noted.pid, int(native.process), groups, watch)


def _groups(connection: socket.socket) -> frozenset[int]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES)
    except OSError:
        return frozenset()
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))


def _watch(connection: socket.socket) -> PidFd | None:
    """Kernels before 6.5 do not know the option; and a process may have ended."""
    try:
        return PidFd(connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD))
    except OSError:
        return None
