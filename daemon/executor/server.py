"""The executor's one Python thread: JSON with tallyd over a PAIR socket, and the engine's events.

Requests are {"id", "op", ...}, answers {"id", "ok", ...}, and what happens by itself is
{"event", ...}; docs/protocol.md lists them. All work on the device is done by the engine's native
threads; this one opens and closes sessions and passes on what the engine reports.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import zmq

from tally.config import default_of
from tally.errors import RefusedError

from .. import descriptors
from .engine import Engine, EngineEvent, SessionConfig
from .held_up import HeldUp
from .profiles import SAVE_SECONDS, Profiles
from .recorder import Recorder
from .rescues import Rescues
from .rewrite import refusals

log = logging.getLogger("tallyd.executor")

STATS_SECONDS = 0.5
LINGER_MS = 1000
SEGMENT_SHARE = 256  # of what may be pinned, one session's slots: 1/256, within the bounds below
SLOT_COUNT = 16
SLOT_BYTES_MIN = 64 << 10
SLOT_BYTES_MAX = 1 << 20


def slot_bytes(pinned_bytes_max: int) -> int:
    """Bytes of a slot: where little memory may be pinned, many sessions must fit into it."""
    fair = pinned_bytes_max // SEGMENT_SHARE // SLOT_COUNT
    size = SLOT_BYTES_MIN
    while size * 2 <= min(fair, SLOT_BYTES_MAX):
        size *= 2
    return size


class Channel:
    """The PAIR socket to tallyd, and notice of its end."""

    def __init__(self, endpoint: str):
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.PAIR)
        self.socket.linger = LINGER_MS
        self.socket.sndtimeo = LINGER_MS
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.socket.connect(endpoint)

    def send(self, message: Mapping[str, Any], important: bool = True) -> None:
        """Send; what is not important is dropped if tallyd does not keep up."""
        with contextlib.suppress(zmq.Again):
            self.socket.send_json(message, flags=0 if important else zmq.DONTWAIT)

    def close(self) -> None:
        """Wait a moment for what was sent, then close."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close()
        self._context.term()


class Executor:
    """Serves one device until told to stop or tallyd is gone."""

    def __init__(
        self,
        engine: Engine,
        channel: Channel,
        wake_fd: int,
        recorder: Recorder,
        profiles: Profiles | None = None,
        refused_fd: int = -1,
        pinned_bytes_max: int = 1 << 40,
        plans_max: int = default_of("plans_max"),
        held_up_seconds_min: float = default_of("held_up_seconds_min"),
    ):
        """wake_fd becomes readable when a signal has arrived, refused_fd when the gate refused."""
        self._refused_fd = refused_fd
        self._engine = engine
        self._channel = channel
        self._wake_fd = wake_fd
        self._recorder = recorder
        self._profiles = profiles
        self._slot_bytes = slot_bytes(pinned_bytes_max)
        self._rescues = Rescues()
        self._held_up = HeldUp(engine, held_up_seconds_min)
        self._plans_max = plans_max
        self._told_plans = False
        self.stopping = False
        self.lost = False
        self._operations: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "open": self._open,
            "close": self._close,
            "stats": self._stats,
            "policy": self._policy,
            "validate": lambda _request: {"wrong": self._engine.validate()},
            "rewrites": lambda _request: refusals(),
            "trace_start": self._recorder.start,
            "trace_read": self._recorder.read,
            "trace_stop": self._recorder.stop,
            "shutdown": self._shutdown,
        }

    def run(self) -> None:
        """Until `stopping`."""
        poller = zmq.Poller()
        for source in (
            self._channel.socket,
            self._channel.monitor,
            self._engine.event_fd(),
            self._wake_fd,
        ):
            poller.register(source, zmq.POLLIN)
        if self._refused_fd >= 0:
            poller.register(self._refused_fd, zmq.POLLIN)
        next_stats_s = time.monotonic() + STATS_SECONDS
        next_save_s = time.monotonic() + SAVE_SECONDS
        while not self.stopping:
            wait_s = max(0.0, next_stats_s - time.monotonic())
            ready = dict(poller.poll(int(wait_s * 1000)))
            if self._wake_fd in ready or self._channel.monitor in ready:
                self.stopping = True
            if self._engine.event_fd() in ready:
                for event in self._engine.events():
                    self._report(event)
            if self._channel.socket in ready:
                self._serve()
            if self._refused_fd in ready:
                descriptors.tell_refused(log)
            if time.monotonic() >= next_stats_s:
                next_stats_s = time.monotonic() + STATS_SECONDS
                self._send_stats()
                self._tell_plans()
                self._recorder.expire()
            if self._profiles and time.monotonic() >= next_save_s:
                self._profiles.save()
                next_save_s = time.monotonic() + SAVE_SECONDS

    # ---- requests -------------------------------------------------------------------------------

    def _serve(self) -> None:
        number: object = None
        try:
            request = json.loads(self._channel.socket.recv())
            if not isinstance(request, dict):
                raise ValueError("not an object")
            number = request.get("id")
            operation = self._operations.get(request.get("op", ""))
            if operation is None:
                raise ValueError(f"there is no operation {request.get('op')!r}")
            answer = {"id": number, "ok": True, **operation(request)}
        except (RefusedError, ValueError, KeyError, TypeError, OverflowError) as error:
            text = f"missing {error}" if isinstance(error, KeyError) else str(error)
            answer = {"id": number, "ok": False, "error": text}
        self._channel.send(answer)

    def _open(self, request: Mapping[str, Any]) -> dict[str, Any]:
        job = request["job"]
        kind = job["class"]
        if kind not in ("high", "best-effort"):
            raise ValueError(f"there is no class {kind!r}")
        config = SessionConfig(
            session=int(request["session"]),
            pid=int(request["pid"]),
            uid=int(request["uid"]),
            gid=int(request["gid"]),
            high=kind == "high",
            process=int(request.get("process", 0)),
            job=str(job.get("id", "")),
            priority=int(job.get("priority", 0)),
            weight=int(job.get("weight", 1)),
            slot_count=SLOT_COUNT,
            slot_bytes=self._slot_bytes,
            memory_max=int(job.get("memory_max", 0)),
        )
        answer = self._engine.open(config)
        self._recorder.opened(config.session, config.pid, job)
        self._rescues.opened(config.session, job)
        self._held_up.opened(config.session, job)
        log.debug("session %d of pid %d opened", config.session, config.pid)
        return answer

    def _close(self, request: Mapping[str, Any]) -> dict[str, Any]:
        reason = str(request.get("reason", "closed by tallyd"))
        return {"known": self._engine.end(int(request["session"]), reason)}

    def _stats(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        sessions = self._engine.stats()
        return {"sessions": sessions, "schedule": self._schedule(sessions)}

    def _schedule(self, sessions: Mapping[str, Any]) -> dict[str, Any]:
        return self._engine.schedule() | {
            "rescued": self._rescues.report(),
            "held_up": self._held_up.report(sessions),
        }

    def _policy(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if name := request.get("policy"):
            self._engine.set_policy(str(name))
        return {"policy": self._engine.policy()}

    def _shutdown(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        self.stopping = True
        return {}

    # ---- events ---------------------------------------------------------------------------------

    def _send_stats(self) -> None:
        sessions = self._engine.stats()
        if sessions:
            self._channel.send(
                {"event": "stats", "sessions": sessions, "schedule": self._schedule(sessions)},
                important=False,
            )

    def _tell_plans(self) -> None:
        if self._told_plans or not self._engine.plans_evicted():
            return
        self._told_plans = True
        log.warning(
            "there are more kernels and shapes than the %d of `plans_max`: those that were not "
            "launched for longest are measured anew when they come again",
            self._plans_max,
        )

    def _report(self, event: EngineEvent) -> None:
        message: dict[str, Any] = {"event": event.kind, "session": event.session}
        if event.kind == "closed":
            log.debug("session %d closed: %s", event.session, event.reason)
            message |= {"reason": event.reason, "stats": event.stats}
            self._recorder.closed(event.session)
            self._rescues.closed(event.session)
            self._held_up.closed(event.session)
        elif event.kind == "notice":
            message |= {"text": event.reason}
        elif event.kind == "rescued":
            log.warning("%s", self._rescues.add(event.session, event.reason))
            return
        else:
            log.warning("session %d: %s", event.session, event.reason)
            message |= {"event": "fault", "error": event.error, "detail": event.reason}
        if event.kind == "lost":
            message["detail"] += "; the device's context is lost for every session"
            message["lost"] = True
            self.stopping = self.lost = True
        self._channel.send(message)
