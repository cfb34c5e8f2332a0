"""One program on several devices, each behind an executor of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import soft_driver
from support.daemon import Daemon, plain_environment, script
from support.toolchain import Builder

pytestmark = pytest.mark.timeout(180)


def test_one_program_on_two_devices(builder: Builder) -> None:
    builder.start("devices")
    with Daemon(device="soft:2") as daemon:
        assert daemon.ok(builder.get("devices")) == "ok\n"
        assert len(daemon.executor_pids()) == 2
        unsupported = [job["unsupported"] for job in daemon.stats()["jobs"]]
        assert not any(unsupported), unsupported


def test_workers_give_way_to_programs_on_the_cpu(builder: Builder) -> None:
    builder.start("devices")
    with Daemon("--soft-workers", "3", device="soft:2") as daemon:
        daemon.ok(builder.get("devices"))
        for executor in daemon.executor_pids():
            threads = {
                (task / "comm").read_text().strip(): os.getpriority(os.PRIO_PROCESS, int(task.name))
                for task in Path(f"/proc/{executor}/task").iterdir()
            }
            workers = {n for name, n in threads.items() if name.startswith("soft-sm-")}
            others = {n for name, n in threads.items() if not name.startswith("soft-sm-")}
            assert others == {os.nice(0)}, threads
            assert workers == {min(19, os.nice(0) + 10)}, threads


def test_drivers_that_give_the_same_addresses(builder: Builder, tmp_path: Path) -> None:
    """As real drivers may, in two executors: here each is softgpu in the guise of the machine's."""
    driver = soft_driver.build(builder.folder / "two_softgpus.c")
    (tmp_path / "libcuda.so.1").symlink_to(driver)
    with Daemon(device="cuda", env={"LD_LIBRARY_PATH": str(tmp_path)}) as daemon:
        assert daemon.ok(builder.get("two_drivers")) == "ok\n"
        assert len(daemon.executor_pids()) == 2


def test_modules_in_the_folder_where_tallyd_is_started_are_nothing_to_it() -> None:
    """A checkout's `tally/` is the command line alone, beside an installed package."""
    with tempfile.TemporaryDirectory(prefix="tally-") as name:
        folder = Path(name)
        for module in ("tally", "json", "base64", "ctypes"):
            (folder / f"{module}.py").write_text("raise SystemExit('not this one')\n")
        settings = {
            "TALLY_RUNTIME_DIR": str(folder / "run"),
            "TALLY_STATE_DIR": str(folder / "state"),
        }
        with subprocess.Popen(
            [script("tallyd")],  # the device is probed for as well
            cwd=folder,
            env=plain_environment() | settings,
            stderr=subprocess.PIPE,
            text=True,
        ) as tallyd:
            assert tallyd.stderr is not None
            log = ""
            while "ready after" not in log and "is gone" not in log:
                log += tallyd.stderr.readline()
            tallyd.terminate()
            log += tallyd.stderr.read()
        assert "is gone" not in log and "probing process" not in log, log
        assert tallyd.returncode == 0
