"""The executor's process, which tallyd starts for one device: builds its parts and ends them."""

from __future__ import annotations

import base64
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tally import config as settings
from tally._native import lib
from tally.client import paths
from tally.config import Config
from tally.errors import ConfigError, NoDeviceError, TallyError
from tally.scheduler.limits import Limits

from .. import cpus, descriptors
from ..assignment import Assignment
from ..softgpu import WORK_MODULE as SOFT_WORK_MODULE
from ..workers import Limits as CodeLimits
from ..workers import Pool
from . import memory
from .engine import Engine
from .profiles import Profiles
from .recorder import Recorder
from .rewrite import WORK_MODULE, install, know_device, note_refused
from .server import Channel, Executor

GPU_TURNAROUND_US = 31.6
SOFT_TURNAROUND_US = 1000.0  # softgpu's blocks take so much longer than a GPU's
HYSTERESIS_SCALE_MAX = 10.0
EXIT_LOST = 4  # the device's context is gone for everybody


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


def _pool(assignment: Assignment) -> Pool:
    """The processes that rewrite, and compile for softgpu; the first one is on its way."""
    config = assignment.config
    limits = CodeLimits(
        config.code_workers_max, config.code_seconds_max, config.code_memory_bytes_max
    )
    works = [WORK_MODULE, *([SOFT_WORK_MODULE] if assignment.soft else [])]
    pool = Pool(works, limits)
    pool.start()
    return pool


def _driver(assignment: Assignment, pool: Pool) -> str:
    """The driver's library, with its compiler where it is the software GPU."""
    usual = paths.softgpu_library() if assignment.soft else Path("libcuda.so.1")
    driver = assignment.driver or usual
    if driver is None:
        raise NoDeviceError("the software GPU (libtally_softgpu.so) is missing from the package")
    if assignment.soft:
        from .soft import prepare

        prepare(str(driver), pool, assignment.config.code_cache_bytes_max, note_refused)
    return str(driver)


def _engine(assignment: Assignment, pool: Pool) -> Engine:
    config, soft = assignment.config, assignment.soft
    driver = _driver(assignment, pool)
    folder = config.state_dir / "rewritten" if assignment.keeps else None
    rewrite, rewrite_beside = install(folder, pool, config.code_cache_bytes_max)
    own: dict[str, Any] = {
        "driver": driver,
        "runtime_dir": str(config.runtime_dir),
        "device": assignment.index,
        "soft": soft,
        "soft_devices": assignment.index + 1 if soft else 0,
        "soft_workers": config.soft_workers or cpus.soft_workers(cpus.available()),
        "soft_dry": soft and config.soft_dry,
        "connect_ms_max": round(config.connect_seconds_max * 1000),
        "event_timing": assignment.event_timing,
        "rewrite": rewrite,
        "rewrite_beside": rewrite_beside,
    }
    return Engine(settings.engine_values(config) | pinned_bytes(config) | own)


def limits_on(kind: str, config: Config) -> Limits:
    """The scheduler's limits: as the settings say, with times that suit the kind of device."""
    default_us = SOFT_TURNAROUND_US if kind == "soft" else GPU_TURNAROUND_US
    turnaround_us = config.turnaround_us_max or default_us
    given = {name: getattr(config, name) for name in settings.LIMITS}
    words = settings.limits_of(given | {"turnaround_us_max": turnaround_us})
    limits = dataclasses.replace(Limits.default(), **words)
    scale = max(1.0, turnaround_us / GPU_TURNAROUND_US)
    return dataclasses.replace(
        limits,
        # Still below gap_wait_ns_max: services do not pause for longer on a slower device.
        hysteresis_ns=round(limits.hysteresis_ns * min(scale, HYSTERESIS_SCALE_MAX)),
        quantum_ns=round(limits.quantum_ns * scale),
        timeslice_ns=round(limits.timeslice_ns * scale),
    )


def pinned_bytes(config: Config) -> dict[str, int]:
    """Limits in bytes, by setting: of all sessions, of a job, of a session."""
    everything = config.pinned_bytes_max or memory.machine_bytes() // 2
    job = config.pinned_bytes_job_max or everything // 2
    return {
        "pinned_bytes_max": everything,
        "pinned_bytes_job_max": job,
        "pinned_bytes_session_max": config.pinned_bytes_session_max or job,
    }


def _catch_signals() -> int:
    """A descriptor that becomes readable on SIGTERM. Ctrl-C is for tallyd, which tells us."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # of tallyd's terminal, but not in front of it
    return reading


def _serve(assignment: Assignment, channel: Channel) -> int:
    config = assignment.config
    wake_fd = _catch_signals()
    lib.tally_engine_die_with_parent(os.getppid(), signal.SIGTERM)
    if libzmq := paths.libzmq(os.environ):
        os.environ["TALLY_LIBZMQ"] = str(libzmq)
    _refuse_shim()
    descriptors.raise_limit(config.descriptors_max)
    pool = _pool(assignment)
    engine = _engine(assignment, pool)
    refused_fd = descriptors.guard()
    engine.set_limits(limits_on(assignment.kind, config))
    engine.set_policy(config.policy)
    know_device(engine.compute_capability())
    info, name, version = engine.device()
    # What dry launches take says nothing, and would spoil the plans of the device's next real run.
    keep = assignment.keeps and not (assignment.soft and config.soft_dry)
    profiles = Profiles(engine, name, config.state_dir, config.plans_max) if keep else None
    channel.send(
        {
            "event": "ready",
            "pid": os.getpid(),
            "device": base64.b64encode(info).decode(),
            "driver_version": version,
            "device_name": name,
            "kind": assignment.kind,
        }
    )
    recorder = Recorder(engine, assignment.kind)
    executor = Executor(
        engine,
        channel,
        wake_fd,
        recorder,
        profiles,
        refused_fd,
        pinned_bytes(config)["pinned_bytes_max"],
        config.plans_max,
        config.held_up_seconds_min,
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
    """Run an executor: arguments are one Assignment as JSON.

    Exit status 0, 2 for a wrong argument, 3 without a usable device, 4 when the context was lost.
    """
    try:
        (text,) = arguments or [""]
        assignment = Assignment.from_json(text)
    except (ValueError, ConfigError) as error:
        print(f"tally.daemon.executor: {error}", file=sys.stderr)
        return ConfigError.exit_status
    logging.basicConfig(
        level=assignment.config.log_level.upper(), format="%(name)s[%(process)d]: %(message)s"
    )
    channel = Channel(assignment.endpoint)
    status = NoDeviceError.exit_status
    try:
        status = _serve(assignment, channel)
    except TallyError as error:
        channel.send({"event": "failed", "reason": str(error)})
    finally:
        channel.close()
    return status
