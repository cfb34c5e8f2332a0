"""The scheduler's limits. Written by `python -m tally.interpose generate`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tally._native import ffi, lib


@dataclass(frozen=True)
class Limits:
    """struct tally_sched_limits of native/include/tally/sched.h, which says what they mean."""

    turnaround_ns_max: int
    alone_ns_max: int
    hysteresis_ns: int
    gap_wait_ns_max: int
    quantum_ns: int
    timeslice_ns: int
    preemptible_depth: int
    stops_permil_max: int
    best_effort_permil_min: int
    watchdog_times: int
    watchdog_ns_min: int

    @classmethod
    def default(cls) -> Limits:
        """The scheduler's own."""
        config = ffi.new("struct tally_sched_config *")
        lib.tally_sched_config_default(config)
        return cls(*(int(getattr(config.limits, field.name)) for field in fields(cls)))
