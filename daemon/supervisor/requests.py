"""The command line's requests: one function per "op", in one table. JSON in, JSON out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import tally
from tally.client import protocol
from tally.client.protocol import Status
from tally.client.records import (
    CLASSES,
    MEMORY_GREATEST,
    NAME_CHARACTERS_MAX,
    PRIORITY_GREATEST,
    PRIORITY_LEAST,
    WEIGHT_GREATEST,
)
from tally.config import Config
from tally.policies import POLICIES

from .control import ControlError
from .devices import Devices
from .executor_process import ExecutorProcess, ExecutorUnavailableError
from .jobs import Job
from .peers import Peer
from .policy import ANSWER_SECONDS_MAX, Policy
from .politeness import IN_GROUP, Politeness
from .processes import ProcessTable
from .sessions import Sessions

log = logging.getLogger("tallyd")

STATS_SECONDS_MAX = 1.0  # an executor that is busier than this is reported as it last was
ARGUMENTS_MAX = 32


class Requests:
    """Answers requests about tallyd's parts."""

    def __init__(
        self,
        config: Config,
        devices: Devices,
        politeness: Politeness,
        sessions: Sessions,
        executors: Sequence[ExecutorProcess],
        policy: Policy,
        stop: Callable[[], None],
    ):
        """stop: ends tallyd, and returns at once."""
        self._config = config
        self._devices = devices
        self._politeness = politeness
        self._sessions = sessions
        self._executors = executors
        self._policy_in_force = policy
        self._stop = stop
        self._started_s = time.monotonic()
        self._drain: asyncio.Task[None] | None = None
        self._answers: dict[str, Callable[[Peer, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "ping": self._ping,
            "job_start": self._job_start,
            "jobs": self._jobs,
            "stats": self._stats,
            "doctor": self._doctor,
            "policy": self._policy,
            "trace_start": self._trace,
            "trace_read": self._trace,
            "trace_stop": self._trace,
            "shutdown": self._shutdown,
            "drain": self._drain_request,
        }

    async def answer(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request. ControlError if it is refused."""
        op = self._answers.get(fields["op"])
        if op is None:
            raise ControlError(Status.BAD_MESSAGE, f'unknown request "{fields["op"][:64]}"')
        return await op(peer, fields)

    async def _ping(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        return {"version": tally.__version__, "protocol": protocol.VERSION, "pid": os.getpid()}

    async def _job_start(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        job = self._sessions.start_job(
            peer,
            name=_text(fields, "name", NAME_CHARACTERS_MAX),
            job_class=_class(fields.get("class", "best-effort")),
            priority=_integer(fields, "priority", 0, PRIORITY_LEAST, PRIORITY_GREATEST),
            weight=_integer(fields, "weight", 1, 1, WEIGHT_GREATEST),
            memory_max=_integer(fields, "memory_max", 0, 0, MEMORY_GREATEST),
            argv=_argv(fields.get("argv", [])),
            own_nice=bool(fields.get("own_nice", False)),
            cwd=_text(fields, "cwd", 4096),
        )
        return {"id": job.id, "in_cpu_group": job.cpu == IN_GROUP}

    async def _jobs(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        return {"jobs": self._job_list(bool(fields.get("ended", True)))}

    def _job_list(self, ended: bool) -> list[dict[str, Any]]:
        jobs = [job for job in self._sessions.table.jobs.values() if ended or job.running]
        processes = ProcessTable() if any(job.running for job in jobs) else None
        result = []
        for job in sorted(jobs, key=lambda job: job.started_s):
            roots = {session.pid for session in job.sessions.values()}
            roots |= {job.pid} if job.root_alive else set()
            pids = processes.tree(roots) if processes and roots else []
            result.append(job.to_json(pids, time.monotonic()))
        return result

    async def _stats(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        return await self.stats()

    async def stats(self) -> dict[str, Any]:
        """One snapshot of everything, as `tally stats --json` and the metrics endpoint give it."""
        await asyncio.gather(*(self._refresh(executor) for executor in self._executors))
        return {
            "version": tally.__version__,
            "protocol": protocol.VERSION,
            "pid": os.getpid(),
            "time_s": time.time(),
            "uptime_s": time.monotonic() - self._started_s,
            "policy": self._policy_in_force.name,
            "draining": self._sessions.draining,
            "devices": [self._device(executor) for executor in self._executors],
            "classes": self._sessions.table.totals(),
            "jobs": self._job_list(ended=True),
        }

    async def _refresh(self, executor: ExecutorProcess) -> None:
        """Ask for what sessions have counted up to now; if that takes long, older numbers do."""
        with contextlib.suppress(ExecutorUnavailableError, TimeoutError):
            answer = await executor.request("stats", timeout_s=STATS_SECONDS_MAX)
            self._sessions.update_stats(executor.index, answer.get("sessions", {}))

    def _device(self, executor: ExecutorProcess) -> dict[str, Any]:
        ready = executor.device or {}
        sessions = self._sessions.table.sessions.values()
        open_here = [
            session.devices[executor.index]
            for session in sessions
            if executor.index in session.devices
        ]
        info = ready.get("device_info")
        return {
            "index": executor.index,
            "name": ready.get("device_name", ""),
            "kind": ready.get("kind", ""),
            "driver_version": ready.get("driver_version", 0),
            "state": executor.state,
            "pid": executor.pid,
            "sessions": len(open_here),
            "memory_bytes": protocol.device_memory_bytes(info) if info else 0,
            "memory_used_bytes": sum(
                stats.get("gauges", {}).get("memory_bytes", 0) for stats in open_here
            ),
            "restarts": executor.restarts,
            "last_failure": executor.last_failure,
            "schedule": executor.schedule,
        }

    async def _doctor(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        total: dict[str, int] = {}
        counts = dict.fromkeys(("modules", "rewrites_refused", "rewrites_impossible"), 0)
        jobs = sorted(self._sessions.table.jobs.values(), key=lambda job: job.started_s)
        for job in jobs:
            if job.job_class == "best-effort":  # high jobs' kernels run as they are
                counters = job.stats()["counters"]
                for name in counts:
                    counts[name] += counters.get(name, 0)
            for symbol, count in job.unsupported().items():
                total[symbol] = total.get(symbol, 0) + count
        return {
            "version": tally.__version__,
            "protocol": protocol.VERSION,
            "pid": os.getpid(),
            "device": self._config.device,
            "kind": self._devices.kind,
            "reason": self._devices.reason,
            "devices": [self._device(executor) for executor in self._executors],
            "cpu": self._politeness.to_json() | {"outside": self._outside_cpu_groups()},
            **counts,
            "dry": self._config.soft_dry,
            "jobs": [_doctor_job(job) for job in jobs],
            "rewrites": await self._rewrites() if _is_owner(peer) else None,
            "unsupported": dict(sorted(total.items(), key=lambda item: (-item[1], item[0]))),
        }

    def _outside_cpu_groups(self) -> list[dict[str, str]]:
        """Running jobs that could not be put into their class's control group, and why."""
        jobs = self._sessions.table.jobs.values()
        return [
            {"job": job.id, "name": job.name, "reason": job.cpu}
            for job in jobs
            if job.running and job.cpu not in ("", IN_GROUP)
        ]

    async def _rewrites(self) -> dict[str, Any]:
        """What kernels run whole, and why, on all devices; for those who may see others' names."""
        notes: dict[tuple[str, str], dict[str, Any]] = {}
        more = 0
        for executor in self._executors:
            with contextlib.suppress(ExecutorUnavailableError, TimeoutError):
                answer = await executor.request("rewrites", timeout_s=STATS_SECONDS_MAX)
                more += answer["more"]
                notes |= {(note["module"], note["kernel"]): note for note in answer["notes"]}
        return {"notes": list(notes.values()), "more": more}

    async def _policy(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        """The policy in force; with `policy`, another one on every executor, now and later."""
        policy = self._policy_in_force
        if "policy" in fields:
            _require_owner(peer, "switch its policy")
            name = fields["policy"]
            if name not in tuple(POLICIES):
                text = f"there is no policy {str(name)[:64]!r}: use {', '.join(POLICIES)}"
                raise ControlError(Status.REFUSED, text)
            if name != policy.name:
                log.info("policy: %s in place of %s", name, policy.name)
            try:
                await policy.switch(str(name))
            except ExecutorUnavailableError as error:
                raise ControlError(Status.UNAVAILABLE, str(error)) from None
        return {"policy": policy.name}

    async def _trace(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        """Recording is between the command line and one executor; tallyd says who may."""
        _require_owner(peer, "record launches")
        executors, device = self._executors, fields.get("device", 0)
        if not isinstance(device, int) or not 0 <= device < len(executors):
            text = f"there is no device {str(device)[:64]}: this tallyd has {len(executors)}"
            raise ControlError(Status.REFUSED, text)
        words = {"recording": fields["recording"]} if "recording" in fields else {}
        try:
            answer = await executors[device].request(
                fields["op"], timeout_s=ANSWER_SECONDS_MAX, **words
            )
        except ExecutorUnavailableError as error:
            raise ControlError(Status.UNAVAILABLE, f"device {device}: {error}") from None
        except TimeoutError:
            text = f"device {device}: the executor does not answer"
            raise ControlError(Status.UNAVAILABLE, text) from None
        return {key: value for key, value in answer.items() if key not in ("id", "ok")}

    async def _shutdown(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        _require_owner(peer, "stop it")
        # After the reply is on its way; a client that misses it learns as much from the silence.
        asyncio.get_running_loop().call_later(0.05, self._stop)
        return {}

    async def _drain_request(self, peer: Peer, fields: dict[str, Any]) -> dict[str, Any]:
        _require_owner(peer, "stop it")
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._drain_and_stop())
        return {"sessions": len(self._sessions.table.sessions)}

    async def _drain_and_stop(self) -> None:
        await self._sessions.drain()
        self._stop()


STOPPING = ("launches", "launches_stoppable", "scheduled_ns", "stoppable_ns")


def _doctor_job(job: Job) -> dict[str, Any]:
    """How much of the job can be stopped for a service, and what its user was told."""
    counters = job.stats()["counters"]
    return {
        "id": job.id,
        "name": job.name,
        "class": job.job_class,
        "state": job.state,
        **{name: counters.get(name, 0) for name in STOPPING},
        "notices": job.notices,
    }


def _is_owner(peer: Peer) -> bool:
    return peer.uid in (0, os.geteuid())


def _require_owner(peer: Peer, action: str) -> None:
    if not _is_owner(peer):
        text = f"only the user who runs tallyd, or root, may {action}"
        raise ControlError(Status.REFUSED, text)


def _text(fields: dict[str, Any], key: str, characters_max: int) -> str:
    """A text without control characters, which would garble tables and logs."""
    value = fields.get(key, "")
    if not isinstance(value, str) or len(value) > characters_max:
        raise ControlError(
            Status.REFUSED, f"{key}: use a text of at most {characters_max} characters"
        )
    return "".join(c if c.isprintable() else "?" for c in value)


def _class(value: object) -> str:
    if value not in CLASSES:
        raise ControlError(Status.REFUSED, f"unknown class {value!r}: use {' or '.join(CLASSES)}")
    return str(value)


def _integer(fields: dict[str, Any], key: str, default: int, least: int, greatest: int) -> int:
    value = fields.get(key, default)
    if not isinstance(value, int) or not least <= value <= greatest:
        raise ControlError(Status.REFUSED, f"{key}: use an integer from {least} to {greatest}")
    return int(value)


def _argv(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(argument, str) for argument in value):
        raise ControlError(Status.REFUSED, "argv: use a list of texts")
    return tuple(_text({"argv": argument}, "argv", 4096) for argument in value[:ARGUMENTS_MAX])
