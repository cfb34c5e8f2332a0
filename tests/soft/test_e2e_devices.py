"""One program on several devices, each behind an executor of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import soft_driver
from support.daemon import Daemon
from support.toolchain import Builder

pytestmark = pytest.mark.timeout(180)


def test_one_program_on_two_devices(builder: Builder) -> None:
    builder.start("devices")
    with Daemon(device="soft:2") as daemon:
        assert daemon.ok(builder.get("devices")) == "ok\n"
        assert len(daemon.executor_pids()) == 2
        unsupported = [job["unsupported"] for job in daemon.stats()["jobs"]]
        assert not any(unsupported), unsupported


def test_drivers_that_give_the_same_addresses(builder: Builder, tmp_path: Path) -> None:
    """As real drivers may, in two executors: here each is softgpu in the guise of the machine's."""
    driver = soft_driver.build(builder.folder / "two_softgpus.c")
    (tmp_path / "libcuda.so.1").symlink_to(driver)
    with Daemon(device="cuda", env={"LD_LIBRARY_PATH": str(tmp_path)}) as daemon:
        assert daemon.ok(builder.get("two_drivers")) == "ok\n"
        assert len(daemon.executor_pids()) == 2
