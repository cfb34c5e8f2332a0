"""`python -m tally.daemon.worker_process FD MODULE...`: the processes that work for an executor.

Whatever is done with programs' code (rewriting, compiling) is done here, where it can take long,
need much memory or end the process, and harm nobody else. The first process loads the modules once
and then only forks: a worker is there in milliseconds, for each that was ended. Each MODULE has a
table WORKS, and may have `warm`, called once before the first fork.

The executor is gone when its socket ends; then all of them end.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tally.client.politeness import give_way

from . import worker_wire

Work = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]

log = logging.getLogger("tallyd.worker")

MORE_NICENESS = 5  # of work for best-effort sessions, where no control group orders it
_PR_SET_PDEATHSIG = 1


def _load(modules: Sequence[str]) -> dict[str, Work]:
    works: dict[str, Work] = {}
    for name in modules:
        module = importlib.import_module(name)
        works |= module.WORKS
        if warm := getattr(module, "warm", None):
            warm()
    return works


def _work(works: dict[str, Work], head: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    try:
        return works[head["work"]](head, data)
    except MemoryError:
        return {"failed": "ran out of memory"}, b""
    except Exception as error:  # a defect: of this text alone
        log.exception("%s failed", head.get("work"))
        return {"failed": f"failed: {error!r}"[:300]}, b""


def _serve(sock: socket.socket, works: dict[str, Work]) -> None:
    """One worker: until the executor has no use for it any more."""
    worker_wire.send(sock, {"pid": os.getpid()})
    while True:
        head, data = worker_wire.receive(sock)
        answer, made = _work(works, head, data)
        del data
        worker_wire.send(sock, answer, made)


def _become_worker(sock: socket.socket, urgent: bool, works: dict[str, Work]) -> NoReturn:
    """In the new process."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        give_way(best_effort=not urgent)
        if not urgent:
            os.nice(MORE_NICENESS)
        with contextlib.suppress(EOFError, OSError):
            _serve(sock, works)
        status = 0
    finally:
        os._exit(status)


def main(arguments: Sequence[str]) -> None:
    """Fork a worker for each socket that arrives."""
    logging.basicConfig(format="%(name)s[%(process)d]: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how workers ended
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    control = socket.socket(fileno=int(arguments[0]))
    works = _load(arguments[1:])
    gc.collect()
    gc.freeze()  # what is shared with the workers stays shared
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 16, 1)
        if not message:
            return
        with socket.socket(fileno=descriptors[0]) as sock:
            if os.fork() == 0:
                control.close()
                _become_worker(sock, message == b"urgent", works)


if __name__ == "__main__":
    main(sys.argv[1:])
