"""The native engine, with Python's types and errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tally._native import ffi, lib
from tally.client.protocol import DEVICE_INFO_BYTES
from tally.errors import NoDeviceError, RefusedError

from .executor_stats import session_stats

ERROR_BYTES = 512
SESSIONS_MAX = 128


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What an engine is made of; see struct tally_engine_config."""

    driver: str
    runtime_dir: str
    shm_prefix: str
    device: int = 0
    soft: bool = False
    soft_devices: int = 0
    soft_workers: int = 0
    soft_memory_bytes: int = 0
    soft_dry: bool = False
    event_timing: bool = False
    soft_compile: int = 0  # address of a softgpu_compile_fn; 0: none


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """One client process on this device; see struct tally_session_config."""

    session: int
    pid: int
    uid: int
    gid: int
    high: bool
    priority: int = 0
    slot_count: int = 16
    slot_bytes: int = 1 << 20
    memory_limit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something that happened without being asked for: `kind` is closed, fault or lost."""

    kind: str
    session: int
    error: int
    reason: str
    stats: Mapping[str, Any]


_KINDS = {
    lib.TALLY_ENGINE_CLOSED: "closed",
    lib.TALLY_ENGINE_FAULT: "fault",
    lib.TALLY_ENGINE_LOST: "lost",
}


def _text(native: Any) -> str:
    raw: bytes = ffi.string(native)
    return raw.decode(errors="replace")


class Engine:
    """One device and its sessions. Not for several threads at once. Close it in the end."""

    def __init__(self, config: EngineConfig):
        """NoDeviceError if the driver or the device cannot be used."""
        strings = [
            ffi.new("char[]", text.encode())
            for text in (config.driver, config.runtime_dir, config.shm_prefix)
        ]
        native = ffi.new("struct tally_engine_config *")
        native.driver, native.runtime_dir, native.shm_prefix = strings
        native.device = config.device
        native.event_timing = config.event_timing
        native.soft = config.soft
        native.soft_devices = config.soft_devices
        native.soft_workers = config.soft_workers
        native.soft_memory_bytes = config.soft_memory_bytes
        native.soft_dry = config.soft_dry
        native.soft_compile = ffi.cast("void *", config.soft_compile)
        error = ffi.new("char[]", ERROR_BYTES)
        self._engine = lib.tally_engine_create(native, error, ERROR_BYTES)
        if not self._engine:
            raise NoDeviceError(_text(error) or "the engine is short of memory")

    def close(self) -> None:
        """End all sessions and let go of the device. Waits until work that runs has ended."""
        if self._engine:
            lib.tally_engine_destroy(self._engine)
            self._engine = ffi.NULL

    def device(self) -> tuple[bytes, str, int]:
        """struct tally_device_info, the device's name, and the driver's version."""
        info = ffi.new("struct tally_device_info *")
        version = ffi.new("int32_t *")
        lib.tally_engine_device(self._engine, info, version)
        raw = bytes(ffi.buffer(info))
        assert len(raw) == DEVICE_INFO_BYTES
        return raw, _text(info.name), version[0]

    def open(self, config: SessionConfig) -> dict[str, Any]:
        """Where the client finds its session. RefusedError if there is no room for it."""
        native = ffi.new(
            "struct tally_session_config *",
            {
                "session": config.session,
                "pid": config.pid,
                "uid": config.uid,
                "gid": config.gid,
                "high": config.high,
                "priority": config.priority,
                "slot_count": config.slot_count,
                "slot_bytes": config.slot_bytes,
                "memory_limit_bytes": config.memory_limit_bytes,
            },
        )
        reply = ffi.new("struct tally_open_reply *")
        error = ffi.new("char[]", ERROR_BYTES)
        if lib.tally_engine_open(self._engine, native, reply, error, ERROR_BYTES) != 0:
            raise RefusedError(_text(error))
        return {
            "ops": _text(reply.ops),
            "replies": _text(reply.replies),
            "segment": _text(reply.segment),
            "segment_bytes": reply.segment_bytes,
            "slot_count": reply.slot_count,
            "slot_bytes": reply.slot_bytes,
            "device_region_base": reply.device_region_base,
            "device_region_bytes": reply.device_region_bytes,
        }

    def end(self, session: int, reason: str) -> bool:
        """Ask a session to end; its closed event follows. False if there is none of that number."""
        return bool(lib.tally_engine_close(self._engine, session, reason.encode()) == 0)

    def event_fd(self) -> int:
        """Readable while events() has something to say."""
        return int(lib.tally_engine_event_fd(self._engine))

    def events(self) -> Iterator[EngineEvent]:
        """What has happened since the last call."""
        native = ffi.new("struct tally_engine_event *")
        while lib.tally_engine_next_event(self._engine, native):
            yield EngineEvent(
                kind=_KINDS[native.type],
                session=native.session,
                error=native.error,
                reason=_text(native.reason),
                stats=session_stats(native.stats),
            )

    def stats(self) -> dict[str, dict[str, Any]]:
        """Statistics of the open sessions, by session number as text (JSON's keys are texts)."""
        native = ffi.new("struct tally_session_stats[]", SESSIONS_MAX)
        count = lib.tally_engine_snapshot(self._engine, native, SESSIONS_MAX)
        return {str(native[i].session): session_stats(native[i]) for i in range(count)}
