"""Profiles: what was measured, outliving the process and the disk."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tally.commands.profile import command
from tally.errors import TallyError
from tally.scheduler.limits import Limits
from tally.scheduler.profiles import FILE_NAME, Profile, ProfileStore

from .records import known

US = 1000


def profile(signature: int, gpu: str = "A100", whole: int = 100 * US) -> Profile:
    record = replace(known(whole=whole, guarded=whole + 500, stop=9000), signature=signature)
    return Profile(gpu, "c0de", f"kernel{signature % 7}", "(8,1,1)x(256,1,1)+0", record)


def test_profiles_persist_and_are_replaced(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "state" / FILE_NAME)
    assert store.save([profile(2**64 - 1), profile(2), profile(2, "H100")])
    assert store.save([profile(2, whole=70 * US)])
    store.close()
    again = ProfileStore(tmp_path / "state" / FILE_NAME)
    assert len(again.load()) == 3 and again.faults == 0
    assert [p.record.ns[0] for p in again.load("A100")] == [100 * US, 70 * US]
    assert again.load("A100")[0] == profile(2**64 - 1)
    assert again.clear("H100") == 1 and len(again.load()) == 2
    assert again.clear() == 2 and again.load() == []


@pytest.mark.parametrize("content", [b"garbage " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_corrupt_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    store = ProfileStore(path)
    assert store.on_disk and store.faults == 1 and FILE_NAME in store.last_fault
    assert (tmp_path / (FILE_NAME + ".broken")).read_bytes() == content
    assert store.save([profile(1)]) and store.load() == [profile(1)]


def test_a_file_of_another_version_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    store = ProfileStore(path)
    assert store.on_disk and store.faults == 1 and "99" in store.last_fault


def test_a_full_disk_is_counted_and_survived(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / FILE_NAME)
    assert store.save([profile(1)])
    assert store._file is not None
    (pages,) = store._file.execute("PRAGMA page_count").fetchone()
    store._file.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own "disk is full"
    many = [profile(i) for i in range(2000)]
    assert not store.save(many)
    assert store.faults == 1 and "full" in store.last_fault
    assert len(store.load()) == 2000
    store._file.execute("PRAGMA max_page_count = 100000")
    assert store.save([]) and store.faults == 1
    assert len(ProfileStore(tmp_path / FILE_NAME).load()) == 2000


def test_no_place_to_write_means_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ProfileStore(tmp_path / "file" / FILE_NAME)
    assert not store.on_disk and store.faults == 1
    assert not store.save([profile(1)])
    assert store.load() == [profile(1)] and store.clear() == 1


def test_rows_that_make_no_sense_are_left_out(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / FILE_NAME)
    store.save([profile(1), profile(2), profile(3)])
    assert store._file is not None
    with store._file:
        store._file.execute("UPDATE profiles SET blocks = -1 WHERE signature LIKE '%1'")
        store._file.execute("UPDATE profiles SET whole_ns = 'x' WHERE signature LIKE '%2'")
    assert store.load() == [profile(3)] and store.faults == 2


def test_two_stores_on_one_file(tmp_path: Path) -> None:
    first, second = ProfileStore(tmp_path / FILE_NAME), ProfileStore(tmp_path / FILE_NAME)
    assert first.save([profile(1)]) and second.save([profile(2)])
    assert len(first.load()) == len(second.load()) == 2


def test_the_command_shows_and_clears(tmp_path: Path) -> None:
    words = ["--state-dir", str(tmp_path)]
    run = CliRunner().invoke
    assert run(command, [*words, "show"]).output == f"no profiles in {tmp_path}\n"
    assert isinstance(run(command, [*words, "clear"]).exception, TallyError)
    ProfileStore(tmp_path / FILE_NAME).save([profile(1), profile(2, "H100")])
    shown = run(command, [*words, "show"])
    assert "kernel1" in shown.output and "preemptible" in shown.output
    rows = json.loads(run(command, [*words, "show", "--gpu", "H100", "--json"]).output)
    assert [row["kernel"] for row in rows] == ["kernel2"] and rows[0]["whole_ns"] == 100 * US
    assert run(command, [*words, "clear"]).output == "2 profiles forgotten\n"
    assert (
        run(command, [*words, "show", "--gpu", "B"]).output == f"no profiles of B in {tmp_path}\n"
    )


def test_the_command_plans_by_the_devices_own_bound(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / FILE_NAME)
    store.save([profile(1, "soft"), profile(1, "A100"), profile(1, "old")])
    store.save_bound("soft", 1000 * US)
    store.save_bound("A100", 5 * US)
    store.save_bound("A100", 30 * US)
    assert ProfileStore(tmp_path / FILE_NAME).bounds() == {"soft": 1000 * US, "A100": 30 * US}
    run = CliRunner().invoke
    rows = json.loads(run(command, ["--state-dir", str(tmp_path), "show", "--json"]).output)
    plans = {row["gpu"]: (row["plan"], row["turnaround_ns_max"]) for row in rows}
    assert plans == {
        "soft": ("whole", 1000 * US),
        "A100": ("preemptible", 30 * US),
        "old": ("preemptible", Limits.default().turnaround_ns_max),
    }
    shown = run(command, ["--state-dir", str(tmp_path), "show", "--gpu", "soft"]).output
    assert "soft: plans for a turnaround of at most 1ms" in shown and "A100" not in shown


def test_a_file_without_bounds_has_none(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / FILE_NAME)
    assert store._file is not None
    with store._file:
        store._file.execute("INSERT INTO bounds VALUES ('odd', 'x')")
        store._file.execute("INSERT INTO bounds VALUES ('less', -1)")
    assert store.bounds() == {} and store.faults == 1
    with store._file:
        store._file.execute("DROP TABLE bounds")
    assert store.bounds() == {} and store.faults == 2
    store.save_bound("soft", 1)
    assert store.faults == 3


def test_a_store_keeps_the_profiles_that_were_saved_last(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / FILE_NAME, profiles_max=10)
    for signature in range(30):
        record = replace(known(whole=1000), signature=signature)
        store.save([Profile("gpu", "", "", "", record)])
        store.save([Profile("other", "", "", "", record)] * (signature < 3))
    assert len(store.load("gpu")) == 10
    assert 29 in {profile.record.signature for profile in store.load("gpu")}
    assert len(store.load("other")) == 3
    store.close()


def test_a_store_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / FILE_NAME)
    store.save([Profile("gpu", "", "", "", known(whole=1000))])
    store.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        file.execute("ALTER TABLE profiles DROP COLUMN saved_s")
    file.close()
    store = ProfileStore(tmp_path / FILE_NAME)
    assert len(store.load("gpu")) == 1 and store.faults == 0
    assert store.save([Profile("gpu", "", "", "", replace(known(whole=1000), signature=2))])
    store.close()
