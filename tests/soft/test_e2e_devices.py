"""One program on several devices, each behind an executor of its own."""

from __future__ import annotations

import pytest
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
