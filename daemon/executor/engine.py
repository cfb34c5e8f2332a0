"""The native engine, with Python's types and errors."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tally._native import ffi, lib
from tally.client.protocol import DEVICE_INFO_BYTES
from tally.errors import NoDeviceError, RefusedError
from tally.scheduler.limits import Limits
from tally.scheduler.plans import PlanRecord

from ..job_stats import quantile_ns
from .stats import histogram, session_stats

if TYPE_CHECKING:
    from tally._native import CData

ERROR_BYTES = 512
PLANS_BATCH = 1024
COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
MULTIPROCESSOR_COUNT = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """One client process on this device; see struct tally_session_config."""

    session: int
    pid: int
    uid: int
    gid: int
    high: bool
    process: int = 0  # see struct tally_gate_peer
    job: str = ""  # its id: sessions of one share its part of the device; empty: of none
    priority: int = 0
    weight: int = 1
    slot_count: int = 16
    slot_bytes: int = 1 << 20
    memory_max: int = 0  # bytes of device memory for all of the job's; 0: the device's


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something that happened without being asked for: `kind` is closed, fault, lost or notice."""

    kind: str
    session: int
    error: int
    reason: str
    stats: Mapping[str, Any]


_KINDS = {
    lib.TALLY_ENGINE_CLOSED: "closed",
    lib.TALLY_ENGINE_FAULT: "fault",
    lib.TALLY_ENGINE_RESCUED: "rescued",
    lib.TALLY_ENGINE_LOST: "lost",
    lib.TALLY_ENGINE_NOTICE: "notice",
}


def _text(native: CData) -> str:
    return ffi.string(native).decode(errors="replace")


def _job_number(name: str) -> int:
    """The engine's name for a job; 0 for none."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") if name else 0


class Engine:
    """One device and its sessions. Not for several threads at once. Close it in the end."""

    def __init__(self, words: Mapping[str, Any]):
        """words: members of struct tally_engine_config (native/engine/engine.h), which has their
        meanings; texts as str. NoDeviceError if the driver or the device cannot be used."""
        native = ffi.new("struct tally_engine_config *")
        self._keep = []  # the engine reads texts for as long as it lives
        for name, value in words.items():
            if isinstance(value, str):
                value = ffi.new("char[]", value.encode())
                self._keep.append(value)
            setattr(native, name, value)
        error = ffi.new("char[]", ERROR_BYTES)
        self._engine = lib.tally_engine_create(native, error, ERROR_BYTES)
        if not self._engine:
            raise NoDeviceError(_text(error) or "the engine is short of memory")
        self.limits = Limits.default()

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

    def multiprocessors(self) -> int:
        """How many the device has."""
        info = ffi.new("struct tally_device_info *")
        lib.tally_engine_device(self._engine, info, ffi.new("int32_t *"))
        return int(info.attributes[MULTIPROCESSOR_COUNT])

    def compute_capability(self) -> int:
        """The device's, 90 for 9.0."""
        info = ffi.new("struct tally_device_info *")
        lib.tally_engine_device(self._engine, info, ffi.new("int32_t *"))
        major, minor = (info.attributes[index] for index in COMPUTE_CAPABILITY)
        return int(10 * major + minor)

    def times_reported(self) -> bool:
        """Whether the driver itself tells when launches ran."""
        return bool(lib.tally_engine_times_reported(self._engine))

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
                "process": config.process,
                "job": _job_number(config.job),
                "priority": config.priority,
                "weight": config.weight,
                "slot_count": config.slot_count,
                "slot_bytes": config.slot_bytes,
                "memory_max": config.memory_max,
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

    def validate(self) -> str | None:
        """What is wrong with the scheduler's books. Walks all of them."""
        wrong = lib.tally_engine_validate(self._engine)
        return None if wrong == ffi.NULL else _text(wrong)

    def set_policy(self, name: str) -> None:
        """Switch to the policy of that name. ValueError if there is none."""
        for policy in range(lib.tally_sched_policy_count()):
            if _text(lib.tally_sched_policy_name(policy)) == name:
                lib.tally_engine_set_policy(self._engine, policy)
                return
        raise ValueError(f"there is no policy {name!r}")

    def policy(self) -> str:
        """The name of the policy in force."""
        return _text(lib.tally_sched_policy_name(lib.tally_engine_policy(self._engine)))

    def set_limits(self, limits: Limits) -> None:
        """Set the scheduler's bounds. ValueError if they make no sense."""
        native = ffi.new("struct tally_sched_limits *", dataclasses.asdict(limits))
        if lib.tally_engine_set_limits(self._engine, native) != 0:
            raise ValueError("the scheduler's limits make no sense")
        self.limits = limits

    def schedule(self) -> dict[str, Any]:
        """What the scheduler saw: turnaround in ns, estimated and measured."""
        native = ffi.new("struct tally_sched_stats *")
        lib.tally_engine_schedule(self._engine, native)
        taken = ffi.new("struct tally_histogram *")
        lib.tally_histogram_take(taken, ffi.addressof(native, "turnaround_ns"))
        turnaround = histogram(taken)
        return {
            "policy": self.policy(),
            "turnaround": {
                **{key: turnaround[key] for key in ("count", "sum_ns", "max_ns")},
                "p50_ns": quantile_ns(turnaround, 50),
                "p99_ns": quantile_ns(turnaround, 99),
                "unmet": native.turnaround_unmet,
                "missed": native.turnaround_missed,
                "estimated_sum_ns": native.turnaround_estimated_ns,
                "error_sum_ns": native.turnaround_error_ns,
            },
            "oversized": native.oversized,
            "rescues": native.rescues,
        }

    def running(self) -> Iterator[tuple[int, int, int]]:
        """Sessions that have anything with the device: number, the signature of what has been there
        for longest (0: a copy or a fill), and for how many ns."""
        native = ffi.new("struct tally_running[]", lib.TALLY_SESSIONS_MAX)
        count = lib.tally_engine_running(self._engine, native, lib.TALLY_SESSIONS_MAX)
        return ((one.session, one.signature, one.ns) for one in native[0:count])

    def export_plans(self) -> list[PlanRecord]:
        """Plans that changed since the last call, some at a time."""
        native = ffi.new("struct tally_plan_record[]", PLANS_BATCH)
        count = lib.tally_engine_export_plans(self._engine, native, PLANS_BATCH)
        return [PlanRecord.read(native[i]) for i in range(count)]

    def import_plans(self, records: Sequence[PlanRecord]) -> int:
        """Put kept plans back; returns how many were taken."""
        native = ffi.new("struct tally_plan_record[]", max(1, len(records)))
        for i, record in enumerate(records):
            native[i] = record.write()[0]
        return int(lib.tally_engine_import_plans(self._engine, native, len(records)))

    def plans_evicted(self) -> int:
        """How many plans made room for others."""
        return int(lib.tally_engine_plans_evicted(self._engine))

    def kernel(self, signature: int) -> dict[str, Any] | None:
        """What a signature stands for: name, grid, block, ...; None if that is not known."""
        native = ffi.new("struct tally_kernel *")
        if not lib.tally_engine_kernel(self._engine, signature, native):
            return None
        return {
            "name": _text(native.name),
            "code_hash": f"{native.code:016x}",
            "grid": list(native.grid),
            "block": list(native.block),
            "dynamic_shared_bytes": native.dynamic_shared_bytes,
            "blocks_per_sm": native.blocks_per_sm,
            "abilities": native.abilities,
        }

    def trace_start(self, records_max: int) -> bool:
        """Begin to keep records of launches and requests. False if that is going on already."""
        return bool(lib.tally_engine_trace_start(self._engine, records_max) == 0)

    def trace_stop(self) -> None:
        """Keep no more records, and drop those that nobody has read."""
        lib.tally_engine_trace_stop(self._engine)

    def trace_read(self, records_max: int) -> tuple[bytes, int]:
        """The oldest records, an array of struct tally_trace_record; and how many were lost."""
        native = ffi.new("struct tally_trace_record[]", records_max)
        lost = ffi.new("uint64_t *")
        count = lib.tally_engine_trace_read(self._engine, native, records_max, lost)
        return bytes(ffi.buffer(native)[: count * ffi.sizeof("struct tally_trace_record")]), lost[0]

    def stats(self) -> dict[str, dict[str, Any]]:
        """Statistics of the open sessions, by session number as text (JSON's keys are texts)."""
        native = ffi.new("struct tally_session_stats[]", lib.TALLY_SESSIONS_MAX)
        count = lib.tally_engine_snapshot(self._engine, native, lib.TALLY_SESSIONS_MAX)
        return {str(native[i].session): session_stats(native[i]) for i in range(count)}
