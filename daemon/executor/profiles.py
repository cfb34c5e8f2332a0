"""What the engine has measured of kernels, kept from one start of the executor to the next.

The store never fails its caller; what went wrong with the disk is logged, each kind of fault once.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tally.scheduler.plans import PlanRecord, shape_text
from tally.scheduler.profiles import FILE_NAME, Profile, ProfileStore

from .engine import PLANS_BATCH, Engine

log = logging.getLogger("tallyd.profiles")

SAVE_SECONDS = 5.0


class Profiles:
    """One device's plans on disk. Owned by the executor's one Python thread."""

    def __init__(self, engine: Engine, gpu: str, state_dir: Path, plans_max: int):
        """Load what is kept for this GPU into the engine, whose plans are so many at most. Two
        devices of a name share it."""
        self._engine = engine
        self._gpu = gpu
        self._told: set[str] = set()
        self._store = ProfileStore(state_dir / FILE_NAME, plans_max)
        self._store.save_bound(gpu, engine.limits.turnaround_ns_max)
        kept = [profile.record for profile in self._store.load(gpu)]
        taken = engine.import_plans(kept)
        self._tell()
        log.debug("%s: %d of %d profiles taken", gpu, taken, len(kept))

    def save(self) -> None:
        """Keep what has changed since the last call."""
        while True:
            changed = self._engine.export_plans()
            if changed:
                self._store.save(self._profile(record) for record in changed)
                self._tell()
            if len(changed) < PLANS_BATCH:
                return

    def _profile(self, record: PlanRecord) -> Profile:
        """What the engine cannot name, its table of kernels being full, goes by its signature."""
        kernel = self._engine.kernel(record.signature)
        if kernel is None:
            return Profile(self._gpu, "", "", f"{record.blocks} blocks", record)
        shape = shape_text(kernel["grid"], kernel["block"], kernel["dynamic_shared_bytes"])
        return Profile(self._gpu, kernel["code_hash"], kernel["name"], shape, record)

    def close(self) -> None:
        """Save, and let go of the file."""
        self.save()
        self._store.close()

    def _tell(self) -> None:
        fault = self._store.last_fault
        if fault and fault not in self._told:
            self._told.add(fault)
            log.warning("profiles are not kept: %s", fault)
