"""The executor: one process per device, which tallyd starts and talks JSON with over a PAIR socket.

Requests are {"id", "op", ...}, answers {"id", "ok", ...}, and what happens by itself is
{"event", ...}; docs/protocol.md lists them. All work on the device is done by the engine's native
threads; this one opens and closes sessions and passes on what the engine reports.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq

from tally.client import paths
from tally.config import ENGINE_LIMITS, default_of, flag
from tally.errors import NoDeviceError, RefusedError, TallyError
from tally.scheduler.core import Limits

from .. import cpus, descriptors
from ..softgpu import WORK_MODULE as SOFT_WORK_MODULE
from ..workers import Limits as CodeLimits
from ..workers import Pool
from . import memory
from .engine import Engine, EngineConfig, EngineEvent, SessionConfig
from .held_up import HeldUp
from .profiles import SAVE_SECONDS, Profiles
from .recorder import Recorder
from .rescues import Rescues
from .rewrite import WORK_MODULE, install, know_device, note_refused, refusals

log = logging.getLogger("tallyd.executor")

STATS_SECONDS = 0.5
GPU_TURNAROUND_US = 31.6
SOFT_TURNAROUND_US = 1000.0  # softgpu's blocks take so much longer than a GPU's
HYSTERESIS_SCALE_MAX = 10.0
LINGER_MS = 1000
EXIT_LOST = 4  # the device's context is gone for everybody
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
            memory_limit_bytes=int(job.get("memory_limit_bytes", 0)),
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


# ---- the process --------------------------------------------------------------------------------


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tally.daemon.executor", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "soft"), required=True)
    parser.add_argument("--index", type=int, required=True, help="of the device")
    parser.add_argument("--runtime", type=Path, required=True, help="folder of all sockets")
    parser.add_argument("--driver", type=Path, help="driver library, if not the usual one")
    parser.add_argument("--state", type=Path, help="folder that outlives the process")
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--policy", default="tally", help="how launches are scheduled")
    parser.add_argument("--turnaround-us-max", type=float, default=0.0)
    parser.add_argument("--stops-percent-max", type=float, help="if not the scheduler's own")
    parser.add_argument("--best-effort-min-percent", type=float)
    parser.add_argument("--waiting-kernels", default=default_of("waiting_kernels"))
    parser.add_argument("--watchdog-times", type=int)
    parser.add_argument("--watchdog-seconds-min", type=float)
    for name in (
        *ENGINE_LIMITS,
        "code_workers_max",
        "code_memory_bytes_max",
        "code_cache_bytes_max",
    ):
        parser.add_argument(flag(name), type=int, default=default_of(name))
    for name in ("code_seconds_max", "connect_seconds_max", "held_up_seconds_min"):
        parser.add_argument(flag(name), type=float, default=default_of(name))
    parser.add_argument("--soft-workers", "--workers", type=int, default=0)
    parser.add_argument("--soft-memory-bytes", "--memory-bytes", type=int, default=0)
    parser.add_argument("--soft-dry", "--dry", action="store_true")
    parser.add_argument("--descriptors-max", type=int, default=0)
    parser.add_argument("--pinned-bytes-max", type=int, default=0)
    parser.add_argument("--pinned-bytes-job-max", type=int, default=0)
    parser.add_argument("--pinned-bytes-session-max", type=int, default=0)
    parser.add_argument("--event-timing", action="store_true", help="time launches with events")
    return parser.parse_args(arguments)


def _refuse_shim() -> None:
    """The executor needs the machine's driver; with the shim in its place it waits for itself."""
    shim = paths.shim()
    if shim is None:
        return
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        loaded = any(line.rstrip("\n").endswith(str(shim)) for line in maps)
    if loaded or str(shim.parent) in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        raise NoDeviceError(
            "the executor was started under `tally run`; start tallyd without LD_PRELOAD"
        )


def _pool(options: argparse.Namespace) -> Pool:
    """The processes that rewrite, and compile for softgpu; the first one is on its way."""
    limits = CodeLimits(
        options.code_workers_max, options.code_seconds_max, options.code_memory_bytes_max
    )
    works = [WORK_MODULE, *([SOFT_WORK_MODULE] if options.device == "soft" else [])]
    pool = Pool(works, limits)
    pool.start()
    return pool


def _engine_config(options: argparse.Namespace, pool: Pool) -> EngineConfig:
    soft = options.device == "soft"
    usual = paths.softgpu_library() if soft else Path("libcuda.so.1")
    driver = options.driver or usual
    if driver is None:
        raise NoDeviceError("the software GPU (libtally_softgpu.so) is missing from the package")
    if soft:
        from .soft import prepare

        prepare(str(driver), pool, options.code_cache_bytes_max, note_refused)
    pinned, pinned_job, pinned_session = _pinned_bytes(options)
    folder = options.state / "rewritten" if options.state else None
    rewrite, beside = install(folder, pool, options.code_cache_bytes_max)
    return EngineConfig(
        driver=str(driver),
        runtime_dir=str(options.runtime),
        waiting_kernels=options.waiting_kernels,
        device=options.index,
        soft=soft,
        soft_devices=options.index + 1 if soft else 0,
        soft_workers=options.soft_workers or cpus.soft_workers(cpus.available()),
        soft_memory_bytes=options.soft_memory_bytes,
        soft_dry=options.soft_dry,
        connect_seconds_max=options.connect_seconds_max,
        pinned_bytes_max=pinned,
        pinned_bytes_job_max=pinned_job,
        pinned_bytes_session_max=pinned_session,
        event_timing=options.event_timing,
        limits={name: getattr(options, name) for name in ENGINE_LIMITS},
        rewrite=rewrite,
        rewrite_beside=beside,
    )


def _scaled(value: float | None, scale: float) -> int | None:
    return None if value is None else round(value * scale)


def _schedule(engine: Engine, options: argparse.Namespace) -> None:
    default_us = SOFT_TURNAROUND_US if options.device == "soft" else GPU_TURNAROUND_US
    bound_ns = round((options.turnaround_us_max or default_us) * 1000)
    scale = max(1.0, bound_ns / (GPU_TURNAROUND_US * 1000))
    limits = Limits.default()
    given: dict[str, int | None] = {
        "stops_permil_max": _scaled(options.stops_percent_max, 10),
        "best_effort_permil_min": _scaled(options.best_effort_min_percent, 10),
        "watchdog_times": options.watchdog_times,
        "watchdog_ns_min": _scaled(options.watchdog_seconds_min, 1e9),
    }
    words = {name: value for name, value in given.items() if value is not None}
    limits = dataclasses.replace(limits, **words)
    engine.set_limits(
        dataclasses.replace(
            limits,
            turnaround_ns_max=bound_ns,
            # Still below gap_wait_ns_max: services do not pause for longer on a slower device.
            hysteresis_ns=round(limits.hysteresis_ns * min(scale, HYSTERESIS_SCALE_MAX)),
            quantum_ns=round(limits.quantum_ns * scale),
            timeslice_ns=round(limits.timeslice_ns * scale),
        )
    )
    engine.set_policy(options.policy)


def _pinned_bytes(options: argparse.Namespace) -> tuple[int, int, int]:
    """Limits in bytes: of all sessions, of a job, of a session."""
    everything = options.pinned_bytes_max or memory.machine_bytes() // 2
    job = options.pinned_bytes_job_max or everything // 2
    return everything, job, options.pinned_bytes_session_max or job


def _catch_signals() -> int:
    """A descriptor that becomes readable on SIGTERM. Ctrl-C is for tallyd, which tells us."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # of tallyd's terminal, but not in front of it
    return reading


def _serve(options: argparse.Namespace, channel: Channel) -> int:
    from tally._native import lib

    wake_fd = _catch_signals()
    lib.tally_engine_die_with_parent(os.getppid(), signal.SIGTERM)
    if libzmq := paths.libzmq(os.environ):
        os.environ["TALLY_LIBZMQ"] = str(libzmq)
    _refuse_shim()
    descriptors.raise_limit(options.descriptors_max)
    pool = _pool(options)
    engine = Engine(_engine_config(options, pool))
    refused_fd = descriptors.guard()
    _schedule(engine, options)
    know_device(engine.compute_capability())
    info, name, version = engine.device()
    # What dry launches take says nothing, and would spoil the plans of the device's next real run.
    keep = options.state and not options.soft_dry
    profiles = Profiles(engine, name, options.state, options.plans_max) if keep else None
    channel.send(
        {
            "event": "ready",
            "pid": os.getpid(),
            "device": base64.b64encode(info).decode(),
            "driver_version": version,
            "device_name": name,
            "kind": options.device,
        }
    )
    recorder = Recorder(engine, options.device)
    pinned_bytes_max = _pinned_bytes(options)[0]
    executor = Executor(
        engine,
        channel,
        wake_fd,
        recorder,
        profiles,
        refused_fd,
        pinned_bytes_max,
        options.plans_max,
        options.held_up_seconds_min,
    )
    executor.run()
    if executor.lost:
        channel.close()
        os._exit(EXIT_LOST)  # a driver with a dead context may hang in an orderly end
    if profiles:
        profiles.close()
    pool.close()  # ahead of the engine, which waits for what is being rewritten
    engine.close()
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run an executor. Exit status 0, 3 without a usable device, 4 when the context was lost."""
    options = _parse(arguments)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(name)s[%(process)d]: %(message)s"
    )
    channel = Channel(f"ipc://{options.runtime}/executor-{options.index}.sock")
    status = NoDeviceError.exit_status
    try:
        status = _serve(options, channel)
    except TallyError as error:
        channel.send({"event": "failed", "reason": str(error)})
    finally:
        channel.close()
    return status
