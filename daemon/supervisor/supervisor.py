"""tallyd's heart: one event loop that owns jobs, sessions, executors and the control socket."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import pwd
import secrets
from typing import Any

import zmq.asyncio

from tally.client import paths, protocol
from tally.client.environment import clean_environment
from tally.client.politeness import GROUP_VARIABLE
from tally.config import Config

from .. import descriptors
from ..assignment import Assignment
from ..runtime import group_number
from .control import ControlServer
from .devices import Devices
from .executor_process import ExecutorProcess, executor_command
from .jobs import JobTable
from .metrics import MetricsServer
from .notify import notify, watchdog_seconds
from .peers import Peer
from .policy import Policy
from .politeness import Politeness, by_policy
from .requests import Requests
from .sessions import Sessions

log = logging.getLogger("tallyd")


class Supervisor:
    """Builds the parts, runs until told to stop, and takes them down in reverse order.

    It is the control socket's handler, and hands each kind of message to the part that knows it.
    """

    def __init__(self, config: Config, devices: Devices, politeness: Politeness | None = None):
        self.config = config
        self.politeness = politeness or by_policy()
        self.devices = devices
        self._group_number = group_number(config.group) if config.group else -1
        self._stop = asyncio.Event()
        self._context = zmq.asyncio.Context()
        self.executors = [self._executor(index) for index in range(devices.count)]
        table = JobTable(config.jobs_kept_max, secrets.token_hex(2), config.jobs_max)
        self.sessions = Sessions(
            table,
            self.executors,
            config.sessions_max,
            config.executor_ready_seconds_max,
            self.politeness.place,
            config.memory_max,
        )
        self._policy = Policy(config.policy, self.executors)
        self._requests = Requests(
            config,
            devices,
            self.politeness,
            self.sessions,
            self.executors,
            self._policy,
            self.stop,
        )
        self.metrics: MetricsServer | None = None

    def _executor(self, index: int) -> ExecutorProcess:
        config = self.config
        command = executor_command(Assignment(self.devices.kind, index, config))
        environment = _executor_environment()
        if group := self.politeness.best_effort_folder():
            environment[GROUP_VARIABLE] = str(group)
        return ExecutorProcess(index, config.runtime_dir, command, environment, self, self._context)

    # ---- running --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until stop()."""
        loop = asyncio.get_running_loop()
        endpoint = f"ipc://{paths.control_socket(self.config.runtime_dir)}"
        control = ControlServer(endpoint, self, self._context, self.config.requests_waiting_max)
        refused_fd = descriptors.guard(self.config.connections_per_process_max)
        loop.add_reader(refused_fd, lambda: descriptors.tell_refused(log))
        background: list[asyncio.Task[None]] = []
        try:
            for executor in self.executors:
                executor.start()
            if self.config.metrics_address:
                self.metrics = await MetricsServer.start(
                    self.config.metrics_address,
                    self._requests.stats,
                    self.config.metrics_ended_seconds,
                )
            background = [loop.create_task(self._announce()), loop.create_task(_feed_watchdog())]
            await self._stop.wait()
        finally:
            notify("STOPPING=1")
            log.info("stopping")
            loop.remove_reader(refused_fd)
            for task in background:
                task.cancel()
            if self.metrics:
                await self.metrics.close()
            await control.close()
            await asyncio.gather(*(executor.stop() for executor in self.executors))
            self.sessions.close()
            self._context.destroy(linger=0)

    def stop(self) -> None:
        """End run(). May be called at any time on the event loop."""
        self._stop.set()

    async def _announce(self) -> None:
        """Tell systemd once every executor is ready, or has failed for good."""
        for executor in self.executors:
            with contextlib.suppress(Exception):
                await executor.wait_ready()
        notify(f"READY=1\nSTATUS={self.devices.kind}: {self.devices.reason}")
        log.info("ready: %s", self.config.runtime_dir)

    # ---- executors' listener --------------------------------------------------------------------

    def executor_ready(self, index: int) -> None:
        """From an ExecutorProcess."""
        self._policy.executor_ready(index)

    def executor_event(self, index: int, event: Any) -> None:
        """From an ExecutorProcess."""
        self.sessions.executor_event(index, event)

    def executor_lost(self, index: int, reason: str) -> None:
        """From an ExecutorProcess."""
        self.sessions.executor_lost(index, reason)

    # ---- control socket's handler ---------------------------------------------------------------

    def allows(self, peer: Peer) -> bool:
        """tallyd's own user, root, and members of the configured group."""
        if peer.uid in (os.geteuid(), 0):
            return True
        return self._group_number in peer.groups | _groups(peer.uid, peer.gid)

    async def hello(self, peer: Peer, hello: protocol.Hello) -> bytes:
        """To the sessions."""
        return await self.sessions.hello(peer, hello)

    async def open(self, peer: Peer, request: protocol.Open) -> bytes:
        """To the sessions."""
        return await self.sessions.open(peer, request)

    async def unsupported(self, peer: Peer, report: protocol.Unsupported) -> bytes:
        """To the sessions."""
        return await self.sessions.unsupported(peer, report)

    async def request(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        """To the command line's requests."""
        return await self._requests.answer(peer, fields)


def _executor_environment() -> dict[str, str]:
    environment = clean_environment(os.environ)
    environment.pop("NOTIFY_SOCKET", None)
    if libzmq := paths.libzmq(environment):
        environment["TALLY_LIBZMQ"] = str(libzmq)
    return environment


@functools.lru_cache(maxsize=256)
def _groups(uid: int, gid: int) -> frozenset[int]:
    """Groups of the user as far as this machine's database has them, and the primary one."""
    try:
        return frozenset(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return frozenset({gid})


async def _feed_watchdog() -> None:
    """Show systemd that the event loop still turns."""
    interval_s = watchdog_seconds()
    while interval_s:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)
