"""Profiles: what is known of kernels' times, kept from one start of the executor to the next.

One SQLite file in the state folder, keyed by GPU and signature, which holds the code's hash. Losing
it costs a few measurements, so no fault of the disk stops anything: the store goes on in memory,
counts the fault and says what it was. A file that is not a database any more is set aside as
`NAME.broken`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tally.scheduler.plans import Ability, Measured, PlanRecord

FILE_NAME = "profiles.sqlite"
SCHEMA_VERSION = 1
PROFILES_MAX = 16384  # of one GPU: as many as an engine has plans; the oldest go
BUSY_SECONDS = 2.0  # two processes may have the file open: the executor and `tally profile`
_TOP = 2**63  # SQLite's integers end there

_SCHEMA = """
CREATE TABLE IF NOT EXISTS profiles (
    gpu TEXT NOT NULL, signature TEXT NOT NULL,
    code_hash TEXT NOT NULL, kernel TEXT NOT NULL, shape TEXT NOT NULL,
    blocks INTEGER NOT NULL, resident INTEGER NOT NULL, abilities INTEGER NOT NULL,
    slice_blocks INTEGER NOT NULL, error_ns INTEGER NOT NULL,
    whole_ns INTEGER NOT NULL, whole_count INTEGER NOT NULL,
    guarded_ns INTEGER NOT NULL, guarded_count INTEGER NOT NULL,
    slice_ns INTEGER NOT NULL, slice_count INTEGER NOT NULL,
    stop_ns INTEGER NOT NULL, stop_count INTEGER NOT NULL,
    PRIMARY KEY (gpu, signature)) WITHOUT ROWID
"""
# What the GPU's executor was last started with: plans follow from profiles and this.
_BOUNDS_SCHEMA = """
CREATE TABLE IF NOT EXISTS bounds (
    gpu TEXT PRIMARY KEY NOT NULL, turnaround_ns_max INTEGER NOT NULL)
"""
_COLUMNS = (
    "gpu, signature, code_hash, kernel, shape, blocks, resident, abilities, slice_blocks, error_ns,"
    " whole_ns, whole_count, guarded_ns, guarded_count, slice_ns, slice_count, stop_ns, stop_count"
)
_Row = tuple[str | int, ...]


@dataclass(frozen=True)
class Profile:
    """One signature on one GPU. shape: grid, block and dynamic shared memory, for people."""

    gpu: str
    code_hash: str
    kernel: str
    shape: str
    record: PlanRecord


def _to_row(profile: Profile) -> _Row:
    record = profile.record
    times: list[int] = []
    for what in Measured:
        times += [min(record.ns[what], _TOP - 1), record.count[what]]
    return (
        profile.gpu,
        f"{record.signature:016x}",
        profile.code_hash,
        profile.kernel,
        profile.shape,
        record.blocks,
        record.resident,
        int(record.abilities),
        record.slice_blocks,
        min(record.error_ns, _TOP - 1),
        *times,
    )


def _from_row(row: _Row) -> Profile:
    """Raises ValueError or TypeError for a row that no version of this code has written."""
    gpu, signature, code_hash, kernel, shape = (str(value) for value in row[:5])
    blocks, resident, abilities, slice_blocks, error_ns, *times = (int(value) for value in row[5:])
    if min(blocks - 1, resident, slice_blocks, error_ns, *times) < 0 or blocks >= 2**32:
        raise ValueError("a profile's numbers are out of range")
    whole, guarded, sliced, stop = times[0::2]
    counts = (times[1], times[3], times[5], times[7])
    if max(*counts, resident, slice_blocks) >= 2**32:
        raise ValueError("a profile's counts are out of range")
    record = PlanRecord(
        int(signature, 16),
        blocks,
        (whole, guarded, sliced, stop),
        counts,
        slice_blocks,
        resident,
        Ability(abilities),
        error_ns,
    )
    return Profile(gpu, code_hash, kernel, shape, record)


def _add_time_saved(file: sqlite3.Connection) -> None:
    """Files of earlier versions do not know when a profile was saved: theirs are the oldest."""
    columns = {row[1] for row in file.execute("PRAGMA table_info(profiles)")}
    if "saved_s" not in columns:
        file.execute("ALTER TABLE profiles ADD COLUMN saved_s INTEGER NOT NULL DEFAULT 0")


class ProfileStore:
    """The file, and in memory whatever the file would not take. Owned by one thread.

    faults counts what went wrong with the disk, last_fault says the latest; neither ever raises.
    """

    def __init__(self, path: Path, profiles_max: int = PROFILES_MAX) -> None:
        self.path = path
        self.profiles_max = profiles_max
        self.faults = 0
        self.last_fault = ""
        self._memory: dict[tuple[str, int], Profile] = {}
        self._file: sqlite3.Connection | None = None
        self._open()

    # ---- the file -------------------------------------------------------------------------------

    def _fault(self, error: Exception) -> None:
        self.faults += 1
        self.last_fault = f"{self.path}: {error}"

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level="IMMEDIATE")
        try:
            (version,) = file.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                raise sqlite3.DatabaseError(f"has schema {version}, not {SCHEMA_VERSION}")
            with file:
                file.execute(_SCHEMA)
                file.execute(_BOUNDS_SCHEMA)
                _add_time_saved(file)
                file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            file.execute(f"SELECT {_COLUMNS} FROM profiles LIMIT 1").fetchall()
        except BaseException:
            file.close()
            raise
        return file

    def _open(self) -> None:
        try:
            self._file = self._connect()
        except sqlite3.OperationalError as error:  # full, locked, not writable: keep it
            self._fault(error)
        except sqlite3.DatabaseError as error:
            self._fault(error)
            self._set_aside()
        except OSError as error:
            self._fault(error)

    def _set_aside(self) -> None:
        """Keeps a broken file for whoever wants to look, and begins a new one."""
        self._close_file()
        try:
            self.path.replace(self.path.with_name(self.path.name + ".broken"))
            self._file = self._connect()
        except (OSError, sqlite3.Error) as error:
            self._fault(error)

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
        self._file = None

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    def close(self) -> None:
        self._close_file()

    # ---- profiles -------------------------------------------------------------------------------

    def save(self, profiles: Iterable[Profile]) -> bool:
        """Keeps profiles, replacing older ones of the same signature. False: in memory only."""
        batch = list(profiles)
        for profile in batch:
            self._memory[profile.gpu, profile.record.signature] = profile
        while len(self._memory) > self.profiles_max:  # the file takes none
            del self._memory[next(iter(self._memory))]
        if self._file is None:
            return False
        marks = ", ".join("?" * len(_COLUMNS.split(",")))
        statement = f"INSERT OR REPLACE INTO profiles ({_COLUMNS}, saved_s) VALUES ({marks}, ?)"
        # What an earlier save could not write is tried again with this one.
        now_s = int(time.time())
        rows = [(*_to_row(profile), now_s) for profile in self._memory.values()]
        try:
            with self._file:
                self._file.executemany(statement, rows)
                for gpu in sorted({profile.gpu for profile in batch}):
                    self._trim(gpu)
        except sqlite3.OperationalError as error:
            self._fault(error)
            return False
        except sqlite3.DatabaseError as error:
            self._fault(error)
            self._set_aside()
            return False
        self._memory.clear()
        return True

    def _trim(self, gpu: str) -> None:
        """Of a GPU's profiles, those saved last stay."""
        assert self._file is not None
        count = "SELECT count(*) FROM profiles WHERE gpu = ?"
        (held,) = self._file.execute(count, (gpu,)).fetchone()
        oldest = "SELECT signature FROM profiles WHERE gpu = :gpu ORDER BY saved_s LIMIT :many"
        self._file.execute(
            f"DELETE FROM profiles WHERE gpu = :gpu AND signature IN ({oldest})",
            {"gpu": gpu, "many": max(0, held - self.profiles_max)},
        )

    def load(self, gpu: str | None = None) -> list[Profile]:
        """All profiles, or those of one GPU, by kernel. Rows that make no sense are left out."""
        found: dict[tuple[str, int], Profile] = {}
        for row in self._rows():
            try:
                profile = _from_row(row)
            except (ValueError, TypeError) as error:
                self._fault(error)
                continue
            found[profile.gpu, profile.record.signature] = profile
        found |= self._memory
        wanted = [profile for profile in found.values() if gpu in (None, profile.gpu)]
        return sorted(wanted, key=lambda p: (p.gpu, p.kernel, p.shape, p.record.signature))

    def _rows(self) -> Iterator[_Row]:
        if self._file is None:
            return
        try:
            yield from self._file.execute(f"SELECT {_COLUMNS} FROM profiles")
        except sqlite3.OperationalError as error:
            self._fault(error)
        except sqlite3.DatabaseError as error:
            self._fault(error)
            self._set_aside()

    def save_bound(self, gpu: str, turnaround_ns_max: int) -> None:
        """Keeps the bound on turnaround that this GPU's executor has."""
        if self._file is None:
            return
        try:
            with self._file:
                row = (gpu, turnaround_ns_max)
                self._file.execute("INSERT OR REPLACE INTO bounds VALUES (?, ?)", row)
        except sqlite3.Error as error:
            self._fault(error)

    def bounds(self) -> dict[str, int]:
        """The bound on turnaround, in ns, of each GPU that had an executor."""
        if self._file is None:
            return {}
        try:
            rows = self._file.execute("SELECT gpu, turnaround_ns_max FROM bounds").fetchall()
            return {str(gpu): int(ns) for gpu, ns in rows if int(ns) > 0}
        except (sqlite3.Error, ValueError) as error:
            self._fault(error)
            return {}

    def clear(self, gpu: str | None = None) -> int:
        """Forgets profiles, all or those of one GPU; returns how many."""
        count = len(self.load(gpu))
        for key in [key for key in self._memory if gpu in (None, key[0])]:
            del self._memory[key]
        if self._file is not None:
            try:
                with self._file:
                    self._file.execute(
                        "DELETE FROM profiles WHERE :gpu IS NULL OR gpu = :gpu", {"gpu": gpu}
                    )
            except sqlite3.Error as error:
                self._fault(error)
        return count
