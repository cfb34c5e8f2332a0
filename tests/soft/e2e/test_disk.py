"""Disks that are full, folders that cannot be written, files that are damaged: jobs go on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon, wait_until
from support.toolchain import Builder

from tally.daemon.executor.profiles import SAVE_SECONDS
from tally.daemon.executor.rewrite import seal
from tally.scheduler.profiles import FILE_NAME

pytestmark = pytest.mark.timeout(180)

NOT_REWRITTEN, NO_PROFILES = "rewritten modules are not kept", "profiles are not kept"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own; skips where this process may not mount one."""
    if shutil.which("mount") is None:
        pytest.skip("no disk to fill: there is no mount here")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tally-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no disk to fill: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all space that is left; the file that has it."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return path


def warnings(daemon: Daemon) -> tuple[int, int]:
    log = daemon.log()
    return log.count(NOT_REWRITTEN), log.count(NO_PROFILES)


def test_a_disk_that_fills_up(small_disk: Path, builder: Builder) -> None:
    """One warning of each kind; once there is room again, what was measured is kept."""
    with Daemon(env={"TALLY_STATE_DIR": str(small_disk)}) as daemon:
        daemon.ok(builder.get("vector_add"))
        assert warnings(daemon) == (0, 0)
        filler = fill(small_disk)
        daemon.ok(builder.get("matmul"))
        wait_until(lambda: warnings(daemon) == (1, 1), 3 * SAVE_SECONDS, "both are said")
        daemon.ok(builder.get("histogram"))
        daemon.ok(builder.get("reduction"))
        kept = len(profiles(daemon))
        filler.unlink()
        daemon.ok(builder.get("matmul"))
        wait_until(lambda: len(profiles(daemon)) > kept, 3 * SAVE_SECONDS, "profiles are kept")
        assert warnings(daemon) == (1, 1)
        assert daemon.stats()["devices"][0]["restarts"] == 0


def profiles(daemon: Daemon) -> list[object]:
    done = daemon.run_tally("profile", "show", "--json")
    return list(json.loads(done.stdout)) if done.returncode == 0 else []


def test_a_state_folder_that_cannot_be_written(tmp_path: Path, builder: Builder) -> None:
    """Also where the tests are root, whom permissions do not stop."""
    (tmp_path / FILE_NAME).mkdir()
    (tmp_path / "rewritten").write_text("not a folder")
    with Daemon(env={"TALLY_STATE_DIR": str(tmp_path)}) as daemon:
        for program in ("vector_add", "matmul", "histogram"):
            daemon.ok(builder.get(program))
        wait_until(lambda: warnings(daemon) == (1, 1), 3 * SAVE_SECONDS, "both are said")
        assert daemon.stats()["devices"][0]["restarts"] == 0


def counters(daemon: Daemon, name: str) -> dict[str, int]:
    (job,) = [entry for entry in daemon.stats()["jobs"] if entry["name"] == name]
    return dict(job["stats"]["counters"])


def kept(state: Path) -> list[Path]:
    """Rewritten modules."""
    return list((state / "rewritten").glob("*.ptx"))


def refused(daemon: Daemon, name: str) -> int:
    return counters(daemon, name)["rewrites_refused"]


def test_a_rewritten_module_that_the_driver_refuses(tmp_path: Path, builder: Builder) -> None:
    """Its kernels run whole; that is counted, and `tally doctor` says it."""
    environment = {"TALLY_STATE_DIR": str(tmp_path)}
    with Daemon(env=environment) as daemon:
        daemon.ok(builder.get("matmul"), name="first")
        assert refused(daemon, "first") == 0
        wait_until(lambda: list(kept(tmp_path)) != [], 10, "the module is kept")
    rewritten = kept(tmp_path)
    for path in rewritten:
        path.write_bytes(seal(b".version 8.0\n.target sm_80\n.address_size 64\nno such thing;\n"))
    with Daemon(env=environment) as daemon:
        names = iter(f"second-{number}" for number in range(100))
        runs = []

        def is_refused() -> bool:  # a run may be over before its forms' turn has come
            runs.append(next(names))
            daemon.ok(builder.get("matmul"), name=runs[-1])
            return refused(daemon, runs[-1]) == len(rewritten)

        wait_until(is_refused, 30, "the driver is asked in time")
        counted = counters(daemon, runs[-1])
        assert counted["starts"] == counted["launches"] > 0
        report = daemon.run_tally("doctor").stdout
        assert re.search(rf"\d+ of best-effort jobs' {len(runs)} modules could not", report)


def test_damaged_files_of_the_rewrite_cache(tmp_path: Path, builder: Builder) -> None:
    """They are not used: the modules are rewritten again."""
    programs = [builder.get(name) for name in ("vector_add", "matmul", "histogram")]
    environment = {"TALLY_STATE_DIR": str(tmp_path)}
    with Daemon(env=environment) as daemon:
        for program in programs:
            daemon.ok(program)
        wait_until(lambda: len(kept(tmp_path)) == 3, 10, "all modules are kept")
    sound = {path: path.read_bytes() for path in kept(tmp_path)}
    empty, short, changed = sorted(sound)
    empty.write_bytes(b"")
    short.write_bytes(sound[short][:-100])
    changed.write_bytes(sound[changed].replace(b"ret", b"rat"))
    with Daemon(env=environment) as daemon:
        for number, program in enumerate(programs):
            daemon.ok(program, name=f"again-{number}")
            assert refused(daemon, f"again-{number}") == 0
        wait_until(lambda: {p: p.read_bytes() for p in sound} == sound, 10, "they are made anew")
